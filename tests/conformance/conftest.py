"""The servers that the suite runs, how many examples it generates, and the figures it prints at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conformance import profiles, world
from conformance.ledger import LEDGER
from conformance.observe import Line
from conformance.scenario import Scenario, play
from conformance.server import ORIGINAL, OURS

__all__ = ["profiles"]

#: What the fixture :func:`worlds` returns.
Worlds = Callable[[str], world.World]
#: What the fixture :func:`lines` returns.
Lines = Callable[[str], tuple[Line, Line]]
#: What the fixture :func:`played` returns: by the scenario's name, what is seen of both sides.
Played = dict[str, tuple[Future[dict[str, Any]], ...]]


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


@pytest.fixture(scope="session")
def lines(worlds: Worlds) -> Iterator[Lines]:
    """Return a function that gives a line to each of the two servers of a world, kept from case to case."""
    kept: dict[str, tuple[Line, Line]] = {}
    with ExitStack() as stack:

        def to(name: str) -> tuple[Line, Line]:
            if name not in kept:
                both = worlds(name)
                kept[name] = (stack.enter_context(Line(both.original)), stack.enter_context(Line(both.ours)))
            return kept[name]

        yield to


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Play the scenarios of this run, several at a time since most of them wait, and return what was seen."""
    scenarios: list[Scenario] = [
        item.callspec.params["scenario"]  # type: ignore[misc]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "played" in item.fixturenames
    ]
    folder = tmp_path_factory.mktemp("life")
    with ThreadPoolExecutor(max_workers=6) as pool:
        yield {
            scenario.name: tuple(
                pool.submit(play, scenario, side, folder / f"{number}-{side.name}") for side in (ORIGINAL, OURS)
            )
            for number, scenario in enumerate(scenarios)
        }
        pool.shutdown(cancel_futures=True)


def pytest_configure(config: pytest.Config) -> None:
    """Register what marks a test that needs all others."""
    config.addinivalue_line("markers", "last: comes after all others")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the test that needs all others last."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


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
