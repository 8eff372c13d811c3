"""Limits: how many requests may be inside plugins, how large and how slow they may be, and whom to believe."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from support.server import Launch, Server
from support.wait import wait_until
from support.wire import HOST, Answer, Wire, ask, post, receive_all

GATE = """
import asyncio, pathlib
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    inside = 0

    async def request_handler(self, **data):
        if "wait" not in data:
            return 200, {{"inside": self.inside}}
        self.inside += 1
        self.log.info(f"{name} inside {{self.inside}}")
        try:
            while not pathlib.Path(data["wait"]).exists():
                await asyncio.sleep(0.005)
        finally:
            self.inside -= 1
        if "fail" in data:
            raise ValueError("asked for")
        return 200, {{"waited": True}}
"""

GATES = {name: GATE.format(name=name.title()) for name in ("one", "two", "three")}


def wait_inside(server: Server, plugin: str, count: int, release: str, more: str = "") -> list[Wire]:
    """Have ``count`` requests wait inside ``plugin`` until there is a file ``release``."""
    since = len(server.lines)
    wires = [Wire(server) for _ in range(count)]
    for wire in wires:
        wire.send(f"GET /{plugin}?wait={release}{more}".encode() + HOST + b"\r\n")
    server.wait_for(f"{plugin.title()} inside {count}$", since)
    return wires


def answers(wires: Sequence[Wire]) -> list[int]:
    """Read the answers that are waited for; return their statuses."""
    statuses = [wire.answer().status for wire in wires]
    for wire in wires:
        wire.socket.close()
    return statuses


def overloaded(answer: Answer) -> bool:
    """Whether an answer is the refusal of one request too many, on a connection that can be used again."""
    assert "connection" not in answer.headers
    return (503, "1", "too many requests are running; try again") == (
        answer.status,
        answer.headers.get("retry-after"),
        answer.error if answer.status == 503 else "",
    )


def asked(path: str) -> bytes:
    """Return a request for ``path``."""
    return b"GET " + path.encode() + HOST + b"\r\n"


def test_a_plugin_takes_only_so_many_requests_at_a_time(launch: Launch) -> None:
    """More are refused natively, at once and with the time to try again; other plugins are not concerned."""
    server = launch(GATES, ini_more="[server]\nmax_in_flight_per_plugin=2\n")
    waiting = wait_inside(server, "one", 2, "go")
    with Wire(server) as wire:
        for _ in range(3):
            assert overloaded(wire.ask(asked("/one")))
        assert 200 == wire.ask(asked("/two")).status
        assert overloaded(wire.ask(post("/one", b'{"wait": "go"}')))
        assert wire.still_serves()
        (server.folder / "go").touch()
        assert [200, 200] == answers(waiting)
        assert {"inside": 0} == json.loads(wire.ask(asked("/one")).body)


def test_all_plugins_together_take_only_so_many_requests(launch: Launch) -> None:
    """Every request inside counts, whatever the plugin; native answers come all the same."""
    server = launch(GATES, ini_more="[server]\nmax_in_flight=3\n")
    waiting = [*wait_inside(server, "one", 2, "go"), *wait_inside(server, "two", 1, "go")]
    with Wire(server) as wire:
        assert overloaded(wire.ask(asked("/three")))
        assert overloaded(wire.ask(asked("/one")))
        assert [200, 404, 405, 200] == [
            wire.ask(asked("/plugins")).status,
            wire.ask(asked("/nowhere")).status,
            wire.ask(b"PUT /one" + HOST + b"\r\n").status,
            wire.ask(asked("/-/ready")).status,
        ]
        (server.folder / "go").touch()
        assert [200, 200, 200] == answers(waiting)
        assert 200 == wire.ask(asked("/three")).status


def test_a_place_is_free_again_after_an_exception(launch: Launch) -> None:
    """However the handler ends."""
    server = launch(GATES, ini_more="[server]\nmax_in_flight_per_plugin=1\n")
    for number in range(3):
        waiting = wait_inside(server, "one", 1, f"go{number}", "&fail=1")
        assert overloaded(ask(server, asked("/one")))
        (server.folder / f"go{number}").touch()
        assert [500] == answers(waiting)
    assert 200 == server.get("/one").status_code


def test_a_place_is_free_again_after_its_client_has_left(launch: Launch) -> None:
    """The handler that runs finishes first; what it still holds is counted until then."""
    server = launch(GATES, ini_more="[server]\nmax_in_flight_per_plugin=2\n")
    for wire in wait_inside(server, "one", 2, "go"):
        wire.socket.close()
    assert overloaded(ask(server, asked("/one")))
    (server.folder / "go").touch()
    with Wire(server) as wire:
        wait_until(lambda: 200 == wire.ask(asked("/one")).status)


SLOW = """
import pathlib, time
from plugincore.baseplugin import BasePlugin

