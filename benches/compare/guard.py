"""Reports what got slower: ``python benches/compare/guard.py [COMMIT]`` compares the working tree with a commit.

The default is the last release (the last tag). Both are built in the same way and measured in turns. The result is the
server's CPU time for a request, which other work on the machine affects least. A row counts as slower, or faster, if
the ranges of its rounds do not overlap.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from load import measure
from rows import PLUGINCORE, ROWS, Row
from servers import ROOT, SETUPS, WORK, Running, Setup, install_project, plugincore_command

_BASE = WORK / "base"


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


def compare(row: Row, sides: dict[str, Setup], rounds: int, seconds: int) -> str:
    """Measure both sides in turns and return the result as a line."""
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rows", default="", help="only rows whose name contains this text")
    options = parser.parse_args()
    commit = options.commit or _git("describe", "--tags", "--abbrev=0")
    tree = next(setup for setup in SETUPS if setup.server == PLUGINCORE)
    base = dataclasses.replace(tree, server="base", name=commit, command=plugincore_command(server="base"))
    install_project(tree, ROOT, sys.executable)
    install_project(base, check_out(_git("rev-parse", commit)), sys.executable)
    slower = False
    for row in ROWS:
        if options.rows in row.name:
            line = compare(row, {"base": base, "tree": tree}, options.rounds, options.seconds)
            slower = slower or ", slower" in line
            print(line, flush=True)
    sys.exit(1 if slower else os.EX_OK)


if __name__ == "__main__":
    main()
