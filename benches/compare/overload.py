"""Offers more than a plugin can do: ``python benches/compare/overload.py [--times 10] [--seconds 30]``.

The server has all limits at their defaults and logs as it is shipped. First comes what the plugin sustains; then
requests come at a steady pace, whether answers come or not, at so many times that rate; then it is measured again.
Needs h2load.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
from collections import defaultdict

from rows import PLUGINCORE
from servers import ROOT, SETUPS, WORK, Running, install_project, make_certificate, plugincore_command

#: Connections that send a request as soon as the last one is answered: enough to keep the plugin busy.
_STEADY = 8
#: Connections of the many: more than requests may be in flight, so that there is always one that is free.
_MANY = 1000


def ask(running: Running, connections: int, seconds: int, rate: float | None = None) -> dict[int, list[int]]:
    """Return the times of the answers in microseconds, by status; ``rate`` is in requests per second."""
    log = WORK / "overload.log"
    log.unlink(missing_ok=True)
    pace = [] if rate is None else [f"--rps={rate / connections:.3f}"]
    words = ["h2load", "--h1", "-t1", f"-c{connections}", "-m1", f"-D{seconds}", *pace, f"--log-file={log}"]
    ended = subprocess.run([*words, f"{running.url}/work"], capture_output=True, text=True, check=False)
    if ended.returncode != 0 or not log.exists():
        sys.exit(f"h2load failed:\n{ended.stdout}{ended.stderr}")
    times = defaultdict(list)
    for line in log.read_text().splitlines():
        _, status, took = line.split()
        times[int(status)].append(int(took))
    return times


def main() -> None:
    """Measure, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=float, default=10, help="offered load, in sustained loads (default: 10)")
    parser.add_argument("--seconds", type=int, default=30, help="how long it is offered (default: 30)")
    parser.add_argument("--installed", action="store_true", help="measure what is installed, without building it")
    options = parser.parse_args()
    make_certificate()
    setup = next(setup for setup in SETUPS if setup.server == PLUGINCORE)
    if not options.installed:
        install_project(setup, ROOT, sys.executable)
    shipped = plugincore_command()
    setup = dataclasses.replace(setup, command=lambda *place: [*shipped(*place)[:-2], "-v", "INFO"])
    with Running(setup) as running:
        ask(running, _STEADY, 2)  # warms up
        before = len(ask(running, _STEADY, 5)[200]) / 5
        answers = ask(running, _MANY, options.seconds, before * options.times)
        after = len(ask(running, _STEADY, 5)[200]) / 5
    done = len(answers.pop(200, [])) / options.seconds
    print(f"sustained: {before:,.0f} requests a second, afterwards {after:,.0f} ({after / before:.0%})")
    print(f"offered {before * options.times:,.0f} a second: {done:,.0f} were answered with 200 ({done / before:.0%})")
    for status, times in sorted(answers.items()):
        p50, p99 = statistics.median(times) / 1000, statistics.quantiles(times, n=100)[98] / 1000
        print(f"{len(times) / options.seconds:,.0f} a second with {status}: median {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
