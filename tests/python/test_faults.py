"""What happens to a process and its clients: it is stopped, killed, without descriptors; they come and go."""

from __future__ import annotations

import datetime
import errno
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from support.plugins import INI
from support.server import Launch, Server, command, start
from support.wait import TIMEOUT, wait_until
from support.wire import receive_all

ECHO = """
from plugincore.baseplugin import BasePlugin

class Echo(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"said": data.get("say")}
"""

REQUEST = b"GET /echo?say=%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

HOARDER = """
from plugincore.baseplugin import BasePlugin

class Hoarder(BasePlugin):
    files = []

    async def request_handler(self, **data):
        if "free" in data:
            while self.files:
                self.files.pop().close()
            return "free"
        while True:
            try:
                self.files.append(open("/dev/null"))
            except OSError as error:
                return error.errno
"""

WALL_CLOCK = """
import time
from plugincore.baseplugin import BasePlugin

class Clock(BasePlugin):
    async def request_handler(self, **data):
        return time.time()
"""

#: Loaded into the server by LD_PRELOAD: its wall clock, and no other clock, is as many seconds ahead as the file that
#: CLOCK_AHEAD names has bytes above those of half a day.
CLOCK = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    struct stat file;
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME && stat(getenv("CLOCK_AHEAD"), &file) == 0)
        now->tv_sec += file.st_size - 43200;
    return failed;
}
"""

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


def test_a_server_without_descriptors_waits_without_spinning_and_goes_on_when_there_are_some(launch: Launch) -> None:
    """Open connections are served meanwhile; who connects is served later, and the log says why."""
    program = ["prlimit", "--nofile=160:160", *command()]
    server = launch({"hoarder": HOARDER, "echo": ECHO}, program=program)
    process = psutil.Process(server.pid)
    with server.client() as client:
        assert errno.EMFILE == client.get("/hoarder").json()
        waiting = [ask(server, number) for number in range(20)]
        server.wait_for("ERROR - plugincore - cannot accept connections.*Too many open files")
        before = process.cpu_times()
        waiting[0].settimeout(2)
        with pytest.raises(TimeoutError):
            waiting[0].recv(1)
        after = process.cpu_times()
        assert after.user + after.system - before.user - before.system < 1
        assert {"said": "kept"} == client.get("/echo?say=kept").json()
        assert "free" == client.get("/hoarder?free=").text
        for number, connection in enumerate(waiting):
            with connection:
                connection.settimeout(TIMEOUT)
                assert receive_all(connection).endswith(b'{"said": "%d"}' % number)
    server.wait_for("accepting connections again")
    assert 1 == sum("cannot accept" in line for line in server.lines)


def test_a_jump_of_the_wall_clock_moves_no_deadline(launch: Launch, tmp_path: Path) -> None:
    """Half a day ahead or back: connections stay, times and rates go on; only what has a date follows the clock."""
    source, library, clock = tmp_path / "clock.c", tmp_path / "clock.so", tmp_path / "clock"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=TIMEOUT)

    def jump(hours: int) -> None:
        clock.touch()
        os.truncate(clock, (12 + hours) * 3600)

    def ahead(client: httpx.Client) -> int:
        """How many hours the server's clock is ahead of ours."""
        return round((client.get("/clock").json() - time.time()) / 3600)

    def address_of(client: httpx.Client) -> object:
        with client.stream("GET", "/-/healthy") as answer:
            answer.read()
            return answer.extensions["network_stream"].get_extra_info("client_addr")

    jump(0)
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=6)
    more = f"""
        [keys]
        today = key=abc&scopes=echo&expires={expires:%Y-%m-%dT%H:%M:%S}
        [plugin echo]
        auth = key
        rate = 12/h
    """
    env = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(clock)}
    server = launch({"echo": ECHO, "clock": WALL_CLOCK}, ini_more=more, env=env)
    with server.client(headers={"X-Custom-Auth": "abc"}) as client, server.connect() as idle:
        assert (200, 0) == (client.get("/echo").status_code, ahead(client))
        address = address_of(client)
        for hours, status in [(11, 403), (-11, 200), (0, 200)]:
            jump(hours)
            assert (hours, status) == (ahead(client), client.get("/echo").status_code)
        while (answer := client.get("/echo")).status_code == 200:
            pass
        assert 429 == answer.status_code
        jump(11)
        assert 429 == client.get("/echo").status_code, "the rate goes by another clock"
        assert address == address_of(client), "the connection stays"
        idle.sendall(REQUEST.replace(b"/echo", b"/-/healthy") % 1)
        assert receive_all(idle).startswith(b"HTTP/1.1 200")
    assert 0 == server.stop()


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
