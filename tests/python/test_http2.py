"""HTTP/2: what is answered by HTTP/1.1 is answered in the same way."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from support.http2 import Http2, Stream
from support.server import Launch, Server, serving
from support.wait import wait_for_file, wait_until
from support.wire import HOST, Wire

PLUGINS = {
    "show": """
        from plugincore.baseplugin import BasePlugin

        class Show(BasePlugin):
            async def request_handler(self, request, subpath=None, **data):
                return {
                    "version": list(request.version), "method": request.method, "host": request.host,
                    "scheme": request.scheme, "path": request.path_qs, "body": await request.text(),
                    "cookies": dict(request.cookies), "headers": sorted(name.lower() for name in request.headers),
                }

        class Locked(BasePlugin):
            def __init__(self, **kwargs):
                super().__init__(**kwargs, auth_type="plugin", apikey="right")

            async def request_handler(self, **data):
                return "in"

        class Broken(BasePlugin):
            async def request_handler(self, **data):
                raise ValueError("on purpose")

        class Odd(BasePlugin):
            async def request_handler(self, subpath, **data):
                from aiohttp import web
                headers = {"Connection": "close", "Keep-Alive": "5", "X-End": "2"}
                return web.Response(status=int(subpath), headers=headers)
    """,
    "slow": """
        import asyncio
        from pathlib import Path
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import EventSource, StreamingResponse

        class Slow(BasePlugin):
            async def request_handler(self, file, **data):
                while not Path(file).exists():
                    await asyncio.sleep(0.005)
                return "waited"

        class Endless(BasePlugin):
            async def request_handler(self, file, **data):
                async def pieces():
                    try:
                        yield b"begun"
                        await asyncio.Event().wait()
                    finally:
                        Path(file + ".cancelled").touch()
                return StreamingResponse(pieces())

        class Events(BasePlugin):
            async def request_handler(self, count, **data):
                async def tell():
                    for number in range(int(count)):
                        yield str(number)
                return EventSource(tell())

        class Flow(BasePlugin):
            sent = 0

            async def request_handler(self, subpath=None, **data):
                if subpath == "sent":
                    return Flow.sent
                async def pieces():
                    while Flow.sent < 64 << 20:
                        yield b"x" * 65536
                        Flow.sent += 65536
                return StreamingResponse(pieces())
    """,
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return what the servers' certificates are signed with."""
    return trustme.CA()


@pytest.fixture(scope="module")
def context(authority: trustme.CA) -> ssl.SSLContext:
    """Return a client's settings for HTTP/2 by TLS."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def certify(authority: trustme.CA, folder: Path) -> str:
    """Write a certificate into ``folder``; return the section for it."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = authority.issue_cert("127.0.0.1", "localhost")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    (folder / "key.pem").write_bytes(pair.private_key_pem.bytes())
    return "[SSL]\nenabled = true\ncertfile = cert.pem\nkeyfile = key.pem\n"


SETTINGS = """
[cors]
enabled = true
origin_url = https://app.example

[file_server]
documents = docs:files

[server]
body_limit = 600000
"""


