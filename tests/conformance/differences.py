"""The intended differences between the servers."""

from __future__ import annotations

from conformance.difference import Difference

ROWS: list[Difference] = []
