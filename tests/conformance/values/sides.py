"""The two packages called ``plugincore``, each in a process of its own, and what scripts see of them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.difference import Observation

WORKER = Path(__file__).with_name("worker.py")

#: Longest wait for the answer to one script, in seconds.
TIMEOUT = 20.0


@dataclass(frozen=True)
class Case:
    """A script that both sides run, with the files and the environment that it finds.

    ``topic`` says what the script is about, so that rows of the table can look at cases of theirs only. The script
    finds ``given`` under that name, and the names that the worker documents.
    """

    topic: str
    script: str
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    given: Any = None
    name: str = ""


class Side:
    """A worker process with one of the packages."""

    def __init__(self, python: Path, search: str) -> None:
        """Start ``python`` with the package that it finds, ``search`` being looked at before its own packages."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [python, WORKER],
            env={**environment, "PYTHONUTF8": "1", "PYTHONPATH": search},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, case: Case) -> dict[str, Any]:
        """Run the case's script; return the worker's report."""
        files = {name: text if isinstance(text, str) else [encoded(text)] for name, text in case.files.items()}
        request = {"script": case.script, "files": files, "env": dict(case.env), "given": case.given}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"raised": ["ended"], "message": f"the process ended before, with {self._process.wait()}"}
        if not select.select([self._process.stdout], [], [], TIMEOUT)[0]:
            self._process.kill()
            return {"raised": ["hung"], "message": f"no answer in {TIMEOUT} s"}
        line = self._process.stdout.readline()
        if not line:
            return {"raised": ["ended"], "message": f"the process ended with {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(TIMEOUT)
        finally:
            self._process.kill()
            self._process.stdout.close()


def encoded(content: bytes) -> str:
    """Return bytes as text for the way to the worker."""
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Sides:
    """Both packages."""

    original: Side
    ours: Side

    def compare(self, case: Case) -> tuple[Observation, Observation]:
        """Run a case on both sides and return what was seen, aspect by aspect."""
        first, second = self.original.run(case), self.ours.run(case)
        if "raised" not in first and "raised" not in second:
            return dict(aspects(first["result"])), dict(aspects(second["result"]))
        raised = [side.get("raised", []) for side in (first, second)]
        if raised[0] and set(raised[0]) <= set(raised[1]):
            # Code that catches what the original raises catches ours too.
            return {}, {}
        return raising(first), raising(second)


def raising(answer: Mapping[str, Any]) -> Observation:
    """Return what is seen of a side when one of the two has raised."""
    if "raised" in answer:
        return {"raised": f"{' '.join(answer['raised'])} ({answer['message']})"}
    return {"raised": "nothing"}


def aspects(described: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Take a described value apart: one aspect for each leaf, and one for the shape of each container."""
    if not isinstance(described, dict | list):
        yield path, described
        return
    if isinstance(described, dict) and set(described) <= {"Config", "dict"}:
        ((kind, items),) = described.items()
        yield f"{path}!", f"{kind} of {list(items)}"
        for key, item in items.items():
            yield from aspects(item, f"{path}.{key}" if path else key)
    elif isinstance(described, dict) and set(described) <= {"list", "tuple"} and path.count(".") < 1:
        ((kind, entries),) = described.items()
        yield f"{path}!", f"{kind} of {len(entries)}"
        for number, entry in enumerate(entries):
            yield from aspects(entry, f"{path}.{number}" if path else str(number))
    else:
        yield path, json.dumps(described, ensure_ascii=False)
