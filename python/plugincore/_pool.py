"""Threads in which the plain handlers of one plugin run, for ``[plugin x] threads``.

The Rust side makes a pool at the first request and closes it with the plugin. A request waits for its thread like any
async handler, so that it can be cancelled when its client leaves. Caveat: a handler that runs already cannot be
stopped; what it returns is dropped.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import FunctionType
from typing import Any


def is_plain(handler: Any) -> bool:
    """Return whether a handler is a plain Python function, or a method that is one."""
    function = inspect.unwrap(getattr(handler, "__func__", handler))
    return isinstance(function, FunctionType) and not (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )


class HandlerPool:
    """The threads of one plugin."""

    def __init__(self, plugin: str, threads: int) -> None:
        """Prepare as many threads; each is started when it is needed."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"plugin-{plugin}")

    async def call(self, handler: Callable[..., Any], data: Mapping[str, Any]) -> Any:
        """Call a handler in a thread, in a copy of the current context; return what it returns, or raise it."""
        loop = asyncio.get_running_loop()
        result, error = await loop.run_in_executor(self._executor, copy_context().run, _call, handler, data)
        if error is not None:
            try:
                raise error
            finally:
                del error
        # A plain function may return the coroutine of another.
        return await result if inspect.isawaitable(result) else result

    def close(self) -> None:
        """Take no more calls; the threads end as soon as they are idle."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _call(handler: Callable[..., Any], data: Mapping[str, Any]) -> tuple[Any, BaseException | None]:
    """Return result and exception as values, since futures do not take every exception."""
    try:
        return handler(**data), None
    except BaseException as error:
        return None, error
