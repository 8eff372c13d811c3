"""The Unix socket by which a server is controlled: where it is, who may use it, and what becomes of its file."""

from __future__ import annotations

import signal
import socket
import stat
from pathlib import Path

import httpx
import pytest

from support.server import Launch, Server
from support.wait import TIMEOUT, wait_until

GREET = """
import time
from plugincore.baseplugin import BasePlugin

class Greet(BasePlugin):
    async def request_handler(self, **data):
        time.sleep(float(data.get("block", 0)))
        return 200, {"hello": "world"}
"""

AT = "[server]\ncontrol_socket = control.sock\n"


def ask(path: Path, method: str, target: str) -> httpx.Response:
    """Make one request by the socket at ``path``."""
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=TIMEOUT
    ) as one:
        return one.request(method, target)


def socket_of(server: Server) -> Path:
    """Return the socket of a server that was started with :data:`AT`."""
    return server.folder / "control.sock"


def test_the_socket_is_for_the_servers_user_alone_and_needs_no_key(launch: Launch) -> None:
    """Whatever key the server has."""
    server = launch({"greet": GREET}, ini_more=AT + "[auth]\napikey = k\n")
    path = socket_of(server)
    mode = path.stat().st_mode
    assert (True, 0o600) == (stat.S_ISSOCK(mode), stat.S_IMODE(mode))
    assert 403 == server.get("/-/api/plugins").status_code
    answer = ask(path, "GET", "/-/api/plugins")
    assert ["greet"] == [plugin["id"] for plugin in answer.json()["plugins"]]
    assert {"loaded_plugins": ["greet"]} == ask(path, "GET", "/plugins").json()
    assert {"reloaded": "greet", "success": True} == ask(path, "GET", "/reload/greet").json()
    assert {"status": "ready"} == ask(path, "GET", "/-/ready").json()


def test_plugins_are_not_served_by_it(launch: Launch) -> None:
    """Nor are files: it is for control alone."""
    more = AT + "[file_server]\ndocuments = files:.\n"
    server = launch({"greet": GREET}, ini_more=more)
    assert (200, 404) == (server.get("/greet").status_code, ask(socket_of(server), "GET", "/greet").status_code)
    assert 404 == ask(socket_of(server), "GET", "/files/server.ini").status_code


@pytest.mark.parametrize("address", ["/-/api/stop", "/-/api/log-level?level=INFO"])
def test_what_concerns_the_process_is_for_the_socket_alone(launch: Launch, address: str) -> None:
    """With or without a key, it does not exist on the network."""
    server = launch({"greet": GREET}, ini_more=AT)
    assert 404 == server.post(address).status_code
    assert 405 == ask(socket_of(server), "GET", address).status_code
    assert 200 == ask(socket_of(server), "POST", address).status_code


def test_the_log_level_changes_at_once_for_the_server_and_for_logging(launch: Launch) -> None:
    """Down and up; an unknown one is refused."""
    source = """
    import logging
    from plugincore.baseplugin import BasePlugin

    class Talk(BasePlugin):
        async def request_handler(self, **data):
            logging.getLogger("talk").debug("by logging %s", data["n"])
            return 200, {}
    """
    server = launch({"talk": source}, ini_more=AT, args=["-v", "INFO"])
    path = socket_of(server)
    server.get("/talk?n=1")
    assert {"log_level": "DEBUG"} == ask(path, "POST", "/-/api/log-level?level=debug").json()
    server.get("/talk?n=2")
    server.wait_for("by logging 2")
    assert "INFO" == ask(path, "POST", "/-/api/log-level?level=INFO").json()["log_level"]
    server.get("/talk?n=3")
    answer = ask(path, "POST", "/-/api/log-level?level=LOUD")
    assert (400, True) == (answer.status_code, "DEBUG, INFO" in answer.json()["error"])
    assert "INFO" == ask(path, "GET", "/-/api/status").json()["log_level"]
    assert 0 == server.stop()
    assert ["by logging 2"] == [line[line.index("by") :] for line in server.lines_without_ids if "by logging" in line]


