"""HTTP/2 against clients that mean harm, are slow or are gone, and what becomes of clients when the server stops."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from support.http2 import Http2
from support.http2_clients import Http2Clients
from support.plugins import INI
from support.server import Launch, Server, serving
from support.wait import TIMEOUT, wait_for_file, wait_until
from support.wire import HOST, Wire

PLUGINS = {
    "slow": """
        import asyncio
        from pathlib import Path
        from plugincore.baseplugin import BasePlugin

        class Slow(BasePlugin):
            calls = 0

            async def request_handler(self, file=None, **data):
                Slow.calls += 1
                if file is None:
                    return Slow.calls
                Path(file + ".entered").touch()
                while not Path(file).exists():
                    await asyncio.sleep(0.005)
                return "waited"

        class Big(BasePlugin):
            async def request_handler(self, **data):
                return "x" * 4_000_000
    """,
}

HEADERS = [(":method", "GET"), (":scheme", "http"), (":path", "/slow"), (":authority", "localhost")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server with short time limits that all attacks share."""
    with serving(tmp_path_factory.mktemp("attacked"), PLUGINS, "[server]\nread_timeout = 2s\n") as server:
        yield server


def request(number: int, flags: tuple[str, ...] = ("END_HEADERS", "END_STREAM"), block: bytes | None = None) -> Frame:
    """Return the frame that begins a request."""
    return HeadersFrame(number, block or Encoder().encode(HEADERS), flags=flags)


def rapid_reset() -> Iterator[list[Frame]]:
    """Cancel each request at once, by the thousand."""
    for number in range(1, 200_000, 2):
        yield [request(number), RstStreamFrame(number, 8)]


def settings() -> Iterator[list[Frame]]:
    """Send settings that have to be acknowledged."""
    while True:
        yield [SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65535})]


def pings() -> Iterator[list[Frame]]:
    """Send pings that have to be answered."""
    while True:
        yield [PingFrame(0, b"12345678")]


def priorities() -> Iterator[list[Frame]]:
    """Send priorities, which are of no use any more."""
    while True:
        yield [PriorityFrame(1, depends_on=0, stream_weight=15)]


def window_updates() -> Iterator[list[Frame]]:
    """Open windows byte by byte."""
    while True:
        yield [WindowUpdateFrame(0, window_increment=1)]


def empty_data() -> Iterator[list[Frame]]:
    """Send a body of no bytes that does not end."""
    yield [request(1, flags=("END_HEADERS",))]
    while True:
        yield [DataFrame(1, b"")]


def padded_data() -> Iterator[list[Frame]]:
    """Send the same with padding."""
    yield [request(1, flags=("END_HEADERS",))]
    while True:
        yield [DataFrame(1, b"", pad_length=10, flags=("PADDED",))]


def continuations() -> Iterator[list[Frame]]:
    """Send a head that does not end."""
    yield [request(1, flags=())]
    while True:
        yield [ContinuationFrame(1, b"")]


def large_continuations() -> Iterator[list[Frame]]:
    """Send a head that does not end, of bytes that have to be kept."""
    yield [request(1, flags=())]
    while True:
        yield [ContinuationFrame(1, Encoder().encode([("x-large", "y" * 10_000)], huffman=False))]


def malformed() -> Iterator[list[Frame]]:
    """Send requests that are none."""
    for number in range(1, 200_000, 2):
        yield [request(number, block=Encoder().encode([(":path", "/")]))]


def unknown() -> Iterator[list[Frame]]:
    """Send frames of a kind that has to be ignored."""

    class UnknownFrame(PingFrame):
        type = 0xFA

    while True:
        yield [UnknownFrame(0, b"12345678")]


ATTACKS = [
    rapid_reset,
    settings,
    pings,
    priorities,
    window_updates,
    empty_data,
    padded_data,
    continuations,
    large_continuations,
    malformed,
    unknown,
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_every_flood_ends_the_connection(server: Server, attack: Callable[[], Iterator[list[Frame]]]) -> None:
    """With GOAWAY that asks for calm; memory does not grow, and others are served meanwhile."""
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    with Http2(server) as client, Http2(server) as other:
        stop = threading.Event()

        def flood() -> None:
            with suppress(OSError):
                for frames in attack():
                    client.socket.sendall(b"".join(frame.serialize() for frame in frames))
                    if stop.is_set():
                        return

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        try:
            assert goaway(client) == 11
            assert other.still_serves()
        finally:
            stop.set()
            client.socket.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT)
    assert process.memory_info().rss - before < 32 << 20


