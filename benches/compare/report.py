"""Writes the results: lines for the terminal, the page ``docs/benchmarks.md`` and its plot."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from load import Sample
from rows import BARE, GRANIAN, GRANIAN_WSGI, PLUGINCORE, PLUGINSERVER, UVICORN, Row
from servers import ROOT, Setup
from special import Delay, Growth

_PAGE = ROOT / "docs" / "benchmarks.md"
_PLOT = ROOT / "docs" / "benchmarks.svg"
_COLUMNS = (PLUGINCORE, PLUGINSERVER, GRANIAN, UVICORN, BARE)


@dataclass
class Results:
    """All results of one run."""

    versions: dict[str, str]
    rows: dict[Row, dict[Setup, list[Sample]]] = field(default_factory=dict)
    blocked: dict[tuple[str, str], Delay] = field(default_factory=dict)
    starts: dict[str, tuple[float, int, int]] = field(default_factory=dict)
    soak: tuple[int, int, int] = (0, 0, 0)
    growth: list[Growth] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A server's result for a row: medians, and the spread of the rate."""

    setup: Setup
    rate: float
    low: float
    high: float
    cpu: float
    p50: float
    p99: float


def best(samples: dict[Setup, list[Sample]]) -> dict[str, Figure]:
    """Return each server's figure in its fastest configuration."""
    figures: dict[str, Figure] = {}
    for setup, rounds in samples.items():
        rates = [sample.rate for sample in rounds]
        figure = Figure(
            setup,
            statistics.median(rates),
            min(rates),
            max(rates),
            statistics.median(sample.cpu for sample in rounds),
            statistics.median(sample.p50 for sample in rounds),
            statistics.median(sample.p99 for sample in rounds),
        )
        if setup.server not in figures or figure.rate > figures[setup.server].rate:
            figures[setup.server] = figure
    # granian serves plain handlers through its WSGI interface: the same column.
    if GRANIAN_WSGI in figures:
        figures.setdefault(GRANIAN, figures.pop(GRANIAN_WSGI))
    return figures


def verdicts(row: Row, figures: dict[str, Figure]) -> list[tuple[str, float, float, bool]]:
    """Return the targets of a row: the measure, the target, the measured ratio, and whether the target is met."""
    ours = figures[PLUGINCORE]
    found = []
    for target in row.targets:
        against = GRANIAN if target.against == GRANIAN_WSGI else target.against
        ratio = ours.rate / figures[against].rate
        found.append((f"requests/s relative to {target.against}, at least", target.ratio, ratio, ratio >= target.ratio))
    if row.cpu_target is not None:
        ratio = ours.cpu / figures[BARE].cpu
        found.append(("CPU per request relative to hyper, at most", row.cpu_target, ratio, ratio <= row.cpu_target))
    if row.connections == 1:
        ratio = ours.p50 / figures[GRANIAN].p50
        found.append(("median latency relative to granian, at most", 1.0, ratio, ratio <= 1.0))
    return found


def line(row: Row, samples: dict[Setup, list[Sample]]) -> str:
    """Return the row for the terminal."""
    figures = best(samples)
    shown = [
        f"{name} {_thousands(figures[name].rate)} ({figures[name].cpu:.2f})" for name in _COLUMNS if name in figures
    ]
    kept = [
        f"{what} {ratio:.2f} ({'met' if met else 'MISSED'}: {aim})" for what, aim, ratio, met in verdicts(row, figures)
    ]
    return "\n".join([f"{row.name}: " + " · ".join(shown), *(f"    {text}" for text in kept)])


def _thousands(rate: float) -> str:
    return f"{rate / 1000:.1f}k" if rate < 100_000 else f"{rate / 1000:.0f}k"


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:.1f} MiB"


def write(results: Results, rounds: int, seconds: int) -> None:
    """Write the page and the plot."""
    tables = [
        _rates(results),
        _targets(results),
        _latencies(results),
        _blocked(results),
        _starts(results),
        _growth(results),
    ]
    versions = ", ".join(f"{name} {results.versions[name]}" for name in (PLUGINSERVER, GRANIAN, UVICORN, BARE))
    head = (
        "# Benchmarks\n\n"
        "<!-- Written by `make bench`; do not edit. -->\n\n"
        f"Measured on {datetime.date.today():%Y-%m-%d} with `make bench`: {_machine()}, "
        f"Python {platform.python_version()}, {versions}. One worker process each, access logs off, "
        f"wrk, or h2load for HTTP/2, with one thread; {rounds} rounds of {seconds} s in "
        "turns, medians. Every answer was checked before the measurement. If a server was measured in several "
        "configurations, a row shows the fastest. Absolute figures hold for this machine only; the ratios "
        "can be compared with those of other machines.\n\n"
        "![Requests per second as a ratio to hyper without Python](benchmarks.svg)\n\n"
    )
    _PAGE.write_text(head + "\n\n".join(tables) + "\n")
    plot(results, _PLOT)


def _machine() -> str:
    model = "unknown processor"
    for entry in Path("/proc/cpuinfo").read_text().splitlines():
        if entry.startswith("model name"):
            model = entry.partition(":")[2].strip()
    return f"{os.cpu_count()} x {model}, Linux {platform.release().partition('-')[0]}"


