"""The fixed cases, a file for each part of the servers' behaviour."""

from __future__ import annotations

from conformance.case import Case
from conformance.cases import cors, keys, requests, results

CASES: list[Case] = [*results.CASES, *requests.CASES, *keys.CASES, *cors.CASES]
