"""What the server holds, as its probe tells from inside, and how much more of it there may be in the end.

Measured while the traffic rests and every handler has come to its end, after the warm-up and at the end of the run.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from stress.wire import Lost, request
from stress.world import World

MIB = 1024 * 1024

#: By figure: how much more there may be at the end than after the warm-up, in shares of it and beside that.
#: Threads and their descriptors come and go with the pools of tokio and asyncio; allocators keep some memory.
BOUNDS = {
    "memory": (0.10, 24 * MIB),
    "descriptors": (0, 8),
    "threads": (0, 8),
    "tasks": (0, 1),
    "objects": (0.01, 2000),
    "modules": (0, 20),
    "generations": (0, 1),
}

#: How long handlers and threads may take to come to their end when the traffic rests, in seconds.
REST = 20.0

Figures = dict[str, Any]


async def measured(world: World) -> Figures:
    """Ask the probe."""
    answer = await world.ask(request("/probe"))
    figures = answer.json()
    if answer.status != 200 or not isinstance(figures, dict):
        raise Lost(f"the probe answers {answer.status}: {answer.body[:300]!r}")
    return figures


async def at_rest(world: World, before: Figures | None = None) -> Figures:
    """Wait until every handler has ended, and nothing is out of its bounds; return the figures however it comes out."""
    end = time.monotonic() + REST
    while True:
        figures = await measured(world)
        rests = not figures["inside"] and not (before and grown(before, figures))
        if rests or time.monotonic() > end:
            return figures
        await asyncio.sleep(0.2)


def grown(before: Figures, after: Figures) -> list[str]:
    """Return, in words, what has grown more than it may."""
    complaints = []
    for name, (share, more) in BOUNDS.items():
        if after[name] > (bound := before[name] * (1 + share) + more):
            complaints.append(f"{name} grew from {shown(name, before)} to {shown(name, after)}, over {bound:.0f}")
    return complaints


def newcomers(before: Figures, after: Figures) -> str:
    """Return which kinds of objects have become more, those first that have grown the most."""
    more = {kind: number - before["kinds"].get(kind, 0) for kind, number in after["kinds"].items()}
    most = sorted(more.items(), key=lambda item: -item[1])[:12]
    return ", ".join(f"{kind} +{number}" for kind, number in most if number > 0)


def shown(name: str, figures: Figures) -> str:
    """Return a figure for people."""
    return f"{figures[name] / MIB:.1f} MiB" if name == "memory" else str(figures[name])


def summary(before: Figures, after: Figures) -> str:
    """Return all figures, before and after, in one line."""
    return ", ".join(f"{name} {shown(name, before)} → {shown(name, after)}" for name in BOUNDS)
