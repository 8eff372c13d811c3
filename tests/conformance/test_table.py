"""The table of intended differences as a whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from conformance import render
from conformance.cases import CASES, life
from conformance.ledger import LEDGER


def test_fixed_cases_have_different_names() -> None:
    """A failure shows the name, which has to identify the case."""
    counts = Counter([*(case.name for case in CASES), *(scenario.name for scenario in life.CASES)])
    assert [] == [name for name, count in counts.items() if count > 1]


def test_the_page_shows_the_table() -> None:
    """``docs/moving.md`` is what ``make moving`` writes."""
    page = Path(render.PAGE).read_text()
    assert render.rendered(page, LEDGER.rows) == page, "docs/moving.md is out of date: run `make moving`"


@pytest.mark.last
def test_every_listed_difference_still_occurs() -> None:
    """A row of the table that no fixed case needs any more is a promise about nothing."""
    assert LEDGER.never_needed() == []
