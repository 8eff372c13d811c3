"""Reports what got slower: ``python benches/compare/guard.py [COMMIT]`` compares the working tree with a commit.

The default is the last release (the last tag). Both are built in the same way. The result is the number of instructions
that the server takes for a request, the kernel's not included: a row counts as slower with three percent more. With
``--cpu`` it is the CPU time, the kernel included, on a machine without other work: both are measured in turns, and a
row counts as slower if the ranges of its rounds do not overlap.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from instructions import Counted
from load import measure
from rows import PLUGINCORE, ROWS, Row
from servers import ROOT, SETUPS, WORK, Running, Setup, install_project, make_certificate, plugincore_command

_BASE = WORK / "base"
#: By how much of its instructions a row may grow.
_ALLOWED = 0.03


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"git {' '.join(arguments)}: {ended.stderr.strip()}")
    return ended.stdout.strip()


def check_out(commit: str) -> Path:
    """Extract the sources of ``commit`` into a separate folder and return it."""
    sources = _BASE / "sources"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(sources)], input=archive.stdout, check=True)
    return sources


def count(rows: Sequence[Row], sides: dict[str, Setup]) -> Iterator[str]:
    """Count the instructions of both sides and return the results as lines."""
    counts: dict[str, dict[str, float]] = {row.name: {} for row in rows}
    for tls in sorted({row.tls for row in rows}):
        for side, setup in sides.items():
            with Counted(setup, tls=tls) as server:
                for row in rows:
                    if row.tls == tls:
                        counts[row.name][side] = server.count(row)
    for name, counted in counts.items():
        before, after = counted["base"], counted["tree"]
        change = after / before - 1
        verdict = "slower" if change > _ALLOWED else "faster" if change < -_ALLOWED else "no difference"
        yield f"{name}: {change:+.1%}, {verdict} ({before:,.0f}, now {after:,.0f} instructions)"


def time(row: Row, sides: dict[str, Setup], rounds: int, seconds: int) -> str:
    """Measure the CPU time of both sides in turns and return the result as a line."""
    running = {name: Running(setup, tls=row.tls) for name, setup in sides.items()}
    costs: dict[str, list[float]] = {name: [] for name in sides}
    try:
        for turn in range(rounds + 1):
            for name in sorted(sides, reverse=turn % 2 == 0):
                cost = measure(running[name], row, seconds).cpu
                if turn:  # the first round warms up
                    costs[name].append(cost)
    finally:
        for server in running.values():
            server.stop()
    before, after = costs["base"], costs["tree"]
    verdict = "slower" if min(after) > max(before) else "faster" if max(after) < min(before) else "no difference"
    change = statistics.median(after) / statistics.median(before) - 1
    spread = f"{min(before):.3f} to {max(before):.3f}, now {min(after):.3f} to {max(after):.3f}"
    return f"{row.name}: {change:+.1%} CPU a request, {verdict} ({spread} s per 10,000)"


def main() -> None:
    """Run the comparison; the exit code is 1 if something got slower."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", nargs="?", default="", help="what to compare with (default: the last tag)")
    parser.add_argument("--cpu", action="store_true", help="compare CPU times instead of instructions")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rows", default="", help="only rows whose name contains this text")
    options = parser.parse_args()
    commit = options.commit or _git("describe", "--tags", "--abbrev=0")
    tree = next(setup for setup in SETUPS if setup.server == PLUGINCORE)
    base = dataclasses.replace(tree, server="base", name=commit, command=plugincore_command(server="base"))
    make_certificate()
    install_project(tree, ROOT, sys.executable)
    install_project(base, check_out(_git("rev-parse", commit)), sys.executable)
    # The earlier commit may not speak HTTP/2.
    rows = [row for row in ROWS if options.rows in row.name and not row.http2]
    sides = {"base": base, "tree": tree}
    if options.cpu:
        lines: Iterable[str] = (time(row, sides, options.rounds, options.seconds) for row in rows)
    else:
        lines = count(rows, sides)
    slower = False
    for line in lines:
        slower = slower or ", slower" in line
        print(line, flush=True)
    sys.exit(1 if slower else os.EX_OK)


if __name__ == "__main__":
    main()
