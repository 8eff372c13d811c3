"""The server's log for Python: the class ``LogJam`` and a handler for the standard ``logging`` package."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from plugincore._core import LogJam, emit_log_record

__all__ = ["LogJam", "LogJamHandler", "install_handler"]


class LogJamHandler(logging.Handler):
    """Passes records to the server's log, one line each, with the name of their logger and their traceback."""

    _report: Callable[[str], None] | None = None

    def guard(self, report: Callable[[str], None]) -> None:
        """Ignore levels and filters from now on, and call ``report`` instead of setting them."""
        self._report = report

    def setLevel(self, level: int | str) -> None:  # noqa: N802 -- the base class's name
        """Call the base class, unless the handler is guarded."""
        if self._report:
            self._report("a level of the server's own handler")
        else:
            super().setLevel(level)

    def addFilter(self, filter: Any) -> None:  # noqa: A002, N802 -- the base class's names
        """Call the base class, unless the handler is guarded."""
        if self._report:
            self._report("a filter of the server's own handler")
        else:
            super().addFilter(filter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, if it reaches the server's level."""
        try:
            text, trace = self.format(record), record.exc_text
            if trace and text.endswith(f"\n{trace}"):
                emit_log_record(record.name, record.levelno, text[: -len(trace) - 1], trace)
            else:
                emit_log_record(record.name, record.levelno, text)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the base class's name
        """Report in the log that a record cannot be formatted; ``logging`` would print this to stderr."""
        reason = "".join(traceback.format_exception_only(sys.exc_info()[1])).strip()
        where = f"{record.pathname}:{record.lineno}"
        emit_log_record(record.name, logging.ERROR, f"a log record of {where} cannot be formatted: {reason}")


def install_handler(threshold: int) -> None:
    """Send records of ``logging`` and ``warnings`` with level ``threshold`` or above to the server's log.

    If the root logger has a handler already, nothing changes. Afterwards ``logging.basicConfig()`` has no effect, by
    its own rule, so calls in plugins do not duplicate the lines.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    root.addHandler(LogJamHandler())
    root.setLevel(threshold)
    logging.captureWarnings(capture=True)


def change_threshold(threshold: int) -> None:
    """Let records with level ``threshold`` or above through, to the server's log, which has a level of its own."""
    root = logging.getLogger()
    if root.level > threshold:
        root.setLevel(threshold)
