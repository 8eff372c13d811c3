"""Logs warnings of Python, and uncaught exceptions: in threads, finalisers, callbacks and tasks that are not awaited.

Each is one record with the plugin, the file and the line, and is counted. A plugin may replace the hooks with its own.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from itertools import chain
from types import FrameType, TracebackType
from typing import Any, Protocol, TextIO


class PluginFiles(Protocol):
    """The server's information about the files in the plugin folder."""

    def find(self, file: str) -> tuple[str, str] | None:
        """Return the name of a file for messages and the ids of the plugins in it; None for other files."""

    def report(self, text: str) -> None:
        """Write a warning in the server's name."""

    def report_exception(self, text: str, traceback: str, plugins: str) -> None:
        """Write a record of an exception that no code caught, and count it."""

    def count_warning(self, plugins: str) -> None:
        """Count a warning of Python."""


def locate(files: PluginFiles, places: Iterator[tuple[str, int]]) -> tuple[str, str]:
    """Return the plugin that is running and its position, from ``places``, which are sorted innermost first.

    Both are prefixes of a message: ``plugin shop: `` and ``plugins/shop.py:7: ``; empty if unknown.
    """
    plugins, place = find(files, places)
    return prefix(plugins), place


def find(files: PluginFiles, places: Iterator[tuple[str, int]]) -> tuple[str, str]:
    """Return the ids of the plugins in the file that is running, and the position as for ``locate``."""
    plugins = place = ""
    for file, line in places:
        found = files.find(file)
        if found:
            place = place or f"{found[0]}:{line}: "
            plugins = found[1]
        if plugins:
            break
    return plugins, place


def prefix(plugins: str) -> str:
    """Return what a message begins with that belongs to these plugins."""
    return f"plugin {plugins}: " if plugins else ""


def frames(frame: FrameType | None) -> Iterator[tuple[str, int]]:
    """Return the positions of a frame and of those that called it, innermost first."""
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def install(files: PluginFiles, event_loop: AbstractEventLoop) -> None:
    """Install the hooks for the lifetime of the process."""

    def report(what: str, error: BaseException, within: object = None) -> None:
        """Log ``error``; ``within`` is the function that raised it, for exceptions without a traceback."""
        places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        code = getattr(within, "__code__", None)
        if not places and code is not None:
            places = [(code.co_filename, code.co_firstlineno)]
        plugins, place = find(files, iter(reversed(places)))
        summary = " ".join("".join(traceback.format_exception_only(error)).split())
        text = "".join(traceback.format_exception(error))
        files.report_exception(f"{prefix(plugins)}{what}: {place}{summary}", text, plugins)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is SystemExit:
            return  # The thread ends on purpose; Python's own hook ignores this too.
        name = args.thread.name if args.thread else "of unknown name"
        report(f"thread {name}", _error(args.exc_type, args.exc_value, args.exc_traceback))

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        what = args.err_msg or "exception ignored in"
        error = _error(args.exc_type, args.exc_value, args.exc_traceback)
        report(f"{what[:1].lower()}{what[1:]} {_shown(args.object)}".removesuffix(" None"), error, args.object)

    def in_loop(event_loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:
            event_loop.default_exception_handler(context)
            return
        details = [f"{key}: {_shown(value)}" for key, value in sorted(context.items()) if key not in _SHOWN]
        report(f"{context.get('message', 'exception in the event loop')} ({', '.join(details)})", error)

    show = warnings.showwarning

    def warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is not None:
            show(message, category, filename, lineno, file, line)
            return
        plugins, place = find(files, chain([(filename, lineno)], frames(sys._getframe(1))))
        files.count_warning(plugins)
        where = f"{filename}:{lineno}: "
        if place and files.find(filename) is None:
            where = f"{place}{where}"  # The plugin called the library that warns.
        elif place:
            where = place
        logging.getLogger("py.warnings").warning("%s%s%s: %s", prefix(plugins), where, category.__name__, message)

    warnings.showwarning = warning
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
    event_loop.set_exception_handler(in_loop)


#: Parts of the context of an exception in the loop that the record contains already.
_SHOWN = ("message", "exception", "source_traceback", "handle_traceback")


def _error(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> BaseException:
    """Return the exception with its traceback; exceptions raised by C code may not have an instance yet."""
    return (error if error is not None else kind()).with_traceback(trace)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # The record must not be lost because of a failing repr().
        return f"<{type(value).__name__}>"