class Slow(BasePlugin):
    def request_handler(self, **data):
        with open("entered", "a") as entered:
            entered.write(data["subpath"])
        while data["subpath"] == "block" and not pathlib.Path("go").exists():
            time.sleep(0.005)
        return 200, {}
"""


def test_requests_whose_clients_have_left_never_reach_the_plugin(launch: Launch) -> None:
    """They wait in the queue behind a plugin that blocks, and are passed over when it is their turn."""
    server = launch({"slow": SLOW}, ini_more="[server]\nmax_in_flight_per_plugin=4\n")
    entered = server.folder / "entered"
    with Wire(server) as blocking, Wire(server) as observer:
        gone = [Wire(server) for _ in range(3)]
        assert all(wire.still_serves() for wire in gone)
        blocking.send(asked("/slow/block"))
        wait_until(entered.exists)
        for wire in gone:
            wire.send(asked("/slow/gone"))
        # The answer to what was sent later proves that what was sent before has been read.
        assert observer.still_serves()
        assert overloaded(observer.ask(asked("/slow/more")))
        since = len(server.lines)
        for wire in gone:
            wire.socket.close()
        # Each has a moment in which it could be one that has only finished sending.
        wait_until(lambda: sum("connection ended" in line for line in server.lines[since:]) == len(gone))
        (server.folder / "go").touch()
        assert 200 == blocking.answer().status
    assert 200 == server.get("/slow/last").status_code
    assert "blocklast" == entered.read_text()


def test_the_body_limit_is_what_is_configured(launch: Launch) -> None:
    """To the byte, with a length and in chunks."""
    server = launch(GATES, ini_more="[server]\nbody_limit=2k\n")
    chunked = b"POST /one" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    with Wire(server) as wire:
        assert 200 == wire.ask(post("/one", b"x" * 2048)).status
        assert 200 == wire.ask(chunked + b"800\r\n" + b"x" * 2048 + b"\r\n0\r\n\r\n").status
        answer = wire.ask(post("/one", b"x" * 2049))
        assert (413, "the request body is larger than 2048 bytes") == (answer.status, answer.error)
    assert 413 == ask(server, chunked + b"801\r\n" + b"x" * 2049 + b"\r\n0\r\n\r\n").status


def test_the_head_limit_is_what_is_configured(launch: Launch) -> None:
    """To the byte."""
    server = launch(GATES, ini_more="[server]\nhead_limit=8KiB\n")
    frame = b"GET /one" + HOST + b"A: \r\n\r\n"

    def head(size: int) -> bytes:
        return frame.replace(b"A: ", b"A: " + b"a" * (size - len(frame)))

    assert 200 == ask(server, head(8192)).status
    answer = ask(server, head(8193))
    assert (431, "request line and headers are larger than 8192 bytes or over 100 headers") == (
        answer.status,
        answer.error,
    )


def test_a_larger_head_limit_takes_a_longer_target(launch: Launch) -> None:
    """Headers may then be longer than the default allows; a target has at most 65534 bytes in any case."""
    server = launch(GATES, ini_more="[server]\nhead_limit=256KiB\n")
    assert 200 == ask(server, asked("/one?a=" + "a" * 60000)).status
    assert 414 == ask(server, asked("/one?a=" + "a" * 70000)).status
    assert 200 == ask(server, b"GET /one" + HOST + b"A: " + b"a" * 200000 + b"\r\n\r\n").status


def test_the_read_timeout_is_what_is_configured(launch: Launch) -> None:
    """A short one ends an idle connection soon."""
    server = launch(GATES, ini_more="[server]\nread_timeout=100ms\n")
    with Wire(server) as idle, Wire(server) as slow:
        slow.send(b"GET /")
        assert idle.is_closed()
        assert 408 == slow.answer().status


BIG = """
from plugincore.baseplugin import BasePlugin

