"""The ledger of this run: every comparison of the suite is entered here, by :func:`Ledger.judge`.

The rows about values (``Config``, parameters, JSON) stand in ``conformance.values.differences`` as ``ROWS``, those
about servers in ``conformance.differences``; together they are the table of intended differences.
"""

from __future__ import annotations

from conformance import differences
from conformance.difference import Ledger
from conformance.values import differences as value_differences

LEDGER = Ledger([*differences.ROWS, *value_differences.ROWS])
