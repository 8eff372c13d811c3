"""The table of intended differences in values."""

from __future__ import annotations

from conformance.difference import Ledger
from conformance.values import ini_cases, parameter_cases, surface_cases
from conformance.values.differences import ROWS
from conformance.values.sides import Sides


def test_no_row_is_left_over(sides: Sides) -> None:
    """Each listed difference still shows in a fixed case."""
    ledger = Ledger(ROWS)
    for case in [*ini_cases.cases(), *surface_cases.cases(), *parameter_cases.cases()]:
        ledger.judge("fixed", case, *sides.compare(case))
    assert [] == ledger.never_needed()
