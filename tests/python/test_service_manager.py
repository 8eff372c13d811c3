"""systemd's protocol: what the server reports to the socket of `NOTIFY_SOCKET`, and the unit files."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from support.server import Launch, Server, command
from support.wait import TIMEOUT, wait_until

PLUGIN = """
import time
from plugincore.baseplugin import BasePlugin

class Plugin(BasePlugin):
    def request_handler(self, seconds="0", **data):
        print("inside")
        time.sleep(float(seconds))
        return 200, "ok"
"""

UNITS = sorted((Path(__file__).parents[2] / "packaging/systemd").iterdir())


class Manager:
    """The end of the socket that systemd holds."""

    def __init__(self, name: str) -> None:
        """Listen at a path, or at an abstract name that begins with ``@``."""
        self.name = name
        self.stored: list[socket.socket] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        self.socket.settimeout(TIMEOUT)

    def close(self) -> None:
        """Give all sockets up."""
        for each in [self.socket, *self.stored]:
            each.close()

    def receive(self) -> dict[str, str]:
        """Return the next report; the descriptors that come with it are kept in ``stored``."""
        data, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 8)
        for number in descriptors:
            self.stored.append(socket.socket(fileno=number))
        return dict(line.split("=", 1) for line in data.decode().splitlines())

    def next(self, state: str) -> dict[str, str]:
        """Return the next report that is no sign of life; it must have this state."""
        report = self.next_but_life()
        assert "1" == report.get(state), report
        return report

    def next_but_life(self) -> dict[str, str]:
        """Return the next report that is no sign of life."""
        while (report := self.receive()) == {"WATCHDOG": "1"}:
            pass
        return report

    def is_alive(self, within: float) -> bool:
        """Whether a sign of life comes within some seconds; other reports do not count."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if self.receive() == {"WATCHDOG": "1"}:
                    return True
            except TimeoutError:
                break
            finally:
                self.socket.settimeout(TIMEOUT)
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Listen at a socket of either kind."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@plugincore-test-{os.getpid()}"
    with closing(Manager(name)) as listening:
        yield listening


def test_start_reloads_restart_and_stop_are_reported(launch: Launch, manager: Manager) -> None:
    """READY only when plugins are loaded; a restart within the process is a reload, only a real stop is STOPPING."""
    server = launch(
        {"plugin": PLUGIN, "other": PLUGIN.replace("Plugin(", "Other(")}, env={"NOTIFY_SOCKET": manager.name}
    )
    assert f"Serving 2 plugins on 127.0.0.1:{server.port}" == manager.next("READY")["STATUS"]
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert 200 == server.get("/reload/plugin").status_code
    assert before <= int(manager.next("RELOADING")["MONOTONIC_USEC"])
    manager.next("READY")
    (server.plugins / "other.py").unlink()
    server.send(signal.SIGHUP)
    manager.next("RELOADING")
    assert manager.next("READY")["STATUS"].startswith("Serving 1 plugins")
    (server.plugins / "plugin.py").write_text("def broken(:")
    assert 500 == server.get("/reload/all").status_code
    manager.next("RELOADING")
    manager.next("READY")
    (server.plugins / "plugin.py").write_text(PLUGIN)
    server.send(signal.SIGUSR1)
    manager.next("RELOADING")
    manager.next("READY")
    assert 0 == server.stop()
    manager.next("STOPPING")


def test_an_upgrade_names_the_new_main_process(launch: Launch, tmp_path: Path) -> None:
    """The old process names the new one, which reports from then on alone; neither says that the service stops."""
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000"}
        server = launch({"plugin": PLUGIN}, env=env)
        manager.next("READY")
        server.send(signal.SIGUSR2)
        assert "Upgrading" == manager.next_but_life()["STATUS"]
        handed_over = manager.next("READY")
        pid = int(handed_over["MAINPID"])
        assert pid != server.pid
        with ended(pid):
            assert f"Serving 1 plugins on 127.0.0.1:{server.port}" == manager.next("READY")["STATUS"]
            assert manager.is_alive(TIMEOUT)
            assert 0 == server.process.wait(TIMEOUT)
            assert manager.is_alive(TIMEOUT)
            os.kill(pid, signal.SIGTERM)
            manager.next("STOPPING")


def test_an_upgrade_that_fails_leaves_the_main_process(launch: Launch, manager: Manager) -> None:
    """The manager never hears of the new process, and sees that this one serves on."""
    server = launch({"plugin": PLUGIN}, env={"NOTIFY_SOCKET": manager.name})
    manager.next("READY")
    (server.plugins / "plugin.py").write_text("def broken(:")
    server.send(signal.SIGUSR2)
    assert "Upgrading" == manager.next_but_life()["STATUS"]
    assert manager.next("READY")["STATUS"].startswith("Serving 1 plugins")
    assert 0 == server.stop()
    manager.next("STOPPING")


