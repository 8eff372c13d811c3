"""Scenarios of starting, reloading, stopping and logging."""

from __future__ import annotations

import pytest

from conformance.cases import life
from conformance.conftest import Played
from conformance.ledger import LEDGER
from conformance.scenario import Scenario


@pytest.mark.parametrize("scenario", life.CASES, ids=lambda scenario: scenario.name)
def test_same_or_listed(scenario: Scenario, played: Played) -> None:
    """Both servers do the same, or what the table of intended differences says."""
    original, ours = played[scenario.name]
    LEDGER.judge("fixed", scenario, original.result(), ours.result())