def frames_of(connection: socket.socket, kind: int, count: int = 1) -> Iterator[tuple[int, bytes]]:
    """Read frame by frame, without a library; yield stream and payload of the first frames of this kind."""
    received = b""
    while count:
        try:
            received += connection.recv(65536) or FIN
        except ConnectionResetError:
            return
        while count and len(received) >= (end := 9 + int.from_bytes(received[:3], "big")) >= 9 <= len(received):
            if received[3] == kind:
                count -= 1
                yield int.from_bytes(received[5:9], "big"), received[9:end]
            if received.startswith(FIN):
                return
            received = received[end:]


#: No frame that a server sends.
FIN = b"\0\0\0\xff" + bytes(5)


def goaway(client: Http2) -> int | None:
    """Return the code of the GOAWAY with which the server ends a connection."""
    codes = [struct.unpack(">I", payload[4:8])[0] for _, payload in frames_of(client.socket, 7, count=9)]
    return codes[-1] if codes else None


@pytest.mark.parametrize(("times", "kind", "expected"), [(40, 1, "431"), (12_000, 7, 11)])
def test_headers_that_grow_when_they_are_decoded_are_refused(
    server: Server, times: int, kind: int, expected: object
) -> None:
    """Each byte stands for four thousand: 431, or GOAWAY if it is far too much, and nothing of it is kept."""
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    encoder = Encoder()
    large = ("x-large", "y" * 4000)
    with Http2(server) as client:
        client.frames([request(1, block=encoder.encode([*HEADERS, large]))])
        block = encoder.encode([*HEADERS, *[large] * times])
        assert len(block) < 16_000
        client.frames([request(3, block=block)])
        frames = dict(frames_of(client.socket, kind, count=2 if kind == 1 else 1))
    if kind == 1:
        decoder = Decoder()
        assert ["200", expected] == sorted(dict(decoder.decode(block))[":status"] for block in frames.values())
    else:
        assert [expected] == [struct.unpack(">I", payload[4:8])[0] for payload in frames.values()]
    assert process.memory_info().rss - before < 32 << 20


def test_more_streams_than_allowed_are_refused_and_hurt_no_other(server: Server, tmp_path: Path) -> None:
    """A client that ignores the limit gets REFUSED_STREAM for those above it."""
    gate = tmp_path / "gate"
    path = [*HEADERS[:2], (":path", f"/slow?file={gate}"), HEADERS[3]]
    encoder = Encoder()
    with Http2(server) as client:
        numbers = range(1, 2 * 150, 2)
        for number in numbers:
            client.frames([request(number, block=encoder.encode(path))])
        refused: dict[int, int] = {}
        answered: set[int] = set()
        pending = b""
        while len(refused) + len(answered) < 150:
            pending += client.socket.recv(65536)
            while len(pending) >= 9 and len(pending) >= (end := 9 + int.from_bytes(pending[:3], "big")):
                number = int.from_bytes(pending[5:9], "big")
                if pending[3] == 3:
                    refused[number] = int.from_bytes(pending[9:13], "big")
                if pending[3] == 0 and pending[4] & 1:
                    answered.add(number)
                pending = pending[end:]
            if len(refused) == 150 - 128:
                gate.touch()
    assert ({7}, 128) == (set(refused.values()), len(answered))


def test_a_client_that_opens_no_window_loses_the_stream_and_no_other(server: Server) -> None:
    """After `read_timeout`, CANCEL."""
    with Http2(server) as client:
        client.takes = False
        number = client.begin("/big")
        assert 8 == client.answer(number).reset
        client.takes = True
        client.h2.increment_flow_control_window(65535)
        assert client.still_serves()


def test_a_client_that_reads_nothing_loses_the_connection(server: Server) -> None:
    """Though it keeps opening windows."""
    with Http2(server) as client:
        client.frames([WindowUpdateFrame(0, window_increment=1 << 30)])
        client.frames([SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: (1 << 31) - 1})])
        for _ in range(20):
            client.begin("/big")
        process = psutil.Process(server.pid)
        end = (client.socket.getsockname()[1], "ESTABLISHED")

        def is_gone() -> bool:
            return end not in [(one.raddr.port, one.status) for one in process.net_connections() if one.raddr]

        wait_until(is_gone)


