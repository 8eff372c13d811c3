"""The server's log for Python: the class ``LogJam`` and a handler for the standard ``logging`` package."""

from __future__ import annotations

import logging
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugincore._core import LogJam, emit_log_record

__all__ = ["LogJam", "LogJamHandler", "install_handler"]


class LogJamHandler(logging.Handler):
    """Passes records to the server's log, one line each, with the name of their logger and their traceback.

    What installed libraries log below WARNING is left out, unless the server's level is DEBUG or a level is set for
    their logger: such records are of no use to most people, and may hold keys, as the URLs that HTTP clients log.
    """

    _report: Callable[[str], None] | None = None
    _threshold = logging.DEBUG

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

    def change_threshold(self, threshold: int) -> None:
        """Take ``threshold`` for the level of the server's log."""
        self._threshold = threshold

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, if it reaches the server's level."""
        if record.levelno < logging.WARNING and self._threshold > logging.DEBUG and _is_of_a_library(record):
            return
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
    handler = LogJamHandler()
    handler.change_threshold(threshold)
    root.addHandler(handler)
    root.setLevel(threshold)
    logging.captureWarnings(capture=True)


def change_threshold(threshold: int) -> None:
    """Let records with level ``threshold`` or above through, to the server's log, which has a level of its own."""
    root = logging.getLogger()
    if root.level > threshold:
        root.setLevel(threshold)
    for handler in root.handlers:
        if isinstance(handler, LogJamHandler):
            handler.change_threshold(threshold)


def _is_of_a_library(record: logging.LogRecord) -> bool:
    """Return whether an installed package, or the standard library, logs this without having been asked to."""
    if not record.pathname.startswith(_libraries()):
        return False
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.parent is not None:
        if logger.level != logging.NOTSET:
            return False
        logger = logger.parent
    return True


def _libraries() -> tuple[str, ...]:
    """Return what the names of files of installed packages begin with; ``sys.path`` may change at any time."""
    installed = (folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages"))
    return (*_STANDARD, *(f"{folder}/" for folder in installed))


_STANDARD = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")})
