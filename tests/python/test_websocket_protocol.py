"""The WebSocket protocol frame by frame (RFC 6455), against our server and aiohttp's own with the same handler."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from support.aiohttp_server import aiohttp_serving
from support.server import serving
from support.websocket import BINARY, CLOSE, PING, PONG, TEXT, close_payload, frame, frames, handshake_lines
from support.wire import Wire, receive_all

ECHO = """
from aiohttp import web, WSMsgType

async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket
"""

PLUGIN = (
    ECHO
    + """
from plugincore.baseplugin import BasePlugin

class Echo(BasePlugin):
    async def request_handler(self, **data):
        return await echo(data["request"])
"""
)

AIOHTTP = (
    ECHO
    + """
def add_routes(app):
    app.router.add_get("/echo", echo)
"""
)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Run our server and aiohttp's own."""
    with (
        serving(tmp_path_factory.mktemp("protocol"), {"echo": PLUGIN}) as server,
        aiohttp_serving(AIOHTTP) as port,
    ):
        yield {"plugincore": server.port, "aiohttp": port}


def talk(port: int, *pieces: bytes) -> list[tuple[int, bytes]]:
    """Open a socket, send pieces of bytes, and return the frames that come until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        headers = handshake_lines().replace(
            b"Upgrade\r\nUpgrade: websocket", b"keep-alive, Upgrade\r\nUpgrade: WebSocket"
        )
        connection.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        for piece in pieces:
            connection.sendall(piece)
        return frames(receive_all(connection))


END = frame(CLOSE, close_payload(1000))
#: The answer to it.
BYE = (CLOSE, close_payload(1000))


def one_by_one(data: bytes) -> list[bytes]:
    """Cut a frame into single bytes."""
    return [bytes([byte]) for byte in data]


@pytest.mark.parametrize("side", ["plugincore", "aiohttp"])
@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        pytest.param([frame(TEXT, b"hello"), END], [(TEXT, b"hello"), BYE], id="text"),
        pytest.param([*one_by_one(frame(TEXT, b"hello")), END], [(TEXT, b"hello"), BYE], id="byte by byte"),
        pytest.param(
            [frame(TEXT, b"a") + frame(BINARY, b"b") + END], [(TEXT, b"a"), (BINARY, b"b"), BYE], id="at once"
        ),
        pytest.param([frame(TEXT, b"x" * 65535), END], [(TEXT, b"x" * 65535), BYE], id="16 bits of length"),
        pytest.param([frame(BINARY, b"x" * 65536), END], [(BINARY, b"x" * 65536), BYE], id="64 bits of length"),
        pytest.param([frame(TEXT, b"a", fin=False), frame(0, b"b"), END], [(TEXT, b"ab"), BYE], id="fragments"),
        pytest.param([frame(TEXT, b"", fin=False), frame(0, b""), END], [(TEXT, b""), BYE], id="empty fragments"),
        pytest.param(
            [frame(TEXT, "é".encode()[:1], fin=False), frame(0, "é".encode()[1:]), END],
            [(TEXT, "é".encode()), BYE],
            id="a letter in two fragments",
        ),
        pytest.param(
            [frame(TEXT, b"a", fin=False), frame(PING, b"p"), frame(0, b"b"), END],
            [(PONG, b"p"), (TEXT, b"ab"), BYE],
            id="a ping between fragments",
        ),
        pytest.param([frame(PING, b"x" * 125), END], [(PONG, b"x" * 125), BYE], id="the longest ping"),
        pytest.param([frame(PONG, b"unasked"), END], [BYE], id="an unasked pong"),
        pytest.param([frame(CLOSE)], [BYE], id="a close without a code"),
        pytest.param([END, frame(TEXT, b"late")], [BYE], id="a message after the close"),
    ],
)
def test_what_is_allowed_is_understood(
    ports: dict[str, int], side: str, sent: list[bytes], answers: list[tuple[int, bytes]]
) -> None:
    """Whatever the frames and however they arrive."""
    assert answers == talk(ports[side], *sent)


@pytest.mark.parametrize("side", ["plugincore", "aiohttp"])
@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        *(pytest.param(frame(TEXT, b"x", reserved=bits), 1002, id=f"reserved bits {bits}") for bits in (1, 2, 3, 7)),
        *(pytest.param(frame(opcode, b"x"), 1002, id=f"opcode {opcode}") for opcode in (3, 7, 11, 15)),
        pytest.param(frame(PING, b"x" * 126), 1002, id="a ping that is too long"),
        pytest.param(frame(CLOSE, close_payload(1000, b"x" * 124)), 1002, id="a close that is too long"),
        pytest.param(frame(PING, b"x", fin=False), 1002, id="a fragmented ping"),
        pytest.param(frame(0, b"x"), 1002, id="a continuation of nothing"),
        pytest.param(frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002, id="a message inside another"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="no UTF-8"),
        pytest.param(frame(TEXT, b"\xed\xa0\x80"), 1007, id="a surrogate"),
        pytest.param(frame(TEXT, b"\xc3", fin=False) + frame(0, b"x"), 1007, id="no UTF-8 in fragments"),
        pytest.param(frame(CLOSE, b"x"), 1002, id="half a close code"),
        pytest.param(frame(CLOSE, close_payload(1000, b"\xff")), 1007, id="a reason that is no UTF-8"),
        *(
            pytest.param(frame(CLOSE, close_payload(number)), 1002, id=f"close code {number}")
            for number in (0, 999, 1004, 1005)
        ),
        *(
            pytest.param(frame(CLOSE, close_payload(number)), 1002, id=f"close code {number}")
            for number in (1016, 2999)
        ),
        # 1006 must not travel either, but aiohttp's reader takes it.
        pytest.param(frame(BINARY, b"x", length=5_000_000), 1009, id="a message that is too big"),
    ],
)
def test_what_is_not_allowed_ends_the_socket_with_its_code(
    ports: dict[str, int], side: str, sent: bytes, expected: int
) -> None:
    """The close code shows what was wrong, and nothing of it reaches the handler."""
    opcode, payload = talk(ports[side], sent)[-1]
    assert (CLOSE, expected) == (opcode, struct.unpack("!H", payload[:2])[0])


@pytest.mark.parametrize("number", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_codes_that_may_be_sent_are_accepted(ports: dict[str, int], number: int) -> None:
    """Those of the RFC that travel, those of libraries and private ones."""
    assert [BYE] == talk(ports["plugincore"], frame(CLOSE, close_payload(number, b"why")))


@pytest.mark.parametrize(
    "bare",
    [
        pytest.param(b"\x81\x01x", id="text"),
        pytest.param(b"\x89\x00", id="ping"),
        pytest.param(b"\x88\x02\x03\xe8", id="close"),
        pytest.param(b"\x82\x7e\x01\x00" + b"x" * 256, id="16 bits of length"),
    ],
)
@pytest.mark.parametrize("before", [[], [frame(TEXT, b"hello")]], ids=["at first", "behind a message"])
def test_a_frame_that_is_not_masked_ends_the_socket(ports: dict[str, int], before: list[bytes], bare: bytes) -> None:
    """A client has to mask (RFC 6455, 5.1); what comes behind such a frame is not read. aiohttp takes it."""
    for pieces in ([*before, bare + frame(TEXT, b"late")], [*before, *one_by_one(bare), frame(TEXT, b"late")]):
        *messages, (opcode, payload) = talk(ports["plugincore"], *pieces)
        assert [(TEXT, b"hello")] * len(before) == messages
        assert (CLOSE, 1002) == (opcode, struct.unpack("!H", payload[:2])[0])


@pytest.mark.parametrize(
    ("line", "version", "status"),
    [
        pytest.param(b"POST /echo HTTP/1.1", "13", 400, id="by POST"),
        pytest.param(b"GET /echo HTTP/1.0", "13", 400, id="by HTTP/1.0"),
        pytest.param(b"GET /echo HTTP/1.1", "12", 426, id="version 12"),
        pytest.param(b"GET /echo HTTP/1.1", "8", 426, id="version 8"),
        pytest.param(b"GET /echo HTTP/1.1", "14", 426, id="version 14"),
        pytest.param(b"GET /echo HTTP/1.1", "", 426, id="an empty version"),
        pytest.param(b"POST /echo HTTP/1.1", "12", 400, id="by POST and version 12"),
    ],
)
def test_a_handshake_that_is_none_gets_no_socket(ports: dict[str, int], line: bytes, version: str, status: int) -> None:
    """RFC 6455, 4.2.1 and 4.4: by GET and HTTP/1.1 only, and with the name of the version that is spoken."""
    with socket.create_connection(("127.0.0.1", ports["plugincore"]), timeout=20) as connection:
        connection.sendall(line + b"\r\nHost: x\r\n" + handshake_lines(version=version) + b"\r\n")
        answer = Wire(connection).answer()
    assert status == answer.status
    if status == 426:
        assert "13" == answer.headers["sec-websocket-version"]
