"""Shares Python's ``logging`` between plugins: the logging setup of one plugin does not silence the others.

A plugin may have been a separate program that configures logging for the whole process. Its additions work. A change
that would suppress the records of other plugins is not made, or is reverted before the next record. It is reported
once, with the plugin, the file and the line. A process has one ``logging``, and therefore one guard.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any, SupportsIndex

from plugincore._reports import PluginFiles, frames, locate
from plugincore.logjam import LogJamHandler

_REMOVAL = "removing the server's handler from the root logger"


class Guard:
    """The protected state: the server's handler and the highest level of the root logger."""

    def __init__(self, files: PluginFiles, handler: LogJamHandler, highest: int) -> None:
        """Create a guard without reports."""
        self.handler = handler
        self.highest = highest
        self._files = files
        self._reported: set[tuple[str, str]] = set()

    def report(self, what: str) -> None:
        """Report a change that would silence other plugins, once for each plugin."""
        plugin, place = locate(self._files, frames(sys._getframe(1)))
        # The key is the file: while a plugin is imported, it does not have an id yet.
        once = (place.partition(".py:")[0], what)
        if once not in self._reported:
            self._reported.add(once)
            self._files.report(f"{plugin}{place}{what} would silence the other plugins; it does not")


_guard: Guard


def install(files: PluginFiles) -> None:
    """Protect the server's handler of the root logger, if there is one, and the settings that affect its records."""
    global _guard
    root = logging.getLogger()
    handler = next((handler for handler in root.handlers if isinstance(handler, LogJamHandler)), None)
    if handler is None:
        return
    _guard = Guard(files, handler, root.level)
    handler.guard(_guard.report)
    logging.setLoggerClass(SharedLogger)
    for logger in root.manager.loggerDict.values():
        if type(logger) is logging.Logger:
            logger.__class__ = SharedLogger
    root.manager.__class__ = SharedManager
    root.__class__ = SharedRoot
    root.handlers = root.handlers


class SharedLogger(logging.Logger):
    """A logger that ``logging.config`` does not disable together with all others; it can be disabled individually."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute, unless ``logging.config`` disables all existing loggers."""
        if name == "disabled" and value and sys._getframe(1).f_globals.get("__name__") == "logging.config":
            _guard.report("logging.config with disable_existing_loggers")
            return
        super().__setattr__(name, value)


class SharedManager(logging.Manager):
    """A manager that ignores ``logging.disable()``."""

    @property
    def disable(self) -> int:
        """The level up to which all records are dropped: none."""
        return logging.NOTSET

    @disable.setter
    def disable(self, level: int | str) -> None:
        if level not in (logging.NOTSET, "NOTSET"):
            _guard.report("logging.disable()")


class Handlers(list[logging.Handler]):
    """The root logger's handlers: the server's own is among them whenever a record is handled.

    In between it may be missing, so that code that empties the list and fills it again finds it empty.
    """

    def __iter__(self) -> Iterator[logging.Handler]:
        """Iterate over all handlers, including the server's."""
        self.put_back()
        return super().__iter__()

    def append(self, added: logging.Handler) -> None:
        """Append a handler after the server's."""
        self.put_back()
        super().append(added)

    def put_back(self) -> None:
        """Insert the server's handler if it is missing."""
        if not self.is_whole():
            self.insert(0, _guard.handler)

    def is_whole(self) -> bool:
        """Return whether the server's handler is present."""
        return any(kept is _guard.handler for kept in super().__iter__())

    def clear(self) -> None:
        """Remove all handlers."""
        super().clear()
        _guard.report(_REMOVAL)

    def remove(self, removed: logging.Handler) -> None:
        """Remove a handler."""
        super().remove(removed)
        if removed is _guard.handler:
            _guard.report(_REMOVAL)

    def pop(self, index: SupportsIndex = -1) -> logging.Handler:
        """Remove a handler and return it."""
        popped = super().pop(index)
        if popped is _guard.handler:
            _guard.report(_REMOVAL)
        return popped

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        """Remove handlers by index."""
        super().__delitem__(index)
        if not self.is_whole():
            _guard.report(_REMOVAL)

    def __setitem__(self, index: Any, value: Any) -> None:
        """Replace handlers by index."""
        super().__setitem__(index, value)
        if not self.is_whole():
            _guard.report(_REMOVAL)


class SharedRoot(logging.RootLogger):
    """The root logger; its handlers and level apply to all other loggers too."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; handlers and level are adjusted so that the records of other plugins are still logged."""
        if name == "handlers":
            value = Handlers(value)
            if not value.is_whole():
                _guard.report(_REMOVAL)
        elif name == "level" and value > _guard.highest:
            _guard.report("a higher level of the root logger")
            value = _guard.highest
        super().__setattr__(name, value)
