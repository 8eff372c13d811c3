"""Compares plugincore with similar servers: ``python benches/compare/run.py [--quick]``.

Every answer is checked before the measurement. Servers are measured in turns, round by round, so that other work on the
machine affects all of them alike; a figure is the median of its rounds. The results are written to
``docs/benchmarks.md`` and its plot, except with ``--quick``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict

import report
import special
from load import Sample, measure
from rows import BARE, GRANIAN, PLUGINCORE, PLUGINSERVER, ROWS, UVICORN, Row
from servers import SETUPS, Running, Setup, install, version


def check(row: Row, setup: Setup, running: Running) -> None:
    """Exit if ``running`` does not answer ``row`` correctly."""
    status, body = running.request(row.method, row.path, row.headers, row.body)
    if not row.right(setup.server, status, body):
        sys.exit(f"{setup.name} answers {row.name!r} with {status}: {body[:200]!r}")


def compare(row: Row, rounds: int, seconds: int) -> dict[Setup, list[Sample]]:
    """Measure one row on all servers, in turns."""
    samples: dict[Setup, list[Sample]] = defaultdict(list)
    setups = [setup for setup in SETUPS if setup.server in row.servers]
    running = {setup: Running(setup, tls=row.tls, http2=row.http2) for setup in setups}
    try:
        for setup in setups:
            check(row, setup, running[setup])
            measure(running[setup], row, 1)  # warms up
        for turn in range(rounds):
            # Each round starts with another server: what slows down the first of them must not always hit the same one.
            for setup in setups[turn % len(setups) :] + setups[: turn % len(setups)]:
                samples[setup].append(measure(running[setup], row, seconds))
            sys.stderr.write(".")
    finally:
        for server in running.values():
            server.stop()
    return samples


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="rough results in a few minutes; nothing is written")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per row (default: 5)")
    parser.add_argument("--seconds", type=int, default=4, help="seconds per round (default: 4)")
    parser.add_argument("--rows", default="", help="only rows whose name contains this text")
    parser.add_argument("--python", default=sys.executable, help="interpreter for all environments")
    options = parser.parse_args()
    rounds, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    install(options.python)
    results = report.Results(versions={setup.server: version(setup) for setup in SETUPS})
    for row in ROWS:
        if options.rows in row.name:
            sys.stderr.write(f"{row.name} ")
            results.rows[row] = compare(row, rounds, seconds)
            sys.stderr.write("\n")
            print(report.line(row, results.rows[row]), flush=True)
    if options.quick or options.rows:
        return
    first = {setup.server: setup for setup in reversed(SETUPS)}
    for server in (PLUGINCORE, PLUGINSERVER, GRANIAN, UVICORN):
        for how in ("sleep", "busy"):
            sys.stderr.write(f"{server}, blocked: {how}\n")
            results.blocked[server, how] = special.delay_while_blocked(first[server], how)
    for server in (PLUGINCORE, PLUGINSERVER, GRANIAN, UVICORN, BARE):
        sys.stderr.write(f"{server}: start and memory\n")
        starts = [special.start_and_memory(first[server]) for _ in range(rounds)]
        medians = [statistics.median(column) for column in zip(*starts, strict=True)]
        results.starts[server] = (medians[0], int(medians[1]), int(medians[2]))
    sys.stderr.write("5 million requests\n")
    results.soak = special.soak(first[PLUGINCORE], 5_000_000)
    sys.stderr.write("growth\n")
    results.growth = list(special.growth(first[PLUGINCORE], first[BARE]))
    report.write(results, rounds, seconds)


if __name__ == "__main__":
    main()
