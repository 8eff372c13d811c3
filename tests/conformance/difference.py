"""What a difference is, and the ledger in which every comparison is entered.

An observation is a mapping from the name of an aspect (``status``, ``header set-cookie``, ``data.subpath``, …) to what
was seen of it. Two observations differ in the aspects whose values are unequal or that only one of them has. Each of
these must be explained by exactly one row of the table of intended differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pprint import pformat
from typing import Any

#: What was seen of one side in one case: aspect to value.
Observation = Mapping[str, Any]


class _Absent:
    """The value of an aspect that an observation does not have."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


class Reason(Enum):
    """Why plugincore differs."""

    DOCUMENT = "document"  # pluginserver's own documentation promises what plugincore does
    BUG = "bug"  # what pluginserver does is of no use to anybody
    SECURITY = "security"  # what pluginserver does lets in, or shows, what it should not
    ROBUSTNESS = "robustness"  # what pluginserver does takes the server, or a connection, down, or hides a mistake


@dataclass(frozen=True, eq=False)
class Difference:
    """One row of the table of intended differences.

    ``explains`` is given a case and both observations, and returns the aspects that this row accounts for, none if the
    row is not about the case. It looks at what *both* sides did: a row never waves a case through.
    """

    #: Short and unique, in lower case with hyphens.
    name: str
    #: The heading under which it stands in ``docs/moving.md``.
    area: str
    #: The situation, what pluginserver does and what plugincore does, as Markdown for a table's cell.
    case: str
    original: str
    ours: str
    reason: Reason
    explains: Callable[[Any, Observation, Observation], Collection[str]]
    #: What else a reader has to know.
    remark: str = ""


def differing(original: Observation, ours: Observation) -> list[str]:
    """Return the aspects in which two observations differ, in order."""
    return sorted(
        aspect
        for aspect in {*original, *ours}
        if original.get(aspect, ABSENT) != ours.get(aspect, ABSENT)
        or type(original.get(aspect, ABSENT)) is not type(ours.get(aspect, ABSENT))
    )


class Ledger:
    """Judges comparisons by a table of intended differences, and counts them."""

    def __init__(self, rows: Sequence[Difference]) -> None:
        """Take the table."""
        names = Counter(row.name for row in rows)
        assert max(names.values(), default=1) == 1, f"rows of the same name: {names.most_common(3)}"
        self.rows = rows
        #: How often each row was needed, by the kind of case, "fixed" or "generated".
        self.used: dict[str, Counter[str]] = {"fixed": Counter(), "generated": Counter()}
        #: How many cases ended how: "same", "intended", "unlisted".
        self.counts: dict[str, Counter[str]] = {"fixed": Counter(), "generated": Counter()}

    def judge(self, kind: str, case: object, original: Observation, ours: Observation) -> None:
        """Enter a case of ``kind`` "fixed" or "generated"; raise AssertionError if it differs in an unlisted way."""
        different = differing(original, ours)
        if not different:
            self.counts[kind]["same"] += 1
            return
        needed = {row.name: aspects for row in self.rows if (aspects := self._explained(row, case, original, ours))}
        wrong = []
        for aspect in different:
            names = [name for name, aspects in needed.items() if aspect in aspects]
            if len(names) != 1:
                by = f"explained by {len(names)} rows, {', '.join(names)}" if names else "explained by no row"
                values = (original.get(aspect, ABSENT), ours.get(aspect, ABSENT))
                wrong.append(f"{aspect}: {by}\n  pluginserver: {values[0]!r}\n  plugincore:   {values[1]!r}")
        if wrong:
            self.counts[kind]["unlisted"] += 1
            raise AssertionError("\n".join(["an unlisted difference", *wrong, "", f"case: {pformat(case, width=120)}"]))
        self.counts[kind]["intended"] += 1
        self.used[kind].update(needed.keys())

    @staticmethod
    def _explained(row: Difference, case: object, original: Observation, ours: Observation) -> set[str]:
        return set(row.explains(case, original, ours)).intersection(differing(original, ours))

    def never_needed(self) -> list[str]:
        """Return the rows that no fixed case has needed: differences that are listed and do not occur."""
        return [row.name for row in self.rows if not self.used["fixed"][row.name]]
