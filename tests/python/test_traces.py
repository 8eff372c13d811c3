"""Traces: the header `traceparent` goes on, or begins, and is wherever the request is named."""

from __future__ import annotations

import json
import re

import pytest

from support.http2 import Http2
from support.server import Launch
from support.wait import wait_until

PLUGINS = {
    "shop": """
        from plugincore.baseplugin import BasePlugin

        class Shop(BasePlugin):
            async def request_handler(self, request, **data):
                self.log("sold")
                if data["subpath"] == "raise":
                    raise KeyError("k")
                if data["subpath"] == "own":
                    return 200, {}, {"traceparent": "own"}
                return 200, {"id": request.trace_id, "parent": request.traceparent}
    """,
    "telemetry": """
        import asyncio
        from opentelemetry import propagate, trace
        from plugincore.baseplugin import BasePlugin

        class Telemetry(BasePlugin):
            async def request_handler(self, request, **data):
                await asyncio.sleep(0.01)
                carrier = {}
                propagate.inject(carrier)
                return 200, {"carrier": carrier, "parent": request.traceparent}
    """,
}

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{TRACE}-00f067aa0ba902b7-00"
FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")


def parts(header: str) -> tuple[str, str, str]:
    """Return trace, span and flags of a header, which has to be one."""
    match = FORM.fullmatch(header)
    assert match, header
    assert "0" * 32 != match[1]
    assert "0" * 16 != match[2]
    return match[1], match[2], match[3]


def test_a_trace_of_the_client_goes_on(launch: Launch) -> None:
    """With its flags, and a span of the request's own, which answer, handler, log and access log have."""
    server = launch(PLUGINS, ini_more="[access_log]\nfile = access.log\nformat = json\n")
    answer = server.get("/shop", headers={"traceparent": GIVEN, "X-Request-Id": "r-1"})
    trace, span, flags = parts(answer.headers["traceparent"])
    assert (TRACE, "00") == (trace, flags)
    assert "00f067aa0ba902b7" != span
    assert {"id": TRACE, "parent": answer.headers["traceparent"]} == answer.json()
    server.wait_for(f" - shop - sold request_id=r-1 trace_id={TRACE}$")
    file = server.folder / "access.log"
    wait_until(lambda: file.exists() and file.read_text(), "no line is written")
    assert TRACE == json.loads(file.read_text())["trace_id"]


def test_without_one_a_trace_begins_with_the_id_of_the_request(launch: Launch) -> None:
    """No two are the same, and one that a client has chosen for the request is no id of a trace."""
    server = launch(PLUGINS)
    found = set()
    for _ in range(20):
        answer = server.get("/shop/raise")
        trace, _, flags = parts(answer.headers["traceparent"])
        assert (answer.headers["X-Request-Id"], "01") == (trace, flags)
        found.add(trace)
    assert 20 == len(found)
    chosen = server.get("/shop/raise", headers={"X-Request-Id": "a" * 32})
    assert "a" * 32 != parts(chosen.headers["traceparent"])[0]


@pytest.mark.parametrize("header", ["", "nonsense", GIVEN.upper(), GIVEN + "-x", GIVEN.replace(TRACE, "0" * 32)])
def test_a_header_that_is_none_begins_a_trace(launch: Launch, header: str) -> None:
    """As the standard wants it."""
    server = launch(PLUGINS)
    assert TRACE != parts(server.get("/shop", headers={"traceparent": header}).headers["traceparent"])[0]


def test_every_answer_has_its_trace(launch: Launch) -> None:
    """Refusals, malformed requests, health checks, by both versions of HTTP; a plugin's own header stays."""
    server = launch(PLUGINS)
    for path in ("/nowhere", "/-/healthy", "/plugins", "/-/metrics", "/shop/raise"):
        answer = server.get(path, headers={"traceparent": GIVEN})
        assert TRACE == parts(answer.headers["traceparent"])[0], path
    assert TRACE == parts(server.request("DELETE", "/shop", headers={"traceparent": GIVEN}).headers["traceparent"])[0]
    assert "own" == server.get("/shop/own").headers["traceparent"]
    for head in (b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n"):
        (header,) = re.findall(rb"\r\ntraceparent: (\S+)\r\n", server.raw(head))
        parts(header.decode())
    with Http2(server) as client:
        for more in ([], [("host", "another")]):
            answered = client.answer(client.begin("/shop", ("traceparent", GIVEN), *more))
            assert TRACE == parts(answered.headers["traceparent"])[0]


def test_two_such_headers_are_malformed(launch: Launch) -> None:
    """By both versions of HTTP; it would not be clear which one counts."""
    server = launch(PLUGINS)
    line = f"traceparent: {GIVEN}\r\n"
    answer = server.raw(f"GET /shop HTTP/1.1\r\nHost: x\r\n{line}{line}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed"' in answer.replace(b": ", b":")
    with Http2(server) as client:
        answered = client.answer(client.begin("/shop", ("traceparent", GIVEN), ("traceparent", GIVEN)))
    assert 400 == answered.status
    assert "traceparent" in answered.error


def test_opentelemetry_finds_the_trace(launch: Launch) -> None:
    """After a wait, too, and with what others have to say of it."""
    server = launch(PLUGINS)
    answer = server.get("/telemetry", headers={"traceparent": GIVEN, "tracestate": "a=1,b=2"}).json()
    assert {"traceparent": answer["parent"], "tracestate": "a=1,b=2"} == answer["carrier"]
    assert TRACE in answer["parent"]
    answer = server.get("/telemetry", headers={"tracestate": "a=1"}).json()
    assert {"traceparent": answer["parent"]} == answer["carrier"]
