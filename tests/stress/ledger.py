"""What happened: how often each kind of answer came for each kind of traffic, and what went wrong."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field

#: Faults after which nothing more is learned by going on.
ENOUGH = 20


@dataclass
class Ledger:
    """Counts and faults of a run.

    Attributes:
        counts: How often, by kind of traffic and kind of answer.
        slowest: How long the longest conversation took, by kind of traffic, in seconds.
        faults: What went wrong, in words, with what it takes to repeat it.
        over: Set when the run should come to its end: too many faults, or one that leaves nothing to ask.

    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, traffic: str, answer: str) -> None:
        """Note an answer that was right."""
        self.counts[traffic, answer] += 1

    def took(self, traffic: str, seconds: float) -> None:
        """Note how long a conversation took."""
        self.slowest[traffic] = max(seconds, self.slowest.get(traffic, 0.0))

    def fault(self, where: str, what: str, *, fatal: bool = False) -> None:
        """Note what went wrong; ``fatal`` ends the run."""
        self.faults.append(f"{where}: {what}")
        if fatal or len(self.faults) >= ENOUGH:
            self.over.set()

    def lines(self) -> list[str]:
        """Return the closing lines: one for each kind of traffic, one for all, and one for each fault."""
        kinds: dict[str, list[str]] = {}
        for (traffic, answer), number in sorted(self.counts.items()):
            kinds.setdefault(traffic, []).append(f"{number} {answer}")
        width = max(map(len, kinds), default=0)
        table = [
            f"  {traffic:<{width}}  {', '.join(answers)}; longest {self.slowest.get(traffic, 0.0):.2f} s"
            for traffic, answers in kinds.items()
        ]
        by_status: Counter[str] = Counter()
        for (_, answer), number in self.counts.items():
            status = re.search(r"\b[1-5]\d\d\b", answer)
            by_status[status[0] if status else "others"] += number
        statuses = ", ".join(f"{number} {status}" for status, number in by_status.most_common())
        total = f"stress: {by_status.total()} answers of {len(kinds)} kinds of traffic: {statuses}"
        faults = [f"FAULT {fault}" for fault in self.faults]
        return [*table, *faults, f"{total}; {len(faults)} faults"]
