"""The servers that the suite runs, how many examples it generates, and the figures it prints at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from conformance import world
from conformance.ledger import LEDGER

#: What the fixture :func:`worlds` returns.
Worlds = Callable[[str], world.World]


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """Return a function that gives the two servers of a world, started at its first use."""
    running: dict[str, world.World] = {}
    with ExitStack() as stack:

        def the(name: str) -> world.World:
            if name not in running:
                folder: Path = tmp_path_factory.mktemp(name)
                running[name] = stack.enter_context(world.serving(name, folder))
            return running[name]

        yield the


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many cases were the same on both sides, and how many were not."""
    terminalreporter.section("conformance with pluginserver")
    for kind, counts in LEDGER.counts.items():
        total = counts["same"] + counts["intended"] + counts["unlisted"]
        terminalreporter.write_line(
            f"{total} {kind} cases: {counts['same']} same, {counts['intended']} intended differences, "
            f"{counts['unlisted']} unlisted"
        )
    terminalreporter.write_line(f"{len(LEDGER.rows)} rows of intended differences")
