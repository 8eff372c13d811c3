"""Writes the table of intended differences into ``docs/moving.md``: run ``make moving``."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.difference import Difference
from conformance.server import ROOT

PAGE = ROOT / "docs" / "moving.md"
BEGIN = "<!-- What follows is written by `make moving` from the table of the conformance suite. -->\n"
END = "<!-- End of what is written by `make moving`. -->\n"


def rendered(page: str, rows: Sequence[Difference]) -> str:
    """Return the page with the table between its two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page needs the lines {BEGIN!r} and {END!r}")
    areas = dict.fromkeys(row.area for row in rows)
    parts = [section(area, [row for row in rows if row.area == area]) for area in areas]
    return before + begin + "\n" + "\n".join(parts) + "\n" + end + after


def section(area: str, rows: Sequence[Difference]) -> str:
    """Return the heading and table of one area."""
    lines = [f"### {area}", "", "| case | pluginserver | plugincore | why |", "|---|---|---|---|"]
    for row in rows:
        why = f"{row.reason.value}: {row.remark}" if row.remark else row.reason.value
        lines.append(f"| {row.case} | {row.original or 'nothing'} | {row.ours} | {why} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from conformance.ledger import LEDGER

    PAGE.write_text(rendered(PAGE.read_text(), LEDGER.rows))