@pytest.fixture(scope="module", params=["h2c", "tls"])
def connect(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: trustme.CA,
    context: ssl.SSLContext,
) -> Iterator[Callable[[], Http2]]:
    """Return what connects to a server that all tests share, once by plain TCP and once by TLS."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "files").mkdir()
    (folder / "files" / "big.bin").write_bytes(bytes(range(256)) * 4096)
    secure = request.param == "tls"
    settings = SETTINGS + (certify(authority, folder) if secure else "")
    with start_serving(folder, settings, secure) as server:
        yield lambda: Http2(server, context if secure else None)


@contextlib.contextmanager
def start_serving(folder: Path, settings: str, secure: bool) -> Iterator[Server]:
    """Serve the plugins above."""
    with serving(folder, PLUGINS, settings) as server:
        if secure:
            server.base_url = server.base_url.replace("http:", "https:")
        yield server


def test_a_plugin_sees_an_ordinary_request_of_version_2(connect: Callable[[], Http2]) -> None:
    """Host, scheme, path, cookies and body come as they would by HTTP/1.1; the cookies are one header."""
    with connect() as client:
        cookies = [("cookie", "a=1"), ("cookie", "b=2")]
        answer = client.ask("/show/x?y=z", *cookies, ("x-other", "1"), method="POST", body=b"hello")
        seen = json.loads(answer.body)
        assert (200, "application/json; charset=utf-8") == (answer.status, answer.headers["content-type"])
        assert {"a": "1", "b": "2"} == seen["cookies"]
        assert ["cookie", "host", "x-other"] == seen["headers"]
        del seen["cookies"], seen["headers"]
        scheme = client.scheme
        expected = {"version": [2, 0], "method": "POST", "host": "localhost", "path": "/show/x?y=z", "body": "hello"}
        assert {**expected, "scheme": scheme} == seen


REQUESTS = [
    ("GET", "/show", {}, b""),
    ("HEAD", "/show", {}, b""),
    ("DELETE", "/show", {}, b""),
    ("OPTIONS", "/show", {"origin": "https://app.example", "access-control-request-method": "POST"}, b""),
    ("OPTIONS", "*", {}, b""),
    ("GET", "/locked", {}, b""),
    ("GET", "/locked", {"x-custom-auth": "right", "origin": "https://app.example"}, b""),
    ("GET", "/broken", {"x-request-id": "mine"}, b""),
    ("GET", "/nowhere", {}, b""),
    ("GET", "/%zz", {}, b""),
    ("POST", "/show", {"content-encoding": "odd", "content-length": "1"}, b"x"),
    ("POST", "/show", {"expect": "the-unexpected"}, b""),
    ("GET", "/-/healthy", {}, b""),
    ("GET", "/docs/big.bin", {"range": "bytes=3-5"}, b""),
    ("GET", "/docs/big.bin", {"range": "bytes=9999999-"}, b""),
    ("HEAD", "/docs/big.bin", {}, b""),
    ("GET", "/odd/200", {}, b""),
    ("GET", "/odd/204", {}, b""),
    ("GET", "/odd/304", {}, b""),
    ("GET", "/odd/404", {}, b""),
    ("CONNECT", "localhost:1", {}, b""),
    ("GET", "/" + "x" * 65520, {}, b""),
    ("GET", "/show", {f"x-{number}": "y" for number in range(100)}, b""),
    ("GET", "/show", {"x-large": "y" * 66000}, b""),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"), REQUESTS, ids=[f"{method} {path[:20]}" for method, path, *_ in REQUESTS]
)
def test_every_answer_is_the_same(
    both: tuple[Server, Http2], method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    """Status, headers and body, refusals of all kinds included, but for what belongs to connections of HTTP/1.1."""
    server, client = both
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with Wire(server) as wire:
        old = wire.fetch(f"{method} {path}".encode() + HOST + lines.encode() + b"\r\n" + body)
    if method == "CONNECT":
        number = client.h2.get_next_available_stream_id()
        client.streams[number] = Stream()
        client.h2.send_headers(number, [(":method", method), (":authority", path)], end_stream=True)
        client.flush()
        new = client.answer(number)
    else:
        new = client.ask(path, *headers.items(), method=method, body=body)

    def comparable(headers: dict[str, str]) -> dict[str, str]:
        mine = headers.get("x-request-id") == "mine"
        odd = {"date", "traceparent", "connection", "keep-alive", *([] if mine else ["x-request-id"])}
        return {name: value for name, value in headers.items() if name not in odd}

    def text(body: bytes) -> str:
        return body.decode("latin-1").replace("[1, 1]", "[2, 0]")

    assert (old.status, comparable(old.headers)) == (new.status, comparable(new.headers))
    ids = [headers.get("x-request-id", "") for headers in (old.headers, new.headers)]
    assert text(old.body).replace(ids[0], ids[1]) == text(new.body)
    assert "date" in new.headers
    assert not {"connection", "keep-alive", "transfer-encoding"} & new.headers.keys()
    for name in ("x-request-id", "traceparent"):
        assert (name in old.headers) == (name in new.headers)
    assert client.still_serves()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Http2]]:
    """Return a server that speaks plain HTTP and a connection of HTTP/2 to it."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "files").mkdir()
    (folder / "files" / "big.bin").write_bytes(bytes(range(256)) * 4096)
    with serving(folder, PLUGINS, SETTINGS) as server, Http2(server) as client:
        yield server, client


