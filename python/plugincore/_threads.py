"""Threads that plugins start belong to them.

A thread begins with an empty context, so nothing in it would tell whose code runs there. `install` has `Thread.start`
hand the owner on: tasks that the thread gives to the event loop then end with the plugin, and the log can name threads
that a plugin has left behind. Caveat: threads of the default executor work for all plugins and belong to none, and
threads that are made by the module ``_thread`` are not seen.
"""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import thread as pools
from contextvars import Context, ContextVar
from threading import Thread
from typing import Any


def install(current: ContextVar[Any]) -> None:
    """Have each thread that is started while `current` has an owner get that owner. Once is enough."""
    start = Thread.start
    if getattr(start, "__wrapped__", None) is not None:
        return

    @functools.wraps(start)
    def start_owned(self: Thread) -> None:
        owner = current.get()
        # From Python 3.14 on a thread may have been given a context of its own.
        pool = _pool_of(self)
        if owner is not None and getattr(self, "_context", None) is None and not _is_default(pool):
            owner.note_thread(self, pool)
            _run_owned(self, current, owner)
        start(self)

    Thread.start = start_owned  # type: ignore[method-assign]


def _run_owned(thread: Thread, current: ContextVar[Any], owner: Any) -> None:
    context = Context()
    context.run(current.set, owner)
    run = thread.run

    def run_in_context() -> None:
        thread.__dict__.pop("run", None)
        context.run(run)

    thread.run = run_in_context  # type: ignore[method-assign]


def _pool_of(thread: Thread) -> Any:
    """Return a weak reference to the pool that a thread works for; None if it is not one of a pool."""
    worker = getattr(pools, "_worker", None)
    is_worker = worker is not None and getattr(thread, "_target", None) is worker
    return thread._args[0] if is_worker else None  # type: ignore[attr-defined]


def _is_default(pool: Any) -> bool:
    """Return whether a pool is the default executor of the running loop, which works for all plugins."""
    default = getattr(asyncio._get_running_loop(), "_default_executor", None)
    return pool is not None and default is not None and pool() is default


def left_behind(started: list[tuple[Any, Any]]) -> list[str]:
    """Return the names of the threads that go on by themselves.

    Each is given by a weak reference, with one to its pool or None. Threads of a pool that nobody has any more end as
    soon as they are idle.
    """
    names = []
    for reference, pool in started:
        thread = reference()
        if thread is not None and thread.is_alive() and (pool is None or pool() is not None):
            names.append(thread.name)
    return sorted(names)
