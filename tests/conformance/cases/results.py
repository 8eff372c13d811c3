"""What becomes of a handler's result."""

from __future__ import annotations

from conformance.case import Case, run

CASES = [
    Case("a dict", (run("return 200, {'a': 1, 'b': [True, None, 'ä']}"),)),
    Case("a list", (run("return 200, [1, 'two']"),)),
]