def test_what_is_behind_a_hash_in_a_target_never_comes_in(connect: Callable[[], Http2]) -> None:
    """It is a 400 by HTTP/1.1; here the target ends with it."""
    with connect() as client:
        assert "/show/a?b=c" == json.loads(client.ask("/show/a?b=c#d").body)["path"]


def test_one_slow_request_holds_up_no_other(connect: Callable[[], Http2], tmp_path: Path) -> None:
    """A hundred requests are answered on a connection on which an earlier one waits."""
    gate = tmp_path / "gate"
    with connect() as client:
        slow = client.begin(f"/slow?file={gate}")
        numbers = [client.begin(f"/show/{number}") for number in range(100)]
        paths = [json.loads(client.answer(number).body)["path"] for number in numbers]
        assert [f"/show/{number}" for number in range(100)] == paths
        assert 0 == client.streams[slow].status
        gate.touch()
        assert b"waited" == client.answer(slow).body


def begin_endless(client: Http2, file: Path) -> int:
    """Begin a request whose answer does not end, and wait for its beginning."""
    number = client.begin(f"/endless?file={file}")
    while client.streams[number].body != b"begun":
        client.receive()
    return number


def test_a_client_that_cancels_a_stream_ends_its_answer_and_no_other(
    connect: Callable[[], Http2], tmp_path: Path
) -> None:
    """As closing the connection does by HTTP/1.1."""
    gate = tmp_path / "gate"
    with connect() as client:
        left, stays = begin_endless(client, tmp_path / "left"), begin_endless(client, tmp_path / "stays")
        kept = client.begin(f"/slow?file={gate}")
        client.reset(left)
        wait_for_file(tmp_path / "left.cancelled")
        gate.touch()
        assert b"waited" == client.answer(kept).body
        assert not client.streams[stays].ended
        assert not (tmp_path / "stays.cancelled").exists()


def test_a_client_that_closes_the_connection_ends_all_of_its_answers(
    connect: Callable[[], Http2], tmp_path: Path
) -> None:
    """Each handler of the connection learns of it."""
    with connect() as client:
        for number in range(3):
            begin_endless(client, tmp_path / str(number))
    for number in range(3):
        wait_for_file(tmp_path / f"{number}.cancelled")


