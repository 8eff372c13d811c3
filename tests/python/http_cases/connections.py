"""What follows on a connection: pipelines, expectations and upgrades."""

from __future__ import annotations

from http_cases import CHUNKED, GET, HOST, Case, body, encoded, first_line, header, hosted, target
from support.websocket import handshake_lines

PIPELINES = [
    Case("9112-9.3.2 two requests", GET * 2, "200 200"),
    Case("9112-9.3.2 many requests", GET * 40, " ".join(["200"] * 40)),
    Case("9112-9.3.2 with bodies between them", (body(b"Content-Length: 3", b"abc") + GET) * 2, "200 200 200 200"),
    Case("9112-9.3.2 with chunks between them", (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + GET) * 2, "200 200 200 200"),
    Case("9112-9.3.2 refusals between them", target(b"/nowhere") + GET, "404 200"),
    Case("9112-2.2 empty lines between them", GET + b"\r\n\r\n" + GET, "200 200"),
    Case("9112-9.6 nothing is read behind close", header(b"Connection: close") + GET, "200 close"),
    Case("9112-9.6 close in a list", header(b"Connection: a, Close, b") + GET, "200 close"),
    Case("9112-9.6 close in a second line", header(b"Connection: keep-alive\r\nConnection: close") + GET, "200 close"),
    Case("9112-9.6 close before keep-alive", header(b"Connection: close\r\nConnection: keep-alive") + GET, "200 close"),
    Case("9112-9.3 keep-alive", header(b"Connection: keep-alive") + GET, "200 200"),
    Case("9112-9.3 options that nobody knows", header(b"Connection: x, y") + GET, "200 200"),
    Case("9112-9.3 an empty list", header(b"Connection:") + GET, "200 200"),
    Case("9112-2.2 nonsense behind a request", GET + b"nonsense\r\n\r\n" + GET, "200 400 close"),
    Case("9112-6.3 an unclear body behind a request", GET + encoded(b"chunked, chunked") + GET, "200 400 close"),
    Case("9112-3.2 a fragment behind a request", GET + target(b"/echo#a") + GET, "200 400 close"),
    Case("9112-7.1 a bad chunk behind a request", GET + CHUNKED + b"3;=\r\nabc\r\n0\r\n\r\n" + GET, "200 400 close"),
    Case(
        "9112-3.2 a wrong host behind a body",
        body(b"Content-Length: 3", b"abc") + hosted(b"a b") + GET,
        "200 400 close",
    ),
    Case("9110-2.5 1.0 behind 1.1", GET + first_line(b"GET /echo HTTP/1.0") + GET, "200 200 close"),
    Case("9110-2.5 1.2 behind 1.1", GET + first_line(b"GET /echo HTTP/1.2") + GET, "200 200 200"),
]

EXPECTATIONS = [
    Case("9110-10.1.1 without a body it may be left out", header(b"Expect: 100-continue"), "200"),
    Case("9110-10.1.1 an empty body", body(b"Expect: 100-continue\r\nContent-Length: 0"), "200"),
    Case("9110-10.1.1 any case", body(b"Expect: 100-CONTINUE\r\nContent-Length: 3", b"abc"), "100 200"),
    Case(
        "9110-10.1.1 chunked",
        CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + b"0\r\n\r\n",
        "100 200",
    ),
    Case(
        "9110-10.1.1 a final answer before the body",
        b"POST /nowhere" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        "404 close",
    ),
    *(
        Case(
            f"9110-10.1.1 {value!r} cannot be met",
            body(b"Expect: " + value + b"\r\nContent-Length: 3", b"abc") + GET,
            "417 close",
        )
        for value in (
            b"x",
            b"100-continue, x",
            b"x, 100-continue",
            b"100-continue;a=b",
            b"200-ok",
            b'"100-continue"',
            b"100-continue\r\nExpect: x",
            b"x\r\nExpect: 100-continue",
            b"100-continue, 100-continue",
        )
    ),
    Case("9110-10.1.1 without a body, too", header(b"Expect: x"), "417 close"),
    Case(
        "9110-10.1.1 of HTTP/1.0 is ignored",
        b"POST /echo HTTP/1.0\r\nExpect: x\r\nContent-Length: 3\r\n\r\nabc" + GET,
        "200 close",
    ),
    Case(
        "9110-10.1.1 100-continue of HTTP/1.0",
        b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + GET,
        "200 close",
    ),
]

UPGRADES = [
    Case("9110-7.8 an offer may be ignored", header(b"Upgrade: h2c\r\nConnection: Upgrade"), "200"),
    Case("9110-7.8 one without the option", header(b"Upgrade: h2c"), "200"),
    Case("9110-7.8 one with a body", body(b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 3", b"abc"), "200"),
    Case(
        "9110-7.8 what follows an offer that is ignored",
        header(b"Upgrade: h2c\r\nConnection: Upgrade") + GET,
        "200 200",
    ),
    Case("6455-4.2.2 another version", b"GET /echo" + HOST + handshake_lines(version="12") + b"\r\n", "426"),
    Case("6455-4.2.2 no number", b"GET /echo" + HOST + handshake_lines(version="x") + b"\r\n", "426"),
]