@contextmanager
def ended(pid: int) -> Iterator[None]:
    """Kill a process that nobody else knows of, in the end."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_listening_sockets_are_left_with_the_manager(launch: Launch, tmp_path: Path) -> None:
    """A server that was killed starts again with the same socket, so that clients who connect meanwhile wait."""
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        server = launch({"plugin": PLUGIN}, env={"NOTIFY_SOCKET": manager.name})
        report = manager.next("READY")
        assert ("1", "plugincore") == (report["FDSTORE"], report["FDNAME"])
        (stored,) = manager.stored
        assert server.port == stored.getsockname()[1]
        server.process.kill()
        server.wait()
        with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as waiting:
            waiting.sendall(b"GET /plugin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            again = launch(
                {"plugin": PLUGIN},
                program=[sys.executable, "-c", PASS_ON, str(stored.fileno()), "plugincore", *command()],
                pass_fds=[stored.fileno()],
            )
            assert server.port == again.port
            assert waiting.recv(1000).startswith(b"HTTP/1.1 200")
        assert 0 == again.stop()


def test_a_unix_socket_that_was_left_with_the_manager_is_served_again(launch: Launch, tmp_path: Path) -> None:
    """A client that has connected meanwhile is answered, and the file is removed at the end."""
    path = tmp_path / "x.sock"
    ini = f"[network]\nport = 0\nlisten = unix:{path}\n[paths]\nplugins = plugins\n"
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        server = launch({"plugin": PLUGIN}, ini=ini, env={"NOTIFY_SOCKET": manager.name})
        manager.next("READY")
        (stored,) = (each for each in manager.stored if each.family == socket.AF_UNIX)
        server.process.kill()
        server.wait()
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.settimeout(TIMEOUT)
            waiting.connect(str(path))
            waiting.sendall(b"GET /plugin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            again = launch(
                {"plugin": PLUGIN},
                ini=ini,
                program=[sys.executable, "-c", PASS_ON, str(stored.fileno()), "plugincore", *command()],
                pass_fds=[stored.fileno()],
            )
            assert waiting.recv(1000).startswith(b"HTTP/1.1 200")
        assert 0 == again.stop()
    assert not path.exists()


#: Passes a descriptor on as systemd does with one that was left with it.
PASS_ON = """
import os, sys

os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


def test_a_socket_that_is_not_served_any_more_is_not_left_with_the_manager(launch: Launch, tmp_path: Path) -> None:
    """It is for an address that the ini file does not name any more."""
    with closing(Manager(str(tmp_path / "notify"))) as manager, socket.create_server(("127.0.0.2", 0)) as old:
        server = launch(
            {"plugin": PLUGIN},
            env={"NOTIFY_SOCKET": manager.name},
            program=[sys.executable, "-c", PASS_ON, str(old.fileno()), "plugincore", *command()],
            pass_fds=[old.fileno()],
        )
        assert {"FDSTOREREMOVE": "1", "FDNAME": "plugincore"} == manager.receive()
        manager.next("READY")
        assert ["127.0.0.1"] == [each.getsockname()[0] for each in manager.stored]
        assert 200 == server.get("/plugin").status_code


def test_a_start_that_fails_is_never_ready(launch: Launch, manager: Manager) -> None:
    """The manager sees the exit code instead."""
    server = launch(ini="[network]\nport = many\n", env={"NOTIFY_SOCKET": manager.name}, ready=False)
    assert 2 == server.wait()
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.receive()