def test_the_status_is_told_while_a_plugin_blocks_python(launch: Launch) -> None:
    """A stop is begun then, too, and comes to its end."""
    server = launch({"greet": GREET}, ini_more=AT + "shutdown_timeout = 0.5\n")
    connection = server.connect()
    connection.sendall(b"GET /greet?block=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: ask(socket_of(server), "GET", "/-/api/status").json()["in_flight"] == 1)
    status = ask(socket_of(server), "GET", "/-/api/status").json()
    assert (server.pid, "ready", {"serving": 1}) == (status["pid"], status["state"], status["plugins"])
    assert {"status": "stopping"} == ask(socket_of(server), "POST", "/-/api/stop").json()
    assert 3 == server.wait()
    assert not socket_of(server).exists()
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_file_is_gone_at_the_end(launch: Launch, number: signal.Signals) -> None:
    """However the server is stopped."""
    server = launch({"greet": GREET}, ini_more=AT)
    assert socket_of(server).exists()
    assert 0 == server.stop(number)
    assert not socket_of(server).exists()


def test_it_is_beside_the_pid_file(launch: Launch) -> None:
    """If there is one, and the setting is not there."""
    server = launch({"greet": GREET}, ini=None, ready=False)
    server.end()
    server = launch({"greet": GREET}, ini="[network]\nport = 0\n[paths]\nplugins = plugins\npidfile = x.pid\n")
    assert 200 == ask(server.folder / "x.sock", "GET", "/-/api/status").status_code
    server.stop()
    assert not (server.folder / "x.sock").exists()


@pytest.mark.parametrize("variable", ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"])
def test_else_it_is_in_the_folder_for_such_files(launch: Launch, tmp_path: Path, variable: str) -> None:
    """That of the service before that of the user's session."""
    (tmp_path / "run").mkdir()
    (tmp_path / "other").mkdir()
    folders = {"XDG_RUNTIME_DIR": str(tmp_path / "other"), variable: str(tmp_path / "run")}
    server = launch({"greet": GREET}, env=folders)
    [path] = (tmp_path / "run").glob("*.sock")
    assert 200 == ask(path, "GET", "/-/api/status").status_code
    server.stop()
    assert [] == [*(tmp_path / "run").iterdir(), *(tmp_path / "other").iterdir()]


def test_it_can_be_switched_off(launch: Launch, tmp_path: Path) -> None:
    """Then there is none anywhere."""
    (tmp_path / "run").mkdir()
    more = "[server]\ncontrol_socket = none\n"
    launch({"greet": GREET}, ini_more=more, env={"RUNTIME_DIRECTORY": str(tmp_path / "run")})
    assert [] == list((tmp_path / "run").iterdir())


def test_the_file_of_a_server_that_was_killed_is_replaced(launch: Launch) -> None:
    """Nobody listens there any more."""
    server = launch({"greet": GREET}, ini_more=AT)
    server.process.kill()
    server.wait()
    assert socket_of(server).exists()
    again = launch({"greet": GREET}, ini_more=AT, folder=server.folder)
    assert again.pid == ask(socket_of(again), "GET", "/-/api/status").json()["pid"]


def test_the_file_of_a_running_server_is_left_to_it(launch: Launch) -> None:
    """The second one goes on without a socket, says so, and does not remove that of the first at its end."""
    first = launch({"greet": GREET}, ini_more=AT)
    second = launch({"greet": GREET}, ini_more=AT, folder=first.folder)
    second.wait_for(r"WARN.*control\.sock: a running server has this control socket.*this server has none")
    assert first.pid == ask(socket_of(first), "GET", "/-/api/status").json()["pid"]
    assert 200 == second.get("/greet").status_code
    assert 0 == second.stop()
    assert first.pid == ask(socket_of(first), "GET", "/-/api/status").json()["pid"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("x" * 120, "at most 107 bytes"),
        ("absent/x.sock", "No such file or directory.*a folder that is writable"),
        ("server.ini/x.sock", "Not a directory.*a folder that is writable"),
        ("server.ini", "this is no socket"),
        ("/proc/x.sock", "cannot be opened.*a folder that is writable"),
    ],
)
def test_a_place_that_cannot_be_used_is_a_failed_start(launch: Launch, setting: str, expected: str) -> None:
    """If the ini file names it; the text says what to do."""
    server = launch({"greet": GREET}, ini_more=f"[server]\ncontrol_socket = {setting}\n", ready=False)
    assert 1 == server.wait()
    server.wait_for(rf"\[server\] control_socket: .*{expected}")
    assert (server.folder / "server.ini").is_file()


def test_a_place_that_the_server_has_chosen_is_done_without(launch: Launch, tmp_path: Path) -> None:
    """If it cannot be used."""
    run = tmp_path / ("r" * 120)
    run.mkdir()
    server = launch({"greet": GREET}, env={"RUNTIME_DIRECTORY": str(run)})
    server.wait_for(r"INFO.*at most 107 bytes.*this server has none")
    assert 200 == server.get("/greet").status_code


def test_it_is_kept_over_a_restart(launch: Launch) -> None:
    """Whoever connects meanwhile waits and is answered by the new image."""
    server = launch({"greet": GREET}, ini_more=AT)
    path, since = socket_of(server), len(server.lines)
    before = (path.stat().st_ino, ask(path, "GET", "/-/api/status").json()["started_at"])
    server.send(signal.SIGUSR1)
    server.wait_for("Received SIGUSR1", since)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        while True:
            connection.connect(str(path))
            connection.sendall(b"GET /-/api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if connection.recv(65536).startswith(b"HTTP/1.1 200"):
                break
            pytest.fail("the connection was ended without an answer")
    wait_until(lambda: before[1] != ask(path, "GET", "/-/api/status").json()["started_at"])
    assert before[0] == path.stat().st_ino
    assert 0 == server.stop()
    assert not path.exists()


def test_a_restart_with_another_setting_moves_it(launch: Launch) -> None:
    """The old file is gone then."""
    server = launch({"greet": GREET}, ini_more=AT)
    ini, since = server.folder / "server.ini", len(server.lines)
    ini.write_text(ini.read_text().replace("control.sock", "other.sock"))
    server.send(signal.SIGUSR1)
    server.wait_for("Server started", since)
    assert 200 == ask(server.folder / "other.sock", "GET", "/-/api/status").status_code
    assert not socket_of(server).exists()


def test_nonsense_on_the_socket_harms_nobody(launch: Launch) -> None:
    """It is HTTP with the same limits as everywhere."""
    server = launch({"greet": GREET}, ini_more=AT)
    for data in (b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"x" * 200_000, b""):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(socket_of(server)))
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                received = connection.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                continue
            assert not received or received.startswith(b"HTTP/1.1 4"), received
    assert 200 == ask(socket_of(server), "GET", "/-/api/status").status_code