class Big(BasePlugin):
    def request_handler(self, **data):
        return 200, b"x" * int(data["size"])
"""


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(launch: Launch) -> None:
    """After the read timeout."""
    server = launch({"big": BIG}, ini_more="[server]\nread_timeout=300ms\n")
    process = psutil.Process(server.process.pid)
    with Wire(server) as deaf:
        assert deaf.still_serves()
        deaf.send(asked("/big?size=50000000"))
        wait_until(lambda: all(found.status != "ESTABLISHED" for found in process.net_connections()))
        assert 50_000_000 > len(receive_all(deaf.socket))


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(launch: Launch) -> None:
    """However long it takes, if something is taken in each read timeout."""
    server = launch({"big": BIG}, ini_more="[server]\nread_timeout=100ms\n")
    with Wire(server) as slow:
        slow.send(asked("/big?size=6000000"))
        received = 0
        while received < 6_000_000:
            received += (taken := len(slow.socket.recv(40_000)))
            assert taken, f"cut off after {received} bytes"
            time.sleep(0.01)


CLIENT = """
from plugincore.baseplugin import BasePlugin

class Client(BasePlugin):
    async def request_handler(self, **data):
        return 200, [data["client_ip"], self._get_client_ip(data["request"])]
"""

FORWARDED = {
    "": ("192.0.2.7", "192.0.2.7", "unknown"),
    "trusted_proxies=127.0.0.1": ("192.0.2.7", "192.0.2.7", "unknown"),
    "trusted_proxies=127.0.0.0/8 192.0.2.0/24": ("192.0.2.7", "203.0.113.9", "unknown"),
    "trusted_proxies=none": ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
    "trusted_proxies=10.0.0.0/8": ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
}


@pytest.mark.parametrize("option", FORWARDED)
def test_forwarded_addresses_are_believed_as_configured(launch: Launch, option: str) -> None:
    """Only what a trusted proxy wrote; a client cannot choose its own address."""
    server = launch({"client": CLIENT}, ini_more=f"[server]\n{option}\n")
    one, two, nonsense = FORWARDED[option]
    assert [one] * 2 == server.get("/client", headers={"X-Forwarded-For": "192.0.2.7"}).json()
    assert [two] * 2 == server.get("/client", headers={"X-Forwarded-For": "203.0.113.9, 192.0.2.7"}).json()
    assert [nonsense] * 2 == server.get("/client", headers={"X-Forwarded-For": "nonsense"}).json()


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_threads_serve_as_configured(launch: Launch, count: int) -> None:
    """All of them accept, and one plugin answers the requests of all."""
    server = launch(GATES, ini_more=f"[server]\nio_threads={count}\n")
    tasks = Path(f"/proc/{server.process.pid}/task")

    def threads() -> int:
        names = []
        for task in tasks.iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                names.append(task.joinpath("comm").read_text())
        return sum(name.startswith("plugincore-io") for name in names)

    wait_until(lambda: count == threads())
    waiting = wait_inside(server, "one", 40, "go")
    (server.folder / "go").touch()
    assert [200] * 40 == answers(waiting)
    assert 0 == server.stop()


def test_descriptors_are_given_back(launch: Launch) -> None:
    """Whatever became of the connections: served, refused, cut off, or too slow."""
    server = launch(GATES, ini_more="[server]\nread_timeout=200ms\n")
    process = psutil.Process(server.process.pid)
    assert 200 == server.get("/one").status_code
    before = process.num_fds()
    wires = [Wire(server) for _ in range(60)]
    for number, wire in enumerate(wires):
        wire.send([asked("/one"), b"nonsense\r\n\r\n", b"GET /", b"", post("/nowhere", b"x")][number % 5])
    wait_until(lambda: before + 10 < process.num_fds())
    for wire in wires:
        receive_all(wire.socket)
        wire.socket.close()
    wait_until(lambda: process.num_fds() <= before)
