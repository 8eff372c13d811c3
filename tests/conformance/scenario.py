"""Scenarios: the life of one server from its start, played on both sides with files of their own."""

from __future__ import annotations

import re
import ssl
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

from conformance.observe import without_members
from conformance.server import ORIGINAL, OURS, Server, Side
from support.plugins import prepare
from support.wait import wait_for_file
from support.wire import ClosedError, HangError, Wire

INI = """\
[network]
bindto = 127.0.0.1
port = int:0

[paths]
plugins = plugins
"""

#: A plugin that answers its text and leaves a mark when it is made and when it is terminated.
PLUGIN = """\
from plugincore.baseplugin import BasePlugin


def mark(text):
    with open("marks", "a") as file:
        file.write(text + chr(10))


class NAME(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        mark("made name")

    def terminate_plugin(self):
        mark("ended name")

    async def request_handler(self, **data):
        return 200, "TEXT"
"""


def plugin(name: str, text: str = "one") -> str:
    """Return a plugin file whose class has this name."""
    return PLUGIN.replace("NAME", name.capitalize()).replace("name", name).replace("TEXT", text)


@dataclass(frozen=True)
class Scenario:
    """What is done with a server; ``play`` does it and notes what it sees."""

    name: str
    play: Callable[[Stage], None]
    plugins: Mapping[str, str] = field(default_factory=lambda: {"a": plugin("a")})
    ini: str | None = INI
    options: Sequence[str] = ()
    #: Whether the command line names the ini file.
    names_ini: bool = True
    #: What is added to the environment.
    env: Mapping[str, str] = field(default_factory=dict)


class Stage:
    """One side of a scenario."""

    def __init__(self, scenario: Scenario, side: Side, folder: Path) -> None:
        """Write the files; nothing runs yet."""
        #: What was seen, by aspect.
        self.seen: dict[str, Any] = {}
        self.folder = folder
        prepare(folder, scenario.plugins, scenario.ini)
        named = ["-i", "server.ini"] if scenario.names_ini else []
        if "-v" not in scenario.options:
            named += ["-v", "DEBUG"]  # pluginserver's default, which is not ours
        self.server = Server(side, folder, [*named, *scenario.options], scenario.env)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.folder / name).write_text(textwrap.dedent(text))

    def connect(self) -> Wire:
        """Return a connection."""
        return Wire(self.server)

    def appears(self, name: str) -> bool:
        """Wait until a file is there."""
        try:
            wait_for_file(self.folder / name)
        except AssertionError:
            return False
        return True

    def start(self) -> None:
        """Start; note whether it serves, and else how it ended."""
        if self.server.start():
            self.seen["start"] = "serves"
        else:
            self.seen["start"] = f"exit {self.server.wait()}"

    def ask(
        self,
        aspect: str,
        target: str,
        *headers: str,
        method: str = "GET",
        secure: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        """Note the answer to a request on a connection of its own."""
        lines = "".join(f"{header}\r\n" for header in headers)
        request = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n".encode()
        self.seen[aspect] = shown(self.server, request, secure)

    def stop(self, number: Signals) -> None:
        """Send a signal, and note how it ends and what the plugins have marked."""
        self.server.send(number)
        self.seen["exit"] = self.server.wait()
        self.note_marks()

    def note_marks(self) -> None:
        """Note what plugins have marked so far."""
        marks = self.folder / "marks"
        self.seen["marks"] = marks.read_text().splitlines() if marks.exists() else []

    def written(self, pattern: str) -> list[str]:
        """Return the lines of the server's output that match, without times and numbers that change."""
        return [plain(line) for line in self.server.lines if re.search(pattern, line)]


def plain(line: str) -> str:
    """Take out of a line of a log what is never the same."""
    line = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "TIME", line)
    return re.sub(r"\b[0-9a-f]{32}\b", "ID", line)


def shown(server: Server, request: bytes, secure: bool = False) -> str:
    """Return an answer in one line, or what came instead."""
    try:
        with Wire(server) as wire:
            if secure:
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                wire.encrypt(context)
            wire.send(request)
            return result(wire)
    except (ClosedError, ssl.SSLError) as error:
        return type(error).__name__


def result(wire: Wire) -> str:
    """Read the answer to a GET; return it in one line, or what came instead."""
    try:
        answer = wire.final_answer()
    except (ClosedError, HangError) as error:
        return type(error).__name__
    body = without_members(answer.body).get("body", answer.body)
    return f"{answer.status} {re.sub('[0-9a-f]{32}', 'ID', body.decode('latin-1'))}"


def play(scenario: Scenario, side: Side, folder: Path) -> dict[str, Any]:
    """Play one side of a scenario, and return what was seen."""
    stage = Stage(scenario, side, folder)
    try:
        scenario.play(stage)
    finally:
        stage.server.end()
    if side is OURS:
        assert not any("panicked at" in line for line in stage.server.lines), "\n".join(stage.server.lines)
    return stage.seen


SIDES = (ORIGINAL, OURS)