def _table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _rates(results: Results) -> str:
    body = []
    for row, samples in results.rows.items():
        figures = best(samples)
        cells = [row.name]
        for name in _COLUMNS:
            figure = figures.get(name)
            spread = "" if figure is None else f"{_thousands(figure.low)} to {_thousands(figure.high)}"
            cells.append("-" if figure is None else f"{_thousands(figure.rate)} ({figure.cpu:.2f})<br>{spread}")
        body.append(cells)
    text = (
        "## Requests per second\n\nIn brackets: CPU seconds of the server per 10,000 requests. Below: the slowest and "
        "the fastest round.\n\n"
    )
    return text + _table(["request", *_COLUMNS], body)


def _targets(results: Results) -> str:
    body = []
    for row, samples in results.rows.items():
        for what, aim, ratio, met in verdicts(row, best(samples)):
            body.append([row.name, what, f"{aim:g}", f"{ratio:.2f}", "met" if met else "**missed**"])
    for how, limit in (("sleep", 2.0), ("busy", 5.0)):
        p99 = results.blocked[PLUGINCORE, how].p99
        body.append(
            [
                f"wrong key while a plugin is {_HOW[how]}",
                "p99 in ms, at most",
                f"{limit:g}",
                f"{p99:.2f}",
                _met(p99 <= limit),
            ]
        )
    start, idle, _ = results.starts[PLUGINCORE]
    ratio = start / results.starts[GRANIAN][0]
    met = _met(ratio <= 1.2)
    body.append(["start to the first answer", "relative to granian, at most", "1.2", f"{ratio:.2f}", met])
    ratio = idle / results.starts[PLUGINSERVER][1]
    body.append(["idle memory", "relative to pluginserver, at most", "1", f"{ratio:.2f}", _met(ratio <= 1)])
    early, late, count = results.soak
    grown = (late - early) / 2**20
    name = f"memory after {count / 1e6:.1f} million requests"
    body.append([name, "growth in MiB after the first 100,000, at most", "2", f"{grown:.2f}", _met(grown <= 2)])
    for growth in results.growth:
        measure, met = "cost relative to a tenth of the work, at most", _met(growth.ratio <= 10)
        body.append([growth.what, measure, "10", f"{growth.ratio:.1f}", met])
    return "## Targets\n\n" + _table(["case", "measure", "target", "measured", ""], body)


def _met(met: bool) -> str:
    return "met" if met else "**missed**"


def _latencies(results: Results) -> str:
    body = []
    for row, samples in results.rows.items():
        figures = best(samples)
        cells = [
            f"{figures[name].p50 / 1000:.2f} / {figures[name].p99 / 1000:.2f}" if name in figures else "-"
            for name in _COLUMNS
        ]
        body.append([row.name, *cells])
    return "## Latency\n\nMedian and 99th percentile in ms, under the load above.\n\n" + _table(
        ["request", *_COLUMNS], body
    )


_HOW = {"sleep": "asleep for 0.2 s", "busy": "busy in C code, holding the GIL"}


def _blocked(results: Results) -> str:
    names = [name for name in _COLUMNS if (name, "sleep") in results.blocked]
    body = []
    for how, what in _HOW.items():
        delays = [results.blocked[name, how] for name in names]
        body.append([what, *(f"{delay.p50:.2f} / {delay.p99:.2f}" for delay in delays)])
    text = "## A wrong key while another handler blocks\n\nMedian and 99th percentile of the time to the 403, in ms."
    return text + "\n\n" + _table(["the other handler is", *names], body)


def _starts(results: Results) -> str:
    body = [
        [name, f"{start * 1000:.0f} ms", _mebibytes(idle), _mebibytes(loaded)]
        for name, (start, idle, loaded) in results.starts.items()
    ]
    return "## Start and memory\n\n" + _table(["server", "first answer after", "idle", "after some load"], body)


def _growth(results: Results) -> str:
    body = [
        [
            growth.what,
            f"{growth.small:.3g} {growth.unit}",
            f"{growth.large:.3g} {growth.unit}",
            f"{growth.ratio:.1f}",
            "-" if growth.bare is None else f"{growth.bare:.1f}",
        ]
        for growth in results.growth
    ]
    columns = ["case", "a tenth of the work", "all of it", "ratio", "ratio of hyper alone"]
    return "## Ten times the work\n\n" + _table(columns, body)


def plot(results: Results, file: Path) -> None:
    """Draw requests per second of every row as a ratio to that of hyper without Python."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "plugincore"
    from matplotlib import pyplot

    rows = [row for row in results.rows if row.connections > 1 and BARE in row.servers]
    figure, axes = pyplot.subplots(figsize=(9, 0.75 * len(rows) + 1))
    height = 0.8 / len(_COLUMNS)
    for index, name in enumerate(_COLUMNS):
        positions, widths = [], []
        for position, row in enumerate(rows):
            figures = best(results.rows[row])
            if name in figures:
                positions.append(position + (index - 2) * height)
                widths.append(figures[name].rate / figures[BARE].rate)
        axes.barh(positions, widths, height, label=f"{name} {results.versions.get(name, '')}".strip())
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("requests per second, hyper without Python = 1")
    axes.legend(loc="lower right", fontsize="small")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
