"""Worlds: plugin files and an ini file that many cases share, served by both servers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conformance.server import ORIGINAL, OURS, Server

WORLDS = Path(__file__).parent / "worlds"


@dataclass(frozen=True)
class World:
    """Both servers over the same files."""

    original: Server
    ours: Server


@contextmanager
def serving(name: str, folder: Path) -> Iterator[World]:
    """Serve the world ``name`` from copies in ``folder``."""
    servers = []
    for side in (ORIGINAL, OURS):
        own = folder / side.name
        shutil.copytree(WORLDS / name, own)
        servers.append(Server(side, own))
    for server in servers:
        server.launch()
    try:
        for server in servers:
            assert server.serves(), "\n".join(server.lines)
        yield World(*servers)
    finally:
        for server in servers:
            server.end()
    assert not any("panicked at" in line for line in servers[1].lines), "\n".join(servers[1].lines)
