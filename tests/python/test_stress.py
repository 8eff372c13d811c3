"""A short run of the stress test, so that it is known to work; the long one is ``make stress``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


@pytest.mark.timeout(150)  # on a busy machine, conversations that have begun take their time to end
def test_all_kinds_of_traffic_at_once_leave_the_server_whole() -> None:
    """Nothing hangs, gets lost or grows, all places are free in the end, and the server stops in order."""
    run = subprocess.run(
        [sys.executable, "-m", "stress", "--seconds", "12", "--seed", "pytest"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=140,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.rstrip().endswith("0 faults")
