"""How many cases are generated: few, always the same; with ``--hypothesis-profile=nightly`` many, always others."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# What an example takes depends on two processes and a busy machine, so none has a deadline; fixtures are servers, which
# examples share on purpose.
_SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

settings.register_profile("ci", _SHARED, max_examples=60, derandomize=True, database=None)
settings.register_profile("nightly", _SHARED, max_examples=2000, print_blob=True)
settings.load_profile("ci")
