"""A reader of the documentation: what is done with a block of each kind.

Caveat: only complete Python can be followed; a handler without its class and imports is a script that fails.
"""

from __future__ import annotations

import json
import re
import shutil
from configparser import RawConfigParser
from pathlib import Path

import httpx

from doc_machine import Machine
from doc_pages import PROJECT, Step, plugin_ids, printed_plugins, tests
from support.server import Server, command
from support.wait import TIMEOUT

#: Commands that a test cannot run, by how they begin, and why. Their syntax is checked.
NOT_RUN = {
    "make ": "builds, and runs the tests",
    "cargo build ": "builds",
    "python3 -m venv ": "makes the environment in which the tests run",
    ". .venv/bin/activate": "the same",
    "pip install ": "needs the network",
    "pip uninstall ": "changes the environment in which the tests run",
    "certbot ": "needs a domain",
    "journalctl ": "needs systemd and a unit that has run",
    "brotli ": "is not installed everywhere",
}
#: Without the plugins of this environment, which take seconds to load.
PYTEST = ["env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "pytest", "-q", "-p", "plugincore.testing_pytest"]
START = re.compile(r"(?:\w+=\S+ )*(?:\.venv/bin/)?(?:plugincore|pserve)\b(?! (?!serve\b)[a-z])")
TIME = r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
STUB = """\
from plugincore.baseplugin import BasePlugin


class {name}(BasePlugin):
    def request_handler(self, **data):
        return 200, "a plugin of the reader"
"""


class Reader:
    """Follows the steps of one page.

    Attributes:
        machine: Where the reader works.
        output: What the last commands wrote.
        sections: The page's ini file: each section as it was last printed.

    """

    def __init__(self, folder: Path) -> None:
        """Give the reader a machine."""
        self.machine = Machine(folder)
        self.output = ""
        self.sections = {"[paths]": "[paths]\nplugins = plugins\n"}

    def follow(self, step: Step) -> None:
        """Do what one step says; an exception shows what is wrong with it."""
        rule = {
            "needs": self._needs,
            "file": self._file,
            "python": self._python,
            "ini": self._ini,
            "sh": self._commands,
            "json": self._json,
            "http": self._text,
            "text": self._text,
            "nginx": self._text,
            "yaml": self._text,
        }.get(step.kind)
        assert rule, f"there is no rule for a block of kind {step.kind!r}: give it one in doc_reader.py"
        rule(step)

    def _needs(self, step: Step) -> None:
        printed, shipped = printed_plugins().get(step.text), PROJECT / step.text
        assert printed or shipped.is_file(), f"neither the repository nor a page has {step.text}"
        self.machine.write(step.text, printed or shipped.read_text())

    def _file(self, step: Step) -> None:
        self.machine.write(step.notes["file"], step.text)

    def _python(self, step: Step) -> None:
        """Serve a plugin, run tests by pytest, keep a helper, and run anything else as a script."""
        if "file" in step.notes:
            self.machine.write(step.notes["file"], step.text)
        elif ids := plugin_ids(step.text):
            self.machine.write(f"plugins/{ids[0]}.py", step.text)
            self._ask(step.notes.get("requests") or ", ".join(f"/{one} 200" for one in ids))
            self.machine.serve_well()
        elif tests(step.text):
            self.machine.write("test_it.py", step.text)
            self.machine.run([*PYTEST, "test_it.py"])
        else:
            self.machine.write("script.py", step.text)
            self.machine.run(["python", "-W", "error", "script.py"])

    def _ask(self, requests: str) -> None:
        """Make requests, written as ``/a 200, /b 404``; of a stream the first piece is enough."""
        base = self.machine.serve().base_url
        with httpx.Client(base_url=base, timeout=TIMEOUT, trust_env=False) as client:
            for path, status in (one.split() for one in requests.split(", ")):
                with client.stream("GET", path) as answer:
                    assert int(status) == answer.status_code, f"{path}: {answer.status_code} {answer.read()!r}"
                    next(answer.iter_raw(), None)

    def _ini(self, step: Step) -> None:
        """Start with the page's ini file and without a complaint; check a unit of systemd."""
        text = self.machine.own_paths(step.text)
        ini = RawConfigParser(strict=False)
        ini.read_string(text)
        if ini.has_section("Unit"):
            self._unit(text, ini)
            return
        self._keep(text)
        for name in ini.options("plugin_parms") if ini.has_section("plugin_parms") else ():
            file = f"plugins/{name}.py"
            if file in printed_plugins() or (PROJECT / file).is_file():
                self._needs(Step(step.place, "needs", file))
            else:
                self.machine.write(file, STUB.format(name=name.title()))
        self.machine.write("plugincore.ini", "\n".join(self.sections.values()))
        self.machine.start = "plugincore"
        self.machine.serve_well(step.notes.get("warns"))

    def _keep(self, text: str) -> None:
        """Take the sections of an ini file in place of earlier ones of their names."""
        for section in re.split(r"^(?=\[)", text, flags=re.MULTILINE):
            self.sections[section.partition("\n")[0]] = section

    def _unit(self, text: str, unit: RawConfigParser) -> None:
        """Start as the unit does, and have systemd look at it where there is one."""
        assert {"Unit", "Service", "Install"} == set(unit.sections())
        home = unit["Service"]["WorkingDirectory"]
        self.machine.start = unit["Service"]["ExecStart"].removeprefix(f"{home}/")
        self.machine.serve_well()
        file = self.machine.write("plugincore.service", text.replace(home, str(self.machine.folder)))
        if shutil.which("systemd-analyze"):
            assert "" == self.machine.run(["systemd-analyze", "verify", str(file)])

    def _commands(self, step: Step) -> None:
        """Run the commands that can be run; one that starts the server keeps it for what follows."""
        self.machine.run(["bash", "-n"], step.text)
        script: list[str] = []
        for line in step.text.replace("\\\n", " ").splitlines():
            if START.match(line):
                self.machine.end()
                self.machine.start = line
                self.machine.serve()
            elif entered := re.fullmatch(r"cd (\w+)", line):
                assert not script, "enter a folder first"
                self.machine.enter(entered[1])
                self._keep((self.machine.folder / "plugincore.ini").read_text())
            elif not_run(line) is None:
                script.append(line)
        self.output = self.machine.shell(script) if script else ""

    def _json(self, step: Step) -> None:
        """Compare with the output of the commands above, unless it is a file."""
        value = json.loads(step.text)
        if "file" in step.notes:
            self.machine.write(step.notes["file"], step.text)
            return
        assert step.after_commands, "whose output, or which file, is this?"
        printed = self.output.strip().rpartition("\n")[2]
        assert printed, "the commands above write nothing"
        assert like(value, json.loads(printed)), f"the output is\n{printed}"

    def _text(self, step: Step) -> None:
        """Compare with the output of the commands above, or with the log of a start."""
        if "unchecked" in step.notes:
            assert step.notes["unchecked"], "give the reason"
        elif where := step.notes.get("log"):
            folder = self.machine.folder / where.removeprefix("in ")
            with Server(command(), folder, {}) as server:
                for line in step.text.splitlines():
                    server.wait_for(f"{pattern(line)}$")
        else:
            assert step.after_commands, "whose output, or which log, is this?"
            assert re.fullmatch(pattern(step.text.strip()), self.output.strip()), f"the output is\n{self.output}"


def not_run(line: str) -> str | None:
    """Return the row of :data:`NOT_RUN` that a command falls under."""
    return next((begin for begin in NOT_RUN if line.removeprefix(".venv/bin/").startswith(begin)), None)


def pattern(text: str) -> str:
    """Return a regular expression for what a page prints: `…` is any text, and the time of an access log any time."""
    return TIME.join(re.escape(part).replace("…", ".*") for part in re.split(TIME, text))


def like(printed: object, real: object) -> bool:
    """Whether a JSON value is the one that a page prints, in which `…` stands for any text."""
    if isinstance(printed, dict) and isinstance(real, dict):
        return printed.keys() == real.keys() and all(like(printed[key], real[key]) for key in printed)
    if isinstance(printed, list) and isinstance(real, list):
        return len(printed) == len(real) and all(map(like, printed, real))
    if isinstance(printed, str) and isinstance(real, str) and "…" in printed:
        return re.fullmatch(pattern(printed), real) is not None
    return printed == real
