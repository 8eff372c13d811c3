"""Waiting for what a server does, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

#: The longest wait for something that a server should do, in seconds. It is long, since the machine may be busy.
TIMEOUT = 20.0

#: The pause between two looks, in seconds.
INTERVAL = 0.005

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], what: object = None, *, timeout: float = TIMEOUT, interval: float = INTERVAL
) -> T:
    """Return the first true value of ``condition``; fail when none comes in time.

    This is for what sends no event that could be awaited, such as the files and descriptors of another process.
    ``what`` is shown on failure; a function is called for it then.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            shown = what() if callable(what) else what
            raise AssertionError(f"no success within {timeout:g} s: {shown or condition}")
        time.sleep(interval)
    return value


def wait_for_file(file: Path, timeout: float = TIMEOUT) -> None:
    """Wait until ``file`` is there."""
    wait_until(file.exists, f"{file} is missing", timeout=timeout)
