"""The intended differences between the servers, a file for each part of their behaviour."""

from __future__ import annotations

from conformance.difference import Difference
from conformance.differences import cors, failures, keys, life, requests, results, routing

ROWS: list[Difference] = [
    *results.ROWS,
    *failures.ROWS,
    *routing.ROWS,
    *requests.ROWS,
    *keys.ROWS,
    *cors.ROWS,
    *life.ROWS,
]