def test_a_body_larger_than_all_windows_arrives_whole(connect: Callable[[], Http2]) -> None:
    """The windows open as the body is read."""
    body = bytes(range(32, 127)) * 6000
    with connect() as client:
        answer = client.ask("/show", method="POST", body=body)
        assert body.decode() == json.loads(answer.body)["body"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_and_the_connection_goes_on(
    connect: Callable[[], Http2], declared: bool
) -> None:
    """The length is taken from the header or counted."""
    headers = [("content-length", "900000")] if declared else []
    with connect() as client:
        answer = client.ask("/show", *headers, method="POST", body=b"x" * 900_000)
        assert (413, "the request body is larger than 600000 bytes") == (answer.status, answer.error)
        assert client.still_serves()


def test_a_client_may_wait_for_permission_to_send(connect: Callable[[], Http2]) -> None:
    """It gets 100 when the body is read, and none if the request is refused before."""
    expectation = ("expect", "100-continue")
    with connect() as client:
        number = client.begin("/show", expectation, ("content-length", "5"), method="POST", body=None)
        while not client.streams[number].interim:
            client.receive()
        client.send(number, b"hello")
        answer = client.answer(number)
        assert ([100], 200, "hello") == (answer.interim, answer.status, json.loads(answer.body)["body"])
        refused = client.begin("/show", expectation, ("content-length", "5000000"), method="POST", body=None)
        answer = client.answer(refused)
        assert ([], 413) == (answer.interim, answer.status)


def test_a_body_may_end_with_trailers(connect: Callable[[], Http2]) -> None:
    """They are no part of it."""
    with connect() as client:
        number = client.begin("/show", method="POST", body=None)
        client.h2.send_data(number, b"hello")
        client.h2.send_headers(number, [("x-checksum", "1")], end_stream=True)
        client.flush()
        assert "hello" == json.loads(client.answer(number).body)["body"]


def test_a_file_and_events_come_as_streams(connect: Callable[[], Http2]) -> None:
    """Both at once, whole."""
    with connect() as client:
        file, events = client.begin("/docs/big.bin"), client.begin("/events?count=300")
        assert bytes(range(256)) * 4096 == client.answer(file).body
        answer = client.answer(events)
        assert "text/event-stream" == answer.headers["content-type"].partition(";")[0]
        lines = [line for line in answer.body.decode().splitlines() if line.startswith("data: ")]
        assert [f"data: {number}" for number in range(300)] == lines


def test_a_handler_is_held_up_by_a_client_that_takes_nothing(connect: Callable[[], Http2]) -> None:
    """What is produced ahead is bounded, the other streams go on, and the stream does so when it is read."""
    with connect() as client:
        client.takes = False
        number = client.begin("/flow")
        while len(client.streams[number].body) < 65535:
            client.receive()

        def sent() -> int:
            with connect() as other:
                return int(other.ask("/flow/sent").body)

        wait_until(lambda: sent() == sent() > 0)
        assert sent() < 4 << 20
        client.reset(number)
        client.h2.increment_flow_control_window(65535)
        assert client.still_serves()


BAD = [
    ("its Host header is not its :authority", "a.example", [("host", "b.example")]),
    ("it must have one Host header", None, []),
    ("its Host header is not a host name", "user@a.example", []),
    ("it must have one Host header", None, [("host", "a"), ("host", "b")]),
]


@pytest.mark.parametrize(("reason", "host", "headers"), BAD)
def test_a_request_without_one_clear_host_is_refused(
    connect: Callable[[], Http2], reason: str, host: str | None, headers: list[tuple[str, str]]
) -> None:
    """`:authority` is the host, `Host` may repeat it or stand for it."""
    with connect() as client:
        answer = client.ask("/show", *headers, authority=host)
        assert 400 == answer.status
        assert reason in answer.error
        assert 200 == client.ask("/show", ("host", "a.example"), authority=None).status
        assert 200 == client.ask("/show", ("host", "A.example"), authority="a.example").status


@pytest.mark.parametrize(
    "header", [("connection", "close"), ("transfer-encoding", "chunked"), ("upgrade", "websocket")]
)
def test_headers_that_http_2_forbids_cost_their_stream_only(
    connect: Callable[[], Http2], header: tuple[str, str]
) -> None:
    """PROTOCOL_ERROR, as RFC 9113 has it for malformed requests."""
    with connect() as client:
        assert 1 == client.ask("/show", header).reset
        assert client.still_serves()


def test_switched_off_it_is_offered_nowhere(
    launch: Launch, authority: trustme.CA, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """By TLS, the client gets HTTP/1.1; its preface on a plain port is refused."""
    plain = launch(PLUGINS, ini=INI_OFF)
    answer = plain.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 505 "), answer
    folder = tmp_path / "secure"
    secure = launch(PLUGINS, ini=INI_OFF + certify(authority, folder), folder=folder)
    with context.wrap_socket(secure.connect(), server_hostname="127.0.0.1") as connection:
        assert "http/1.1" == connection.selected_alpn_protocol()


INI_OFF = """
[network]
bindto = 127.0.0.1
port = 0
http2 = false

[paths]
plugins = plugins
"""


def test_the_preface_is_recognised_however_it_is_cut(launch: Launch) -> None:
    """One byte after the other, or behind a request of HTTP/1.1, where it is not one."""
    server = launch(PLUGINS)
    with Wire(server) as wire:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
            wire.send(bytes([byte]))
        head = wire.socket.recv(9)
        assert 4 == head[3], "it begins with a SETTINGS frame"
    with Wire(server) as wire:
        assert 200 == wire.ask(b"GET /show" + HOST + b"\r\n").status
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert 505 == wire.answer().status
        assert wire.is_closed()
