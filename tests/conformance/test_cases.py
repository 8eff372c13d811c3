"""The fixed cases: one or more for everything that pluginserver is known to do."""

from __future__ import annotations

import pytest

from conformance.case import Case
from conformance.cases import CASES
from conformance.conftest import Worlds
from conformance.ledger import LEDGER
from conformance.observe import compare


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_or_listed(case: Case, worlds: Worlds) -> None:
    """Both servers do the same, or what the table of intended differences says."""
    LEDGER.judge("fixed", case, *compare(worlds(case.world), case))
