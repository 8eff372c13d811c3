"""Upgrade by SIGUSR2: a new process takes over from the old one, and no request is lost."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clients import Clients
from support.server import Launch, Server, command
from support.wait import TIMEOUT, wait_until

WHO = """
    import os, time
    from plugincore.baseplugin import BasePlugin

    class Who(BasePlugin):
        async def request_handler(self, seconds="0", **data):
            if float(seconds):
                print("inside", flush=True)
                time.sleep(float(seconds))
            return 200, {"pid": os.getpid(), "version": "VERSION"}
"""

OTHER = """
    from plugincore.baseplugin import BasePlugin

    class Other(BasePlugin):
        def request_handler(self, **data):
            return 200, "other"
"""

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def new_processes(launch: Launch) -> Iterator[list[int]]:
    """Become the parent of processes whose parent has ended, so that their ends are seen; end those that are left."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    started: list[int] = []
    yield started
    for pid in started:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not is_running(pid))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def exit_code(pid: int) -> int:
    """Wait for the end of a process that took over, and return its exit code."""
    wait_until(lambda: not is_running(pid), f"process {pid} does not end")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def begin(server: Server, started: list[int], since: int | None = None) -> int:
    """Ask for an upgrade, and return the id of the process that is started for it."""
    since = len(server.lines) if since is None else since
    os.kill(pid_of_service(server), signal.SIGUSR2)
    line = server.wait_for(r"upgrade: process \d+ is loading its plugins", since)
    started.append(int(re.findall(r"process (\d+)", line)[0]))
    return started[-1]


def pid_of_service(server: Server) -> int:
    """Return what the pid file says."""
    return int((server.folder / "server.pid").read_text())


def with_pid_file(launch: Launch, plugins: dict[str, str], more: str = "") -> Server:
    """Start a server with a pid file."""
    ini = "[network]\nbindto = 127.0.0.1\nport = 0\n[paths]\nplugins = plugins\npidfile = server.pid\n" + more
    return launch(plugins, ini=ini)


def upgrade(server: Server, started: list[int]) -> int:
    """Upgrade a server, and return the id of the new process, which serves."""
    since = len(server.lines)
    pid = begin(server, started, since)
    server.wait_for(f"upgrade: process {pid} serves", since)
    return pid


def test_no_request_is_lost_over_three_upgrades(launch: Launch, new_processes: list[int]) -> None:
    """Kept and new connections are all answered, by old plugins or new ones; each old process exits with 0."""
    server = with_pid_file(launch, {"who": WHO.replace("VERSION", "0")})
    versions = {str(number).encode() for number in range(4)}

    def right(status: int, body: bytes) -> bool:
        return status == 200 and re.findall(rb'"version": "(\d)"', body)[0] in versions

    with Clients(server.port, "/who", right) as clients:
        pids = [server.pid]
        for number in range(1, 4):
            (server.plugins / "who.py").write_text(dedented(WHO.replace("VERSION", str(number))))
            pids.append(upgrade(server, new_processes))
            clients.go_on(50)
            assert 0 == (server.process.wait(TIMEOUT) if number == 1 else exit_code(pids[-2]))
            assert pids[-1] == pid_of_service(server)
            assert {"pid": pids[-1], "version": str(number)} == server.get("/who").json()
            clients.go_on(50)
    assert 4 == len(set(pids))
    os.kill(pids[-1], signal.SIGTERM)
    assert 0 == exit_code(pids[-1])
    assert not (server.folder / "server.pid").exists()


def dedented(source: str) -> str:
    """Return the source of a plugin as a file has it."""
    return "\n".join(line.removeprefix("    ") for line in source.splitlines())


