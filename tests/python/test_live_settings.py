"""Settings that a reload changes while the server runs: addresses, limits and times."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import httpx
import pytest

from support.clients import Clients
from support.process import free_port
from support.server import Launch, Server
from support.wait import TIMEOUT, wait_until

PLUGIN = """
    import asyncio, time
    from plugincore.baseplugin import BasePlugin

    class Plugin(BasePlugin):
        async def request_handler(self, seconds="0", block="0", **data):
            if seconds != "0":
                print("inside", flush=True)
            time.sleep(float(block))
            await asyncio.sleep(float(seconds))
            return 200, "ok"
"""


def ini(bindto: str, more: str = "", port: int = 0) -> str:
    """Return an ini file for these addresses."""
    return f"[network]\nbindto = {bindto}\nport = {port}\n[paths]\nplugins = plugins\n{more}"


def write(server: Server, text: str) -> None:
    """Replace the ini file of a server."""
    (server.folder / "server.ini").write_text(text)


def address_of(server: Server, ip: str, since: int = 0) -> tuple[str, int]:
    """Wait until the server has said that it listens on an address of this IP address; return it."""
    line = server.wait_for(rf"(Server started|Listening) on {ip}:\d+", since)
    return ip, int(line.partition(f"{ip}:")[2].split()[0])


def answers(address: tuple[str, int]) -> bool:
    """Whether a request to an address is answered."""
    with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
        try:
            return 200 == client.get(f"http://{address[0]}:{address[1]}/plugin").status_code
        except httpx.ConnectError:
            return False


@pytest.mark.parametrize("by", ["SIGHUP", "reload"])
@pytest.mark.parametrize("threads", [1, 3])
def test_addresses_are_added_and_removed(launch: Launch, by: str, threads: int) -> None:
    """The one that stays loses no request; a connection to one that is removed goes on."""
    more = f"[server]\nio_threads = {threads}\n"
    server = launch({"plugin": PLUGIN}, ini=ini("127.0.0.1", more))

    def reload() -> int:
        since = len(server.lines)
        if by == "SIGHUP":
            server.send(signal.SIGHUP)
            server.wait_for("Reloaded all", since)
        else:
            assert 200 == server.get("/reload/all").status_code
        return since

    first = address_of(server, "127.0.0.1")
    with Clients(server.port, "/plugin", lambda status, _: status == 200, 4) as clients:
        write(server, ini("127.0.0.1 127.0.0.2", more))
        second = address_of(server, "127.0.0.2", reload())
        assert answers(first)
        assert all(answers(second) for _ in range(10))
        with socket.create_connection(second, timeout=TIMEOUT) as kept:
            ask(kept)
            write(server, ini("127.0.0.1", more))
            reload()
            server.wait_for(f"Listening on {second[0]}:{second[1]} no more; its open connections go on")
            wait_until(lambda: not answers(second))
            for _ in range(3):
                ask(kept)
        clients.go_on(20)
    assert first == ("127.0.0.1", server.port)
    assert 0 == server.stop()


def ask(connection: socket.socket) -> None:
    """Make a request on a connection that is kept."""
    connection.sendall(b"GET /plugin HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b"connection: close" not in answer.lower()


def test_another_port_takes_the_place_of_the_old_one(launch: Launch) -> None:
    """A restart serves the new one, too."""
    server = launch({"plugin": PLUGIN})
    port = free_port()
    old, new = ("127.0.0.1", server.port), ("127.0.0.1", port)
    write(server, ini("127.0.0.1", port=port))
    assert 200 == server.get("/reload/all").status_code
    assert answers(new)
    wait_until(lambda: not answers(old))
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for(f"Server started on 127.0.0.1:{port}", since)
    assert answers(new)
    assert not answers(old)
    assert 0 == server.stop()


def test_an_address_that_cannot_be_had_refuses_the_whole_reload(launch: Launch) -> None:
    """The reason has its line; neither keys nor plugins have changed, and no address that could be had is served."""
    server = launch({"plugin": PLUGIN})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write(server, ini("127.0.0.3 127.0.0.1", "[auth]\napikey = k\n", port))
        file = server.plugins / "plugin.py"
        file.write_text(file.read_text().replace('"ok"', '"new"'))
        answer = server.get("/reload/all")
    assert 500 == answer.status_code
    (reason,) = answer.json()["reasons"]
    assert reason.startswith(f"server.ini:2: [network] bindto: cannot listen on 127.0.0.1:{port}: ")
    assert ["plugin"] == server.get("/plugins").json()["loaded_plugins"]
    assert "Listening on" not in server.log
    assert not answers(("127.0.0.3", port))
    assert "ok" == server.get("/plugin").text


def test_wildcard_and_single_address_replace_each_other_at_a_restart(launch: Launch) -> None:
    """The system does not give both at the same time, so a reload cannot: it says so, and nothing has changed."""
    port = free_port()
    server = launch({"plugin": PLUGIN}, ini=ini("127.0.0.1", port=port))
    write(server, ini("0.0.0.0", "[auth]\napikey = k\n", port))
    answer = server.get("/reload/all")
    assert 500 == answer.status_code
    assert "restart" in answer.json()["reasons"][0]
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for(f"Server started on 0.0.0.0:{port}", since)
    assert 0 == server.stop()


def test_limits_count_at_once(launch: Launch) -> None:
    """Of requests inside plugins, of heads, and of the time for a head."""
    server = launch({"plugin": PLUGIN})
    with server.connect() as connection:
        connection.sendall(b"GET /plugin?seconds=1.5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("^inside$")
        write(
            server, ini("127.0.0.1", "[server]\nmax_in_flight_per_plugin = 1\nhead_limit = 8K\nread_timeout = 300ms\n")
        )
        server.send(signal.SIGHUP)
        server.wait_for("Reloaded all")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    with server.connect() as first:
        since = len(server.lines)
        first.sendall(b"GET /plugin?seconds=1.5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("^inside$", since)
        assert 503 == server.get("/plugin").status_code
    assert 431 == server.get("/plugin", headers={"X": "x" * 9000}).status_code
    with server.connect() as slow:
        slow.sendall(b"GET /plugin HTTP/1.1\r\nHo")
        assert b" 408 " in slow.recv(1000)


def test_the_times_of_a_stop_count_at_once(launch: Launch) -> None:
    """`shutdown_timeout` for the stop and for the thread that ends it, and `drain_delay` before."""
    server = launch({"plugin": PLUGIN}, ini_more="[server]\nshutdown_timeout = 60\n")
    write(server, ini("127.0.0.1", "[server]\nshutdown_timeout = 300ms\ndrain_delay = 200ms\n"))
    assert 200 == server.get("/reload/all").status_code
    with server.connect() as connection:
        connection.sendall(b"GET /plugin?seconds=1&block=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("^inside$")
        server.send(signal.SIGTERM)
        server.wait_for("serving for 0.2 s more, then stopping")
        server.wait_for(r"waiting for plugin \(1 request\) \(up to 0.3 s\)")
        assert 3 == server.wait()


def test_what_needs_a_restart_is_named(launch: Launch, tmp_path: Path) -> None:
    """And nothing else is."""
    server = launch({"plugin": PLUGIN})
    more = f"[server]\nio_threads = 2\nhead_limit = 16K\nshutdown_timeout = 3\ncontrol_socket = {tmp_path}/other.sock\n"
    write(server, ini("127.0.0.1", more))
    assert 200 == server.get("/reload/all").status_code
    named = [line.partition(" - plugincore - ")[2] for line in server.lines if "counts after a restart" in line]
    assert [
        f"[server] {key} has changed; the new value counts after a restart" for key in ("io_threads", "control_socket")
    ] == named
