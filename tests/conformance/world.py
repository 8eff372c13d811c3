"""Worlds: plugin files and an ini file that many cases share, served by both servers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conformance.server import ORIGINAL, OURS, Server, Side

WORLDS = Path(__file__).parent / "worlds"


@dataclass(frozen=True)
class World:
    """Both servers over the same files."""

    original: Server
    ours: Server


@contextmanager
def alone(name: str, side: Side, folder: Path) -> Iterator[Server]:
    """Serve the world ``name`` by one side from a copy in ``folder``, with files for the links to what worlds share."""
    shutil.copytree(WORLDS / name, folder)
    server = Server(side, folder)
    server.launch()
    try:
        assert server.serves(), "\n".join(server.lines)
        yield server
    finally:
        server.end()
    if side is OURS:
        assert not any("panicked at" in line for line in server.lines), "\n".join(server.lines)


@contextmanager
def serving(name: str, folder: Path) -> Iterator[World]:
    """Serve the world ``name`` by both sides from copies in ``folder``."""
    with alone(name, ORIGINAL, folder / "original") as original, alone(name, OURS, folder / "ours") as ours:
        yield World(original, ours)
