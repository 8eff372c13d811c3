"""What happens to a process and its clients: it is stopped or killed, they come and go by the thousand."""

from __future__ import annotations

import signal
import socket
import struct
import threading
from pathlib import Path

import psutil

from support.plugins import INI
from support.server import Launch, Server, start
from support.wait import TIMEOUT, wait_until
from support.wire import receive_all

ECHO = """
from plugincore.baseplugin import BasePlugin

class Echo(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"said": data.get("say")}
"""

REQUEST = b"GET /echo?say=%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

#: Connections that come and go.
MANY = 10_000


def ask(server: Server, number: int) -> socket.socket:
    """Connect and send a request."""
    connection = server.connect()
    connection.sendall(REQUEST % number)
    return connection


def test_a_server_that_is_stopped_and_continued_answers_all_who_have_asked_meanwhile(launch: Launch) -> None:
    """Those with an open connection and those that connect while it is stopped."""
    server = launch({"echo": ECHO})
    with server.client() as client:
        assert 200 == client.get("/echo").status_code
        early = [server.connect() for _ in range(20)]
        server.send(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED)
        for number, connection in enumerate(early):
            connection.sendall(REQUEST % number)
        late = [ask(server, number) for number in range(20, 40)]
        server.send(signal.SIGCONT)
        for number, connection in enumerate(early + late):
            with connection:
                assert receive_all(connection).endswith(b'{"said": "%d"}' % number)
        assert 200 == client.get("/echo").status_code
    assert 0 == server.stop()


def test_connections_that_are_opened_and_dropped_by_the_thousand_leave_nothing_behind(launch: Launch) -> None:
    """Some send nothing, some a part of a request or all of it; half of them end with a reset."""
    server = launch({"echo": ECHO})
    process = psutil.Process(server.pid)
    assert 200 == server.get("/echo").status_code
    descriptors, threads = process.num_fds(), process.num_threads()

    def come_and_go(first: int) -> None:
        for number in range(first, MANY, 4):
            with server.connect() as connection:
                connection.sendall((REQUEST % number)[: (0, 9, 200)[number % 3]])
                if number % 8 >= 4:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    clients = [threading.Thread(target=come_and_go, args=(first,)) for first in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    wait_until(lambda: process.num_fds() <= descriptors)
    wait_until(lambda: process.num_threads() <= threads)
    assert {"said": "again"} == server.get("/echo?say=again").json()
    assert "ERROR" not in server.log


def test_a_server_that_was_killed_starts_again_as_if_it_had_been_stopped(tmp_path: Path) -> None:
    """Pid file, control socket and open connections that it has left do not hinder the next one on the same port."""
    ini = INI.replace("[paths]", "[paths]\npidfile = server.pid") + "[server]\ncontrol_socket = control.sock\n"
    port = 0
    for _ in range(3):
        with start(tmp_path, {"echo": ECHO}, ini.replace("port = 0", f"port = {port}")) as server:
            port = server.ready().port
            assert str(server.pid) == (tmp_path / "server.pid").read_text().strip()
            waiting = [ask(server, number) for number in range(50)]
            server.send(signal.SIGKILL)
            assert -signal.SIGKILL == server.process.wait(TIMEOUT)
            for connection in waiting:
                connection.close()
            assert (tmp_path / "control.sock").exists()
            assert "ERROR" not in server.log
