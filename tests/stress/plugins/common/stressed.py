"""What the plugins share. A reload imports this file anew, so what has to last is kept in ``sys``."""

import contextlib
import sys
import types
import weakref
from collections import Counter, defaultdict

from plugincore.baseplugin import BasePlugin

STATE = sys.__dict__.setdefault(
    "stress_state", types.SimpleNamespace(inside=Counter(), instances=defaultdict(weakref.WeakSet))
)


class Stressed(BasePlugin):
    """Counts its instances and the handlers that are inside of them."""

    generation = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        STATE.instances[type(self).__name__].add(self)

    @contextlib.contextmanager
    def inside(self):
        """Count a handler, or a generator, from its beginning to its end, whichever it is."""
        name = type(self).__name__
        STATE.inside[name] += 1
        try:
            yield
        finally:
            STATE.inside[name] -= 1

    def reply(self, nonce, **more):
        """Return the answer to the request with this nonce."""
        return 200, {"nonce": nonce, "generation": self.generation, **more}
