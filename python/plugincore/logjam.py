"""The log stream as Python sees it: the ``LogJam`` class and a bridge from the standard ``logging`` package."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from plugincore._core import LogJam, emit_log_record

__all__ = ["LogJam", "LogJamHandler", "install_handler"]


class LogJamHandler(logging.Handler):
    """Passes records on to the server's log, under their logger's name and with their traceback, one line each."""

    _complain: Callable[[str], None] | None = None

    def guard(self, complain: Callable[[str], None]) -> None:
        """From now on let nothing keep records from the log, and call ``complain`` in its place."""
        self._complain = complain

    def setLevel(self, level: int | str) -> None:  # noqa: N802 -- the base class's name
        """Do as the base class does, unless all records are to be let through."""
        if self._complain:
            self._complain("a level of the server's own handler")
        else:
            super().setLevel(level)

    def addFilter(self, filter: Any) -> None:  # noqa: A002, N802 -- the base class's names
        """Do as the base class does, unless all records are to be let through."""
        if self._complain:
            self._complain("a filter of the server's own handler")
        else:
            super().addFilter(filter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; its threshold is the server's."""
        try:
            emit_log_record(record.name, record.levelno, self.format(record))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the base class's name
        """Report a record that cannot be formatted in the log itself, where ``logging`` would print to stderr."""
        reason = "".join(traceback.format_exception_only(sys.exc_info()[1])).strip()
        where = f"{record.pathname}:{record.lineno}"
        emit_log_record(record.name, logging.ERROR, f"a log record of {where} cannot be formatted: {reason}")


def install_handler(threshold: int) -> None:
    """Send ``logging`` and ``warnings`` to the server's log, from ``threshold`` up.

    Nothing happens when the root logger has a handler already. Afterwards ``logging.basicConfig()`` has no effect, by
    its own rule, so that a plugin's call of it does not double the lines.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    root.addHandler(LogJamHandler())
    root.setLevel(threshold)
    logging.captureWarnings(capture=True)