def test_a_request_that_is_in_the_old_process_is_answered_by_it(launch: Launch, new_processes: list[int]) -> None:
    """The new one serves meanwhile, also if the plugin blocks the old one's Python."""
    server = with_pid_file(launch, {"who": WHO})
    with server.connect() as connection:
        connection.sendall(b"GET /who?seconds=4 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("^inside$")
        pid = upgrade(server, new_processes)
        assert pid == server.get("/who").json()["pid"]
        assert f'"pid": {server.pid}'.encode() in connection.recv(1000)
        assert b"" == connection.recv(1000)
    assert 0 == server.process.wait(TIMEOUT)


BROKEN = {
    "the ini file is invalid": (
        lambda server: (server.folder / "server.ini").write_text("[network]\nport = many\n"),
        r"server\.ini:2: .*port",
    ),
    "a plugin that serves is broken": (
        lambda server: (server.plugins / "other.py").write_text("def broken(:"),
        r"plugin other is missing in the new process; plugins/other\.py:1: SyntaxError",
    ),
    "the file of a plugin that serves is gone": (
        lambda server: (server.plugins / "other.py").unlink(),
        r"plugin other is missing in the new process$",
    ),
    "a self_check fails": (
        lambda server: (server.plugins / "new.py").write_text(
            dedented(OTHER).replace("Other", "New") + "\n    def self_check(self):\n        return False\n"
        ),
        r"plugins/new\.py: class New: RuntimeError: self_check returned False$",
    ),
    "the new process exits": (
        lambda server: (server.plugins / "other.py").write_text("import os; os._exit(7)"),
        r"it ended with exit code 7 before it was ready$",
    ),
    "the new process is killed": (
        lambda server: (server.plugins / "other.py").write_text("import os; os.kill(os.getpid(), 9)"),
        r"it was killed by signal 9 before it was ready$",
    ),
    "an address cannot be had": (
        lambda server: (server.folder / "server.ini").write_text(
            "[network]\nbindto = 192.0.2.1\nport = 1234\n[paths]\nplugins = plugins\n"
        ),
        r"cannot listen on 192\.0\.2\.1:1234: ",
    ),
    "the pid file cannot be written": (
        lambda server: (server.folder / "server.ini").write_text(
            (server.folder / "server.ini").read_text().replace("server.pid", "gone/server.pid")
        ),
        r"\[paths\] pidfile: gone/server\.pid cannot be written",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_upgrade_that_fails_changes_nothing(launch: Launch, new_processes: list[int], case: str) -> None:
    """The old process serves on and says why; the new one is gone; a later upgrade succeeds."""
    server = with_pid_file(launch, {"who": WHO, "other": OTHER})
    breaks, reason = BROKEN[case]
    kept = {file: file.read_text() for file in [server.folder / "server.ini", server.plugins / "other.py"]}
    with Clients(server.port, "/other", lambda status, _: status == 200, 4) as clients:
        breaks(server)
        since = len(server.lines)
        pid = begin(server, new_processes, since)
        told = server.wait_for("the upgrade failed; this process serves on: ", since)
        assert re.search(reason, told), told
        wait_until(lambda: not is_running(pid))
        assert server.pid == pid_of_service(server) == server.get("/who").json()["pid"]
        clients.go_on(20)
        for file, text in kept.items():
            file.write_text(text)
        (server.plugins / "new.py").unlink(missing_ok=True)
        assert upgrade(server, new_processes) == server.get("/who").json()["pid"]
    assert 0 == server.process.wait(TIMEOUT)


HANGS = """
    import asyncio
    from plugincore.baseplugin import BasePlugin

    class Hangs(BasePlugin):
        async def initialize(self, **kwargs):
            print("hangs", flush=True)
            await asyncio.sleep(HOW_LONG)
"""


def hanging(launch: Launch, new_processes: list[int], seconds: float = 60) -> tuple[Server, int]:
    """Start a server and an upgrade whose new process hangs."""
    server = with_pid_file(launch, {"who": WHO}, "[server]\nshutdown_timeout = 2\n")
    (server.plugins / "z.py").write_text(dedented(HANGS.replace("HOW_LONG", str(seconds))))
    pid = begin(server, new_processes)
    server.wait_for("^hangs$")
    return server, pid


def test_a_new_process_that_does_not_report_is_given_up(launch: Launch, new_processes: list[int]) -> None:
    """After twice `plugin_timeout`, at least 10 s; a plugin that blocks cannot prevent it."""
    server = with_pid_file(launch, {"who": WHO}, "[server]\nplugin_timeout = 1\nshutdown_timeout = 1\n")
    (server.plugins / "z.py").write_text(
        "import signal, time; signal.signal(signal.SIGURG, signal.SIG_IGN); time.sleep(100)"
    )
    pid = begin(server, new_processes)
    server.wait_for(r"the upgrade failed; .*has not reported for 10 s; it may hang in what follows plugins/who\.py")
    wait_until(lambda: not is_running(pid))
    assert server.pid == server.get("/who").json()["pid"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_an_upgrade_ends_both_processes(
    launch: Launch, new_processes: list[int], number: signal.Signals
) -> None:
    """The old one stops as ever, and the new one with it."""
    server, pid = hanging(launch, new_processes)
    assert 0 == server.stop(number)
    wait_until(lambda: not is_running(pid))
    assert not (server.folder / "server.pid").exists()


def test_an_old_process_that_is_killed_takes_the_new_one_with_it(launch: Launch, new_processes: list[int]) -> None:
    """Nobody would know of a process that went on; what restarts the server finds its port free."""
    server, pid = hanging(launch, new_processes, 1)
    server.process.kill()
    assert 1 == exit_code(pid)
    assert "the upgrade failed" in server.log


def test_other_requests_during_an_upgrade_are_refused_or_wait(launch: Launch, new_processes: list[int]) -> None:
    """A second upgrade and a restart have no effect, a reload by HTTP gets 503, and SIGHUP comes afterwards."""
    server, pid = hanging(launch, new_processes)
    for number in (signal.SIGUSR2, signal.SIGUSR1):
        server.send(number)
        server.wait_for(f"{number.name} has no effect: process {pid} is taking over already")
    refused = server.get("/reload/all")
    assert 503 == refused.status_code
    assert "a new process is taking over" in refused.json()["error"]
    for verb in (["reload"], ["disable", "who"], ["upgrade"]):
        done = ctl(server, *verb)
        assert (1, True) == (done.returncode, "taking over" in done.stderr), done
    server.send(signal.SIGHUP)
    server.wait_for("Received SIGHUP; it counts for the process that serves after the upgrade")
    (server.plugins / "z.py").unlink()
    os.kill(pid, signal.SIGTERM)
    server.wait_for("the upgrade failed; this process serves on: it was stopped before it was ready")
    server.wait_for("Reloaded all plugins: who")
    assert 200 == server.get("/reload/all").status_code
    assert 0 == server.stop()


def test_a_sighup_during_an_upgrade_reloads_in_the_new_process(launch: Launch, new_processes: list[int]) -> None:
    """It read its files before, so what has changed since counts after the reload."""
    server, pid = hanging(launch, new_processes, 1)
    (server.plugins / "later.py").write_text(dedented(OTHER))
    server.send(signal.SIGHUP)
    server.wait_for(f"upgrade: process {pid} serves")
    wait_until(lambda: server.get("/other").status_code == 200)
    assert 0 == server.process.wait(TIMEOUT)


def test_an_upgrade_during_the_start_is_refused(launch: Launch, new_processes: list[int]) -> None:
    """There is nothing yet that could be handed over."""
    server = launch({"z": HANGS.replace("HOW_LONG", "1")}, ready=False)
    server.wait_for("^hangs$")
    server.send(signal.SIGUSR2)
    server.wait_for("SIGUSR2 has no effect: the server does not serve yet")
    assert 0 == server.ready().stop()


def ctl(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``plugincore ctl`` in a server's folder."""
    arguments = (*command(), "ctl", "-i", "server.ini", *arguments)
    return subprocess.run(arguments, cwd=server.folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def control(server: Server) -> list[Path]:
    """Return the control sockets in a server's folder."""
    return [file for file in server.folder.iterdir() if file.is_socket()]


def test_an_upgrade_by_ctl_is_answered_when_it_is_decided(launch: Launch, new_processes: list[int]) -> None:
    """It says which process serves, or why it is still the old one; that one gets the control socket."""
    server = with_pid_file(launch, {"who": WHO})
    (where,) = control(server)
    (server.plugins / "who.py").write_text("def broken(:")
    failed = ctl(server, "upgrade")
    assert (1, "") == (failed.returncode, failed.stdout)
    told = failed.stderr.splitlines()
    assert ["the upgrade failed; the server goes on as before", "plugin who is missing in the new process"] == told[:2]
    assert told[2].startswith("plugins/who.py:1: SyntaxError")
    assert f'"pid": {server.pid}' in ctl(server, "--json", "status").stdout
    (server.plugins / "who.py").write_text(dedented(WHO))
    done = ctl(server, "--json", "upgrade")
    assert 0 == done.returncode, done
    pid = json.loads(done.stdout)["pid"]
    new_processes.append(pid)
    assert pid == server.get("/who").json()["pid"]
    assert 0 == server.process.wait(TIMEOUT)
    assert [where] == control(server)
    assert pid == json.loads(ctl(server, "--json", "status").stdout)["pid"]
    assert 0 == ctl(server, "stop").returncode
    assert 0 == exit_code(pid)
    assert [] == control(server)


HOLDS = """
    import os, time
    from plugincore.baseplugin import BasePlugin

    if os.path.exists("hold"):
        while not os.path.exists("go"):
            time.sleep(0.005)
        os._exit(7)

    class Holds(BasePlugin):
        pass
"""


def test_a_file_that_changes_during_an_upgrade_counts_whatever_comes_of_it(
    launch: Launch, new_processes: list[int]
) -> None:
    """In the process that serves on, and in the one that serves then: each watches the files."""
    server = with_pid_file(launch, {"holds": HOLDS, "who": WHO.replace("VERSION", "0")}, "[server]\nwatch = on\n")
    (server.folder / "hold").touch()
    since = len(server.lines)
    begin(server, new_processes, since)
    (server.plugins / "who.py").write_text(dedented(WHO.replace("VERSION", "1")))
    server.wait_for("Changed: plugins/who.py", since)
    (server.folder / "go").touch()
    server.wait_for("the upgrade failed; this process serves on", since)
    server.wait_for("Reloaded what has changed", since)
    assert {"pid": server.pid, "version": "1"} == server.get("/who").json()
    (server.folder / "hold").unlink()
    pid = upgrade(server, new_processes)
    since = len(server.lines)
    (server.plugins / "who.py").write_text(dedented(WHO.replace("VERSION", "2")))
    server.wait_for("Reloaded what has changed", since)
    assert {"pid": pid, "version": "2"} == server.get("/who").json()


def test_a_disabled_plugin_stays_disabled(launch: Launch, new_processes: list[int]) -> None:
    """It serves neither in the old process nor in the new one, which is no reason against it."""
    server = with_pid_file(launch, {"who": WHO, "other": OTHER})
    assert 0 == ctl(server, "disable", "other").returncode
    pid = upgrade(server, new_processes)
    assert 503 == server.get("/other").status_code
    assert 0 == server.process.wait(TIMEOUT)
    assert 0 == ctl(server, "enable", "other").returncode
    assert (200, pid) == (server.get("/other").status_code, server.get("/who").json()["pid"])


def test_another_control_socket_replaces_the_old_one(launch: Launch, new_processes: list[int]) -> None:
    """The new process listens at the new place, and the file at the old one is gone."""
    server = with_pid_file(launch, {"who": WHO})
    (where,) = control(server)
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text() + "[server]\ncontrol_socket = other.sock\n")
    upgrade(server, new_processes)
    assert 0 == server.process.wait(TIMEOUT)
    assert [server.folder / "other.sock"] == control(server) != [where]


def test_a_variable_for_another_process_stops_the_start(launch: Launch) -> None:
    """A process that was told to replace another, and cannot reach it, does not become a second server."""
    server = launch({"who": WHO}, env={"PLUGINCORE_UPGRADE": "1:99"}, ready=False)
    assert 1 == server.wait()
    assert "PLUGINCORE_UPGRADE=1:99 is of another process" in server.log


def test_plugins_do_not_see_the_variables(launch: Launch, new_processes: list[int]) -> None:
    """Nor do the programs that they start; what a plugin put into the old environment is not there either."""
    sees = """
        import os
        from plugincore.baseplugin import BasePlugin

        BEFORE = dict(os.environ)
        os.environ["FROM_THE_PLUGIN"] = "1"

        class Sees(BasePlugin):
            def request_handler(self, **data):
                return 200, [name for name in BEFORE if name.startswith(("PLUGINCORE_", "FROM_"))]
    """
    server = with_pid_file(launch, {"who": WHO, "sees": sees})
    # The server itself may have been started with some.
    before = server.get("/sees").json()
    upgrade(server, new_processes)
    assert before == server.get("/sees").json()
