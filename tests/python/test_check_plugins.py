"""``plugincore check`` beyond the ini file: plugins that are imported in processes of their own, and ports."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.plugins import INI, prepare
from support.server import Launch, command
from support.wait import TIMEOUT

GOOD = """
import asyncio
import helper
from plugincore.baseplugin import BasePlugin
from plugincore.configfile import masterConfig

print("noise" * 100000)
assert asyncio.get_running_loop() and masterConfig.paths and helper.ANSWER == 42

class Good(BasePlugin):
    def __init__(self, **kwargs):
        raise RuntimeError("is not built")

class Other(BasePlugin):
    pass
"""
HELPER = "ANSWER = 42\n"
BAD = {
    "syntax": ("x = 1\ndef x(:\n", 2, "SyntaxError"),
    "raises": ("import os\n\nraise KeyError('at import')\n", 3, "KeyError: 'at import'"),
    "missing": ("import no_such_package\n", 1, "No module named 'no_such_package'"),
    "leaves": ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
    "exits": ("import os\nos._exit(7)\n", None, "its import ends the process with code 7"),
    "crashes": ("import ctypes\n\nctypes.string_at(0)\n", 3, "its import crashes the process (SIGSEGV)"),
    "hangs": ("import time\nwhile True:\n    time.sleep(60)\n", 3, "its import does not end within 1 s"),
    "deaf": (
        "import faulthandler, signal, time\nfaulthandler.cancel_dump_traceback_later()\n"
        "[signal.signal(n, signal.SIG_IGN) for n in (15, 2, 1, 23)]\nwhile True:\n    time.sleep(60)\n",
        None,
        "its import does not end within 1 s, and cannot be interrupted",
    ),
    "forks": ("import os\nif os.fork():\n    raise ValueError('the parent')\n", 3, "ValueError: the parent"),
    "closes": ("import os\nos.closerange(3, 4096)\nos._exit(0)\n", None, "its import ends the process with code 0"),
}


def check(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run ``plugincore check -i server.ini``; return exit code, output and errors."""
    done = subprocess.run(
        [*command(), "check", "-i", "server.ini", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def result(folder: Path, *arguments: str) -> tuple[int, Any]:
    """Return exit code and JSON of a check."""
    code, output, errors = check(folder, "--json", *arguments)
    assert "" == errors
    return code, json.loads(output)


def test_good_plugins_are_imported_as_by_a_server_and_not_built(tmp_path: Path) -> None:
    """With the running loop, the configuration and the modules beside them; what they print is not seen."""
    prepare(tmp_path, {"good": GOOD, "helper": HELPER}, INI)
    expected = "server.ini: no errors\nlistens on 127.0.0.1:0\n2 plugin files imported\n"
    assert (0, expected, "") == check(tmp_path)
    code, shown = result(tmp_path)
    assert (0, 0, [], ["127.0.0.1:0"]) == (code, shown["errors"], shown["problems"], shown["listen"])
    assert [
        {"file": "plugins/good.py", "classes": ["Good", "Other"]},
        {"file": "plugins/helper.py", "classes": []},
    ] == shown["plugins"]


def test_every_bad_plugin_is_named_with_its_line_and_the_good_ones_are_tried(tmp_path: Path) -> None:
    """A plugin that hangs, ends the process or crashes is a problem like any other, found within its time."""
    sources = {name: source for name, (source, _, _) in BAD.items()}
    prepare(tmp_path, {**sources, "good": GOOD, "helper": HELPER}, INI)
    code, shown = result(tmp_path, "--timeout", "1")
    assert (1, len(BAD)) == (code, shown["errors"])
    found = {problem["file"]: problem for problem in shown["problems"]}
    for name, (_, line, text) in BAD.items():
        problem = found[f"plugins/{name}.py"]
        assert (line, "error") == (problem["line"], problem["severity"]), problem
        assert text in problem["message"], problem
    assert len(BAD) + 2 == len(shown["plugins"])


def test_errors_are_shown_to_a_person_with_file_line_and_remedy(tmp_path: Path) -> None:
    """Warnings come first, the number of errors last; the exit code is 1."""
    prepare(tmp_path, {"exits": BAD["exits"][0], "raises": BAD["raises"][0]}, INI + "[server]\nio_thread = 1\n")
    code, output, errors = check(tmp_path)
    assert (1, "") == (code, output)
    lines = errors.splitlines()
    assert lines[0].startswith("warning: server.ini:8: [server] io_thread")
    assert lines[1] == (
        "plugins/exits.py: its import ends the process with code 7 "
        "(raise an exception instead of os._exit: the server would end with it)"
    )
    assert lines[2] == "plugins/raises.py:3: KeyError: 'at import'"
    assert ["server.ini: 2 errors; 2 plugin files imported"] == lines[3:]


def test_wrong_parameters_are_found_in_the_ini_file(tmp_path: Path) -> None:
    """As at a start."""
    plugin = "from plugincore.baseplugin import BasePlugin\n\nclass Meter(BasePlugin):\n    pass\n"
    parameters = "[plugin_parms]\nmeter = auth_type=glbal\nmetre = a=b\nother = json=absent.json\n"
    prepare(tmp_path, {"meter": plugin, "other": plugin}, INI + parameters)
    code, shown = result(tmp_path)
    found = {(problem["line"], problem["key"], problem["severity"]) for problem in shown["problems"]}
    assert (1, {(8, "meter", "error"), (9, "metre", "warning"), (10, "other", "error")}) == (code, found)
    assert {"server.ini"} == {problem["file"] for problem in shown["problems"]}
    assert {"plugin_parms"} == {problem["section"] for problem in shown["problems"]}


def test_a_port_that_another_program_has_is_a_problem(tmp_path: Path) -> None:
    """With the line of the ini file."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        prepare(tmp_path, {}, INI.replace("port = 0", f"port = {port}"))
        code, shown = result(tmp_path)
    (problem,) = shown["problems"]
    assert (1, "server.ini", 2, "network") == (code, problem["file"], problem["line"], problem["section"])
    assert f"cannot listen on 127.0.0.1:{port}" in problem["message"]
    assert 0 == check(tmp_path)[0]


def test_a_unix_socket_that_cannot_be_had_is_a_problem(tmp_path: Path) -> None:
    """Nothing is left of the attempt."""
    (tmp_path / "file").touch()
    listen = f"listen = unix:{tmp_path}/absent/x.sock unix:{tmp_path}/file unix:{tmp_path}/good.sock"
    prepare(tmp_path, {}, f"[network]\n{listen}\n[paths]\nplugins = plugins\n")
    code, shown = result(tmp_path)
    assert (1, 2) == (code, len(shown["problems"]))
    assert not (tmp_path / "good.sock").exists()


def test_the_port_of_the_server_that_runs_with_this_file_is_no_problem(launch: Launch, tmp_path: Path) -> None:
    """It would be free for the next one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    ini = f"[network]\nbindto = 127.0.0.1\nport = {port}\n[paths]\nplugins = plugins\n"
    server = launch({}, ini=ini + "[server]\ncontrol_socket = control.sock\n")
    assert 0 == check(server.folder)[0]
    (server.folder / "server.ini").write_text(ini + "[server]\ncontrol_socket = other.sock\n")
    assert 1 == check(server.folder)[0]


def test_a_terminal_shows_how_far_the_check_is(tmp_path: Path) -> None:
    """And colours, unless NO_COLOR is set."""
    prepare(tmp_path, dict.fromkeys("abc", ""), INI + "[server]\nio_thread = 1\n")
    for colour in ("", "1"):
        own, terminal = pty.openpty()
        variables = {**os.environ, "TERM": "xterm", "NO_COLOR": colour}
        words = [*command(), "check", "-i", "server.ini"]
        done = subprocess.run(words, cwd=tmp_path, env=variables, stderr=terminal, timeout=TIMEOUT, check=False)
        os.close(terminal)
        # All of it fits into the terminal's buffer.
        shown = os.read(own, 65536).decode()
        os.close(own)
        assert 0 == done.returncode
        assert ["1 of 3", "2 of 3", "3 of 3"] == re.findall(r"imported (\d of \d)", shown)
        assert bool(colour) == ("\nwarning: " in shown or "\x1b[Kwarning: " in shown), shown


@pytest.mark.parametrize("timeout", ["0", "-1", "x", "nan", "1e9"])
def test_a_timeout_that_is_none_is_refused(tmp_path: Path, timeout: str) -> None:
    """As code 2."""
    prepare(tmp_path, {}, INI)
    code, _, errors = check(tmp_path, f"--timeout={timeout}")
    assert (2, True) == (code, "--timeout" in errors)


def test_an_interrupted_check_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C ends what is being imported, too."""
    hangs = f"import os, pathlib, time\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
    fifo = f"open({str(tmp_path / 'begun')!r}, 'w').close()\ntime.sleep(600)\n"
    subprocess.run(["mkfifo", str(tmp_path / "begun")], check=True)
    prepare(tmp_path, {"hangs": hangs + fifo}, INI)
    words = [*command(), "check", "-i", "server.ini", "--timeout", "600"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        (tmp_path / "begun").read_text()
        process.send_signal(2)
        _, errors = process.communicate(timeout=TIMEOUT)
    assert 1 == process.returncode
    assert "Traceback" not in errors
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()
