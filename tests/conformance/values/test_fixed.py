"""The fixed cases that need no server."""

from __future__ import annotations

import pytest

from conformance.ledger import LEDGER
from conformance.values import ini_cases, surface_cases
from conformance.values.sides import Case, Sides


@pytest.mark.parametrize("case", [*ini_cases.cases(), *surface_cases.cases()], ids=lambda case: case.name)
def test_same_or_listed(case: Case, sides: Sides) -> None:
    """Both packages do the same, or what the table of intended differences says."""
    LEDGER.judge("fixed", case, *sides.compare(case))
