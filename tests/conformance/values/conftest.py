"""The two packages, each in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.server import ORIGINAL
from conformance.values.sides import Side, Sides


@pytest.fixture(scope="session")
def sides() -> Iterator[Sides]:
    """Run both workers."""
    both = Sides(
        Side(Path(ORIGINAL.command).with_name("python"), ""),
        Side(Path(sys.executable), os.environ.get("PYTHONPATH", "")),
    )
    yield both
    both.original.end()
    both.ours.end()
