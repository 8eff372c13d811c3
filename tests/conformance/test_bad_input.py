"""What takes pluginserver down, or makes it hang or leak, gets a clear answer from plugincore and leaves nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from conformance import world
from conformance.case import get, post, post_json, run
from conformance.cases import requests, results
from conformance.observe import ALIVE
from conformance.server import OURS, Server
from support.wait import wait_until
from support.wire import ClosedError, HangError, Wire

#: Requests that are answered in an orderly way.
GOOD = [
    get("/alive"),
    get("/echo/a/b?c=d", "X-Thing: e"),
    post_json("/echo", {"a": [1, 2, {"b": None}]}),
    post("/echo", "a=1&b=2", "Content-Type: application/x-www-form-urlencoded"),
    get("/nobody"),
    get("/alive", method="PUT"),
    run("return 404, {'a': 1}"),
    run("raise ValueError('x')"),
    run("await asyncio.sleep(0)\nreturn 200, 'x'"),
    run("return 200, web.json_response({'a': 1})"),
]

#: Sources that do not end at once, which would take the time of the others.
SLOW = {"a thread", "a subprocess", "a time-out", "too deep a dict", "a long answer"}


def everything() -> list[bytes]:
    """Return the requests of all fixed cases of the world "open", and good ones."""
    cases = [*results.CASES, *requests.CASES]
    return [
        *GOOD,
        *(request for case in cases if case.world == "open" and case.name not in SLOW for request in case.requests),
    ]


def mutated(request: bytes, chance: random.Random) -> bytes:
    """Return a request with some bytes replaced, added, taken away or doubled."""
    data = bytearray(request[:4000])
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at:at] = chance.choice([b"\r\n", b"\0", b" ", b":", b"%", b"\xff", b"/", b"0"])
            case 2:
                del data[at : at + chance.randint(1, 8)]
            case _:
                data[at:at] = data[at : at + chance.randint(1, 20)]
    return bytes(data)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Serve the world "open" by plugincore alone."""
    folder: Path = tmp_path_factory.mktemp("ours") / "open"
    with world.alone("open", OURS, folder) as running:
        yield running


def census(server: Server) -> dict[str, Any]:
    """Count what lives in the server, on a connection of its own, when nothing else is under way."""
    with Wire(server) as wire:
        counted: dict[str, Any] = json.loads(wire.ask(get("/census")).body)
    return counted


def settled(server: Server, files: int | None = None) -> dict[str, Any]:
    """Count until closed connections are gone: until there are ``files``, or as many twice in a row."""
    counted = census(server)

    def at_rest() -> bool:
        nonlocal counted
        last, counted = counted, census(server)
        return bool(counted["files"] == (last["files"] if files is None else files))

    wait_until(at_rest, lambda: f"there are {counted['files']} files")
    return counted


def send_all(server: Server, requests_to_send: list[bytes]) -> int:
    """Send requests one after the other, over a connection as long as it lasts; return how many got an answer."""
    answered = 0
    wire = Wire(server)
    for request in requests_to_send:
        try:
            wire.fetch(request)
            answered += 1
        except ClosedError:
            wire.close()
            wire = Wire(server)
    wire.close()
    return answered


@pytest.mark.timeout(600)
def test_10000_mixed_requests_leave_nothing_behind(server: Server) -> None:
    """After 10,000 requests, good, bad and failing, no task, open file or object is left that was not there before."""
    mix = everything()
    send_all(server, mix)  # what is made once and kept: caches, imports
    send_all(server, mix)
    before = settled(server)
    sent = [mix[number % len(mix)] for number in range(10_000)]
    answered = send_all(server, sent)
    after = settled(server, before["files"])
    assert answered > 9_000
    assert after["tasks"] <= before["tasks"]
    assert after["files"] <= before["files"]
    # A leak of one object in a hundred requests would show; what a cache takes more or less does not.
    grown = {kind: (before["kinds"].get(kind, 0), count) for kind, count in after["kinds"].items()}
    assert after["objects"] - before["objects"] < 100, grown


@pytest.mark.timeout(600)
def test_damaged_requests_are_answered_or_closed(server: Server) -> None:
    """Whatever bytes come, the server answers or closes within its timeouts, and serves the next client."""
    chance = random.Random(7)
    mix = [request for request in everything() if len(request) < 4000]
    for number in range(3_000):
        request = mutated(mix[number % len(mix)], chance)
        with Wire(server) as wire:
            try:
                wire.send(request)
                wire.end()
                wire.final_answer()
            except ClosedError:
                pass
            except HangError:
                pytest.fail(f"no answer and no end: {request!r}")
    with Wire(server) as wire:
        assert wire.ask(ALIVE).body == b"alive"
    assert not any("panicked" in line for line in server.lines)
