"""Runs scripts against the ``plugincore`` that this interpreter finds, one a line, and tells what came of each.

A line of standard input is a JSON object with ``script``, ``files`` (name → text, or base64 of bytes in a list of one)
and ``env``; a line of the answer is ``{"result": …}``, what the script left in ``result``, or ``{"raised": …}``.
Only the standard library is used, since the original runs in an environment of its own.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import base64
import configparser
import inspect
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Kinds of exceptions that a caller can be expected to catch; a subclass of one will do in its place.
FAMILIES = (
    configparser.Error,
    ValueError,
    AttributeError,
    KeyError,
    TypeError,
    OSError,
    RecursionError,
    ImportError,
    SyntaxError,
    RuntimeError,
    SystemExit,
)

#: Code of scripts seen before: most cases share theirs.
_CODE: dict[str, types.CodeType] = {}


def described(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON that keeps what JSON loses: types, order, the kind of a float."""
    from plugincore.configfile import Config

    if value is None or type(value) in (bool, str):
        return value
    if isinstance(value, type):
        return {"class": value.__name__}
    if depth > 50:
        return {"deep": type(value).__name__}
    if isinstance(value, Config):
        return {"Config": {str(key): described(item, depth + 1) for key, item in value.data.items()}}
    if type(value) is dict:
        return {"dict": {repr(key): described(item, depth + 1) for key, item in value.items()}}
    if type(value) in (list, tuple):
        return {type(value).__name__: [described(item, depth + 1) for item in value]}
    if isinstance(value, BaseException):
        return {"exception": families(value)}
    if isinstance(value, int | float | str | bytes):
        return {type(value).__name__: repr(value)}
    return {"instance": type(value).__name__}


def families(error: BaseException) -> list[str]:
    """Name what an exception can be caught as."""
    known = [family.__name__ for family in FAMILIES if isinstance(error, family)]
    return known or [type(error).__name__]


def attempt(action: Callable[[], Any]) -> Any:
    """Return what ``action`` returns, or the exception that it raises: for scripts that look at several things."""
    try:
        return action()
    except Exception as error:
        return error


def signature(function: Callable[..., Any]) -> list[tuple[str, str, Any]]:
    """Return names, kinds and defaults of a function's parameters."""
    parameters = inspect.signature(function).parameters.values()
    return [
        (one.name, one.kind.name, None if one.default is one.empty else ("default", one.default)) for one in parameters
    ]


class Output:
    """What was written to standard output since the script began."""

    def __init__(self) -> None:
        """Take standard output over; what was there before is returned by :meth:`channel`."""
        self._channel = os.dup(1)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- open as long as the process
        os.dup2(self._file.fileno(), 1)

    def channel(self) -> int:
        """Return the descriptor of the old standard output."""
        return self._channel

    def reset(self) -> None:
        """Forget what was written."""
        sys.stdout.flush()
        self._file.seek(0)
        self._file.truncate()

    def __call__(self) -> str:
        """Return what was written."""
        sys.stdout.flush()
        return os.pread(self._file.fileno(), 1 << 20, 0).decode()


def namespace(folder: Path, output: Output) -> dict[str, Any]:
    """Return the names that scripts find."""
    from plugincore import baseplugin, configfile, logjam, pluginmanager

    return {
        "BasePlugin": baseplugin.BasePlugin,
        "Config": configfile.Config,
        "LogJam": logjam.LogJam,
        "PluginManager": pluginmanager.PluginManager,
        "args": argparse.Namespace(ini_file="server.ini", log=None, level="ERROR"),
        "asyncio": asyncio,
        "attempt": attempt,
        "configfile": configfile,
        "folder": folder,
        "os": os,
        "output": output,
        "signature": signature,
        "sys": sys,
    }


def clear(folder: Path) -> None:
    """Empty a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            clear(path)
            path.rmdir()
        else:
            path.unlink()


def perform(request: dict[str, Any], folder: Path, output: Output) -> dict[str, Any]:
    """Run one script."""
    clear(folder)
    output.reset()
    for name, content in request["files"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else base64.b64decode(content[0]))
    before, modules, path = dict(os.environ), set(sys.modules), list(sys.path)
    os.environ.update(request["env"])
    script = request["script"]
    code = _CODE.setdefault(script, compile(script, "script", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
    names = namespace(folder, output) | {"given": request["given"]}
    try:
        # Code with a top-level await evaluates to a coroutine.
        waiting = eval(code, names)
        if inspect.iscoroutine(waiting):
            asyncio.run(waiting)
        return {"result": described(names["result"])}
    except (Exception, SystemExit) as error:
        return {"raised": families(error), "message": f"{type(error).__name__}: {error}"}
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
                del sys.modules[name]


def main() -> None:
    """Answer lines until there are no more."""
    sys.dont_write_bytecode = True
    output = Output()
    with tempfile.TemporaryDirectory() as name, os.fdopen(output.channel(), "w") as answers:
        os.chdir(name)
        for line in sys.stdin:
            answers.write(json.dumps(perform(json.loads(line), Path(name), output)) + "\n")
            answers.flush()
        os.chdir("/")


if __name__ == "__main__":
    main()