def test_an_idle_connection_is_ended_in_good_order(server: Server) -> None:
    """GOAWAY without an error after `read_timeout`, whatever pings come."""
    begun = time.monotonic()
    with Http2(server) as client:
        assert client.still_serves()
        client.h2.ping(b"12345678")
        client.flush()
        assert client.is_closed()
        assert 0 == client.goaway
    assert 1.9 < time.monotonic() - begun < 6


def test_a_connection_without_its_preface_or_with_half_a_head_is_closed(server: Server) -> None:
    """After `read_timeout`."""
    with server.connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\n")
        assert drained(connection)
    with Http2(server) as client:
        client.frames(HeadersFrame(1, b"\x82", flags=()).serialize()[:-1])
        assert client.is_closed()


def drained(connection: socket.socket) -> bool:
    """Read until the server closes."""
    with suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


def test_half_a_head_is_waited_for_no_longer_than_its_time(launch: Launch) -> None:
    """However long an idle connection may live, and however it is cut into frames that come in time."""
    server = launch(PLUGINS, ini_more="[limits]\nhead_time = 1s\n")
    block = Encoder().encode([*HEADERS, ("x-long", "@" * 20)])
    with Http2(server) as client:
        assert client.still_serves()
        client.frames([HeadersFrame(3, block[:2], flags=("END_STREAM",))])
        client.socket.settimeout(0.2)
        begun = time.monotonic()
        for place in range(2, len(block)):
            with suppress(TimeoutError):
                client.receive()
            if client.goaway is not None:
                break
            client.frames([ContinuationFrame(3, block[place : place + 1])])
        assert 0 == client.goaway
        assert time.monotonic() - begun < 5
        client.socket.settimeout(TIMEOUT)
        assert client.is_closed()
    with Http2(server) as client:
        assert client.still_serves()
        client.frames(HeadersFrame(3, block, flags=("END_HEADERS", "END_STREAM")).serialize()[:-1])
        assert client.is_closed()
        assert 0 == client.goaway


def test_a_body_that_stops_coming_is_answered_and_the_connection_goes_on(server: Server) -> None:
    """408 after `read_timeout`."""
    with Http2(server) as client:
        number = client.begin("/slow", method="POST", body=None)
        answer = client.answer(number)
        assert (408, "the request body did not arrive in time") == (answer.status, answer.error)
        assert client.still_serves()


def test_a_stop_finishes_what_has_begun(launch: Launch, tmp_path: Path) -> None:
    """The client gets GOAWAY, its requests are answered, and then the connection ends; a new request is not begun."""
    server = launch(PLUGINS)
    gate = tmp_path / "gate"
    with Http2(server) as client, Http2(server) as idle:
        assert idle.still_serves()
        numbers = [client.begin(f"/slow?file={gate}") for _ in range(3)]
        wait_for_file(tmp_path / "gate.entered")
        server.send(signal.SIGTERM)
        while client.goaway is None:
            client.receive()
        assert 0 == client.goaway
        assert idle.is_closed()
        assert 0 == idle.goaway
        gate.touch()
        assert [b"waited"] * 3 == [client.answer(number).body for number in numbers]
        assert client.is_closed()
    assert 0 == server.wait()


def test_a_client_that_does_not_answer_does_not_delay_a_stop(launch: Launch) -> None:
    """Neither one that leaves the last PING unanswered nor one that sends no preface."""
    server = launch(PLUGINS)
    with Http2(server) as client, server.connect() as half:
        assert client.still_serves()
        half.sendall(b"PRI * HTTP/2.0\r\n\r\n")
        begun = time.monotonic()
        assert 0 == server.stop()
        assert time.monotonic() - begun < 6


def test_a_restart_loses_no_request(launch: Launch) -> None:
    """Clients that keep asking get every answer, except for streams that the GOAWAY says were not begun."""
    server = launch(PLUGINS)
    with Http2Clients(server, ["/slow"] * 4, lambda answer: answer.status == 200) as clients:
        for _ in range(3):
            clients.go_on(200)
            since = len(server.lines)
            os.kill(server.pid, signal.SIGUSR1)
            server.wait_for("Server started on", since)
        clients.go_on(200)
    assert clients.connections >= 4 * 4


def test_http_1_and_2_share_one_port_and_one_server(launch: Launch) -> None:
    """A request of each."""
    server = launch(PLUGINS, ini=INI)
    with Http2(server) as new, Wire(server) as old:
        assert 200 == old.ask(b"GET /slow" + HOST + b"\r\n").status
        assert b"2" == new.ask("/slow").body
