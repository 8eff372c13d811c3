"""What a person types, reads and gets as exit code."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.plugins import INI, prepare
from support.server import Launch, command
from support.wait import TIMEOUT

HELLO = """
from plugincore.baseplugin import BasePlugin

class Hello(BasePlugin):
    def initialize(self, **kwargs):
        print("hello is up", self.args["prog_args"].ini_file)

    async def request_handler(self, **data):
        return 200, {"hello": "world"}
"""

#: Any free port, for servers that run without an ini file.
FREE_PORT = {"PLUGINCORE_NETWORK_PORT": "0"}


def run(folder: Path, *arguments: str, program: Sequence[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command that is expected to end by itself."""
    return subprocess.run(
        [*(program or command()), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("program", ["plugincore", "pserve"])
def test_the_version_is_told(tmp_path: Path, program: str) -> None:
    """Under either name `--version` prints the product and its version on standard output, and is no error."""
    told = run(tmp_path, "--version", program=command(program))
    assert (0, "") == (told.returncode, told.stderr)
    assert re.fullmatch(r"plugincore \d+\.\d+\.\d+\n", told.stdout)


def test_the_log_begins_at_info(tmp_path: Path) -> None:
    """Without `-v`, details for finding faults are not written, neither the server's nor a plugin's."""
    prepare(tmp_path, {"hello": HELLO + "import logging\nlogging.getLogger('own').debug('detail')\n"}, INI)
    with subprocess.Popen([*command(), "-i", "server.ini"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Server started on" in line:
                process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(TIMEOUT)
    assert {"<6> - INFO"} == {line[:10] for line in lines if line.startswith("<")}


def test_help_names_the_original_options(tmp_path: Path) -> None:
    """`--help` shows pserve's three options, short and long."""
    told = run(tmp_path, "--help")
    assert 0 == told.returncode
    for option in ("-i, --ini-file <INI>", "-l, --log <LOG>", "-v, --level <LEVEL>"):
        assert option in told.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--no-such-option"], "--no-such-option"),
        (["stray"], "stray"),
        (["-i"], "--ini-file <INI>"),
        (["-i", "absent.ini"], "absent.ini: there is no such ini file"),
        (["-i", "."], ".: this is a folder"),
        (["-i", "folder.ini"], "folder.ini: this is a folder"),
        (["-i", "file/server.ini"], "file/server.ini: the ini file cannot be read: Not a directory"),
        (["-v", "LOUD"], "a level is one of DEBUG, INFO, WARN, ERROR, CRITICAL, EXCEPTION"),
        (["-v", ""], "a level is one of DEBUG"),
        (["--level=20"], "a level is one of DEBUG"),
        ([], "neither plugincore.ini nor a folder plugins"),
    ],
)
def test_a_wrong_command_line_is_code_2(tmp_path: Path, arguments: list[str], told: str) -> None:
    """A wrong command line is reported on standard error and ends with code 2."""
    (tmp_path / "folder.ini").mkdir()
    (tmp_path / "file").touch()
    ended = run(tmp_path, *arguments)
    assert 2 == ended.returncode
    assert told in ended.stderr


def test_all_errors_of_the_ini_file_are_told_together(tmp_path: Path) -> None:
    """A wrong configuration is code 2; every error is reported, with file and line, before anything is started."""
    prepare(tmp_path, {"hello": HELLO}, "[network]\nport = many\n[paths]\n[server]\nbody_limit = int:-1\n")
    ended = run(tmp_path, "-i", "server.ini")
    assert 2 == ended.returncode
    assert re.search(r"server\.ini:2\b.*port", ended.stderr)
    assert re.search(r"server\.ini:3\b.*plugins", ended.stderr)
    assert re.search(r"server\.ini:5\b.*body_limit", ended.stderr)
    assert "hello is up" not in ended.stdout


def test_a_port_in_use_is_code_1_and_loads_nothing(tmp_path: Path) -> None:
    """A port in use is reported with the fix, and no plugin has run by then."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        prepare(tmp_path, {"hello": HELLO}, INI.replace("port = 0", f"port = {port}"))
        ended = run(tmp_path, "-i", "server.ini")
    assert 1 == ended.returncode
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "another program uses port" in ended.stderr
    assert "hello is up" not in ended.stdout


def test_a_log_file_that_cannot_be_written_is_code_1(tmp_path: Path) -> None:
    """The log file is opened before anything else; a failure is reported without a traceback."""
    prepare(tmp_path, {"hello": HELLO}, INI)
    ended = run(tmp_path, "-i", "server.ini", "-l", "absent/folder/server.log")
    assert 1 == ended.returncode
    assert "absent/folder/server.log" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_with_plugins_is_served_without_an_ini_file(launch: Launch) -> None:
    """Plain `plugincore` serves ./plugins on the loopback address."""
    server = launch({"hello": HELLO}, ini=None, env=FREE_PORT)
    assert 200 == server.get("/hello").status_code
    assert server.wait_for(r"Server started on 127\.0\.0\.1:")
    assert 0 == server.stop()


@pytest.mark.parametrize("program", ["plugincore", "pserve"])
def test_the_ini_file_is_looked_for_under_the_name_of_the_program(launch: Launch, tmp_path: Path, program: str) -> None:
    """`pserve` reads pserve.ini of the working directory, `plugincore` reads plugincore.ini."""
    prepare(tmp_path / "here", {"hello": HELLO}, None)
    (tmp_path / "here" / f"{program}.ini").write_text(INI + "[plugin_parms]\nhello = route_path=greet\n")
    server = launch(ini=None, folder=tmp_path / "here", program=command(program))
    assert [200, 404] == [server.get(path).status_code for path in ("/greet", "/hello")]
    assert server.wait_for(rf"INFO - {program} - Server started")
    assert 0 == server.stop()


def test_python_dash_m_is_the_same_program(launch: Launch) -> None:
    """`python -m plugincore -i INI` serves as the command does."""
    server = launch({"hello": HELLO}, program=[sys.executable, "-m", "plugincore"])
    assert 200 == server.get("/hello").status_code
    assert server.wait_for(r"INFO - plugincore - Server started")
    assert 0 == server.stop(signal.SIGINT)


def test_the_original_options_work_together(launch: Launch, tmp_path: Path) -> None:
    """`pserve -i INI -l LOG -v LEVEL` logs to the file, too; plugins see the options."""
    log = tmp_path / "server.log"
    server = launch({"hello": HELLO}, program=command("pserve"), args=["-l", str(log), "-v", "info"])
    assert server.wait_for(r"^hello is up server\.ini$")
    assert 0 == server.stop()
    lines = log.read_text().splitlines()
    assert any(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - pserve - INFO - Server started", line) for line in lines
    )
    assert not [line for line in lines if " - DEBUG - " in line]


@pytest.mark.parametrize(("level", "shown"), [("ERROR", {"ERROR"}), ("warning", {"WARN", "ERROR"})])
def test_the_level_hides_what_is_below_it(launch: Launch, level: str, shown: set[str]) -> None:
    """`-v` in any case; lower levels are not shown."""
    plugins = {"bad": "def x(:", "hello": HELLO}
    parameters = "[plugin_parms]\nhelo = word=Hello\n"
    server = launch(plugins, ini_more=parameters, args=["-v", level], ready=False)
    server.wait_for("^hello is up")
    assert 0 == server.stop()
    assert shown == set(re.findall(r"^<\d> - (\w+) - ", server.log, re.MULTILINE))


def test_a_folder_without_plugins_is_warned_about_and_served(launch: Launch) -> None:
    """No plugins are no reason not to start: the server's own addresses answer."""
    server = launch()
    assert server.wait_for(r"WARN - .*\[paths\] plugins: /.*/plugins holds no \*\.py file; serving no plugins")
    assert {"loaded_plugins": []} == server.get("/plugins").json()
    assert 0 == server.stop()


def test_the_pidfile_lives_as_long_as_the_server(launch: Launch) -> None:
    """`[paths] pidfile` holds the process id while the server runs and is gone afterwards, SIGTERM included."""
    server = launch({"hello": HELLO}, ini=INI + "pidfile = server.pid\n")
    pidfile = server.folder / "server.pid"
    assert f"{server.process.pid}\n" == pidfile.read_text()
    assert 0 == server.stop(signal.SIGTERM)
    assert not pidfile.exists()


def test_a_pidfile_that_cannot_be_written_is_code_1(tmp_path: Path) -> None:
    """The reason names the key and the file."""
    prepare(tmp_path, {"hello": HELLO}, INI + "pidfile = absent/server.pid\n")
    ended = run(tmp_path, "-i", "server.ini")
    assert 1 == ended.returncode
    assert "[paths] pidfile: absent/server.pid" in ended.stderr
