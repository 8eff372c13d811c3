"""Keeps Python's ``logging`` shared: no plugin's way of setting it up silences the others.

A plugin may have been a program of its own, and sets logging up as if nobody else was there. What it adds works. What
would take the records of all others away is not done, or put right before the next record, and reported once with the
plugin, the file and the line. There is one ``logging`` in a process, and so one guard of it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, SupportsIndex

from plugincore._reports import PluginFiles, whose
from plugincore.logjam import LogJamHandler

_REMOVAL = "removing the server's handler from the root logger"


class Guard:
    """What is kept as it is: the server's handler and the highest level of the root logger."""

    def __init__(self, files: PluginFiles, handler: LogJamHandler, highest: int) -> None:
        """Begin with nothing to complain of."""
        self.handler = handler
        self.highest = highest
        self._files = files
        self._told: set[tuple[str, str]] = set()

    def complain(self, what: str) -> None:
        """Report what would silence others, once for each plugin that does it."""
        plugin, place = whose(self._files, _frames(sys._getframe(1)))
        # By the file, since its plugin has no id yet while it is imported.
        once = (place.partition(".py:")[0], what)
        if once not in self._told:
            self._told.add(once)
            self._files.report(f"{plugin}{place}{what} would silence the other plugins; it does not", is_error=False)


_guard: Guard


def install(files: PluginFiles) -> None:
    """Guard the root logger's handler of the server, if it has one, and what decides whether records reach it."""
    global _guard
    root = logging.getLogger()
    handler = next((handler for handler in root.handlers if isinstance(handler, LogJamHandler)), None)
    if handler is None:
        return
    _guard = Guard(files, handler, root.level)
    handler.guard(_guard.complain)
    logging.setLoggerClass(SharedLogger)
    for logger in root.manager.loggerDict.values():
        if type(logger) is logging.Logger:
            logger.__class__ = SharedLogger
    root.manager.__class__ = SharedManager
    root.__class__ = SharedRoot
    root.handlers = root.handlers


def _frames(frame: FrameType | None) -> Iterator[tuple[str, int]]:
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


class SharedLogger(logging.Logger):
    """A logger that ``logging.config`` does not disable along with all others; one by one they still may be."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute, unless this disables loggers that the caller has never heard of."""
        if name == "disabled" and value and sys._getframe(1).f_globals.get("__name__") == "logging.config":
            _guard.complain("logging.config with disable_existing_loggers")
            return
        super().__setattr__(name, value)


class SharedManager(logging.Manager):
    """What ``logging.disable()`` speaks to."""

    @property
    def disable(self) -> int:
        """The level up to which all records are dropped: none."""
        return logging.NOTSET

    @disable.setter
    def disable(self, level: int | str) -> None:
        if level not in (logging.NOTSET, "NOTSET"):
            _guard.complain("logging.disable()")


class Handlers(list[logging.Handler]):
    """The root logger's handlers: the server's own is among them whenever they are asked to handle a record.

    Until then it may be missing, so that whoever empties the list to fill it anew finds it empty.
    """

    def __iter__(self) -> Iterator[logging.Handler]:
        """Iterate over all of them, the server's among them."""
        self.put_back()
        return super().__iter__()

    def append(self, added: logging.Handler) -> None:
        """Add one behind the server's."""
        self.put_back()
        super().append(added)

    def put_back(self) -> None:
        """Add the server's if it is missing."""
        if not self.is_whole():
            self.insert(0, _guard.handler)

    def is_whole(self) -> bool:
        """Tell whether the server's is there."""
        return any(kept is _guard.handler for kept in super().__iter__())

    def clear(self) -> None:
        """Remove all."""
        super().clear()
        _guard.complain(_REMOVAL)

    def remove(self, removed: logging.Handler) -> None:
        """Remove one."""
        super().remove(removed)
        if removed is _guard.handler:
            _guard.complain(_REMOVAL)

    def pop(self, index: SupportsIndex = -1) -> logging.Handler:
        """Remove one and return it."""
        popped = super().pop(index)
        if popped is _guard.handler:
            _guard.complain(_REMOVAL)
        return popped

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        """Remove some."""
        super().__delitem__(index)
        if not self.is_whole():
            _guard.complain(_REMOVAL)

    def __setitem__(self, index: Any, value: Any) -> None:
        """Replace some."""
        super().__setitem__(index, value)
        if not self.is_whole():
            _guard.complain(_REMOVAL)


class SharedRoot(logging.RootLogger):
    """The root logger, whose handlers and level are those of all other loggers, too."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the handlers and the level only in so far as all records of others still come."""
        if name == "handlers":
            value = Handlers(value)
            if not value.is_whole():
                _guard.complain(_REMOVAL)
        elif name == "level" and value > _guard.highest:
            _guard.complain("a higher level of the root logger")
            value = _guard.highest
        super().__setattr__(name, value)