@pytest.mark.parametrize("name", ["/nowhere/notify", "relative", "", "@"])
def test_a_manager_that_is_not_there_changes_nothing(launch: Launch, name: str) -> None:
    """The server starts, serves and stops without it."""
    server = launch({"plugin": PLUGIN}, env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"})
    assert 200 == server.get("/plugin").status_code
    assert 0 == server.stop()


@pytest.mark.parametrize("restarts", [True, False])
def test_signs_of_life_come_while_plugins_let_the_loop_turn(launch: Launch, tmp_path: Path, restarts: bool) -> None:
    """A handler that blocks for longer ends them, unless `watchdog_restart` is off; afterwards they go on."""
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000"}
        more = "[server]\n" + ("" if restarts else "watchdog_restart = off\n")
        server = launch({"plugin": PLUGIN}, ini_more=more, env=env)
        assert manager.is_alive(TIMEOUT)
        assert manager.is_alive(TIMEOUT)
        with server.connect() as connection:
            connection.sendall(b"GET /plugin?seconds=2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.wait_for("^inside$")
            manager.is_alive(0.2)  # what was on its way
            assert manager.is_alive(0.8) is not restarts
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert manager.is_alive(TIMEOUT)
        assert 0 == server.stop()


def test_the_watchdog_of_another_process_is_none_of_ours(launch: Launch, tmp_path: Path) -> None:
    """A variable that was inherited names the process that it is for."""
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"}
        server = launch({"plugin": PLUGIN}, env=env)
        manager.next("READY")
        assert not manager.is_alive(0.3)
        assert 0 == server.stop()


def test_a_manager_that_does_not_read_does_not_keep_the_server_from_ending(launch: Launch, tmp_path: Path) -> None:
    """Its socket is full soon; signals have their effect, and so have reloads."""
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "4000"}
        server = launch({"plugin": PLUGIN}, env=env)
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with closing(sender), suppress(BlockingIOError):
            sender.setblocking(False)
            sender.connect(manager.name)
            while True:
                sender.send(b"X=1")
        assert 200 == server.get("/reload/plugin").status_code
        assert 0 == server.stop()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="the system has no systemd")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_files_are_valid_and_hardened(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze` finds nothing wrong but the absent program, and an exposure of at most 2.0."""
    for one in UNITS:
        (tmp_path / one.name.replace("@.", "@instance.")).write_bytes(one.read_bytes())
    file = tmp_path / unit.name.replace("@.", "@instance.")
    verified = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=TIMEOUT)
    wrong = [line for line in verified.stderr.splitlines() if "is not executable" not in line]
    assert not any(unit.stem.rstrip("@") in line for line in wrong), verified.stderr
    if unit.suffix != ".service":
        return
    rating = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", file]
    rated = subprocess.run(rating, capture_output=True, text=True, timeout=TIMEOUT)
    assert 0 == rated.returncode, rated.stdout


#: Does what systemd does for a socket unit: listening sockets from descriptor 3 on, variables that name the process.
ACTIVATE = """
import os, socket, sys

kinds, program = sys.argv[1].split(","), sys.argv[2:]
for number, kind in enumerate(kinds, 3):
    if kind in ("unix", "packets"):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET if kind == "packets" else socket.SOCK_STREAM)
        made.bind("given.sock")
    else:
        made = socket.socket()
        made.bind(("127.0.0.1", 0))
    made.listen()
    os.dup2(made.detach(), number)
    os.set_inheritable(number, True)
os.environ.update(LISTEN_PID=str(os.getpid() + ("other" in kinds)), LISTEN_FDS=str(len(kinds)), LISTEN_FDNAMES="a:b")
os.execv(program[0], program)
"""

SEES = """
import os
from plugincore.baseplugin import BasePlugin

class Sees(BasePlugin):
    def request_handler(self, **data):
        return 200, [name for name in os.environ if name.startswith(("LISTEN_", "PLUGINCORE_LISTENERS"))]
"""


def activated(launch: Launch, kinds: str) -> Server:
    """Start a server with sockets of these kinds."""
    return launch({"sees": SEES}, program=[sys.executable, "-c", ACTIVATE, kinds, *command()])


@pytest.mark.parametrize("count", [1, 2])
def test_sockets_of_the_service_manager_are_served(launch: Launch, count: int) -> None:
    """They replace `[network]`, over a restart as well, and plugins do not see the variables."""
    server = activated(launch, ",".join(["tcp"] * count))
    server.wait_for(r"serving the sockets of the service manager instead of those of \[network\]")
    ports: set[int] = set()

    def all_started(since: int) -> bool:
        started = [line for line in server.lines[since:] if "Server started on" in line]
        ports.update(int(line.rpartition(":")[2]) for line in started)
        return count == len(started)

    wait_until(lambda: all_started(0))

    def answers() -> list[object]:
        with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
            return [client.get(f"http://127.0.0.1:{port}/sees").json() for port in sorted(ports)]

    assert [[]] * count == answers()
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    wait_until(lambda: all_started(since))
    assert count == len(ports)
    assert [[]] * count == answers()
    assert 0 == server.stop()


def test_sockets_of_the_service_manager_go_to_the_process_that_takes_over(launch: Launch) -> None:
    """It knows whose they are: `[network]` does not count for it, either."""
    server = activated(launch, "tcp")
    since = len(server.lines)
    server.send(signal.SIGUSR2)
    pid = int(server.wait_for(r"upgrade: process \d+ serves", since).partition("process ")[2].split()[0])
    with ended(pid):
        server.wait_for("serving the sockets of the service manager instead of", since)
        assert 0 == server.process.wait(TIMEOUT)
        assert [] == server.get("/sees").json()


def test_a_unix_socket_of_the_service_manager_is_served(launch: Launch) -> None:
    """Its file, which belongs to the service manager, stays when the server has ended."""
    server = activated(launch, "tcp,unix")
    file = server.folder / "given.sock"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(file)), timeout=TIMEOUT) as client:
        assert [] == client.get("http://localhost/sees").json()
    assert [] == server.get("/sees").json()
    assert 0 == server.stop()
    assert file.exists()


def test_what_is_no_stream_socket_is_left_out(launch: Launch) -> None:
    """With a warning that names its number."""
    server = activated(launch, "packets,tcp")
    server.wait_for("descriptor 3 of the service manager is no listening TCP or Unix socket; ignored")
    assert [] == server.get("/sees").json()


def test_sockets_for_another_process_are_none_of_ours(launch: Launch) -> None:
    """`[network]` counts then."""
    server = activated(launch, "other")
    assert [] == server.get("/sees").json()
    assert "service manager" not in server.log
