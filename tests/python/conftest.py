"""A server for each test: its own process, its own folder, real HTTP."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support import server
from support.plugins import INI


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[server.Launch]:
    """Return a function that starts servers; they are gone when the test ends.

    ``launch(plugins, ini=…, ini_more=…, args=…, env=…, program=…, scheme=…, ready=True)``: ``plugins`` maps names of
    plugin files to their sources, ``ini_more`` is added to the usual ini file, ``ini=None`` starts without one.
    """
    servers: list[server.Server] = []

    def start(
        plugins: Mapping[str, str] | None = None,
        *,
        ini: str | None = INI,
        ini_more: str = "",
        folder: Path | None = None,
        ready: bool = True,
        **options: Any,
    ) -> server.Server:
        text = None if ini is None else textwrap.dedent(ini) + "\n" + textwrap.dedent(ini_more)
        started = server.start(folder or tmp_path / f"server{len(servers)}", plugins or {}, text, **options)
        servers.append(started)
        return started.ready() if ready else started

    yield start
    for started in servers:
        started.end()
        started.check_for_panics()
