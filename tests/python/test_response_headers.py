"""`[headers]`: what all responses of the server have; and `Server`, which none has."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.http2 import Http2
from support.plugins import INI
from support.server import Launch, Server, serving
from support.wire import Answer, Wire, ask

PLUGIN = """
from aiohttp import web
from plugincore.baseplugin import BasePlugin
from plugincore.responses import StreamingResponse

class Own(BasePlugin):
    async def request_handler(self, **data):
        match data.get("subpath"):
            case "set":
                return 200, {}, {"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "default-src 'self'"}
            case "raise":
                raise ValueError
            case "nothing":
                return 204, None
            case "stream":
                async def pieces():
                    yield "a"
                return StreamingResponse(pieces(), content_type="text/plain")
            case "aiohttp":
                return web.json_response({})
            case "aiostream":
                response = web.StreamResponse()
                await response.prepare(data["request"])
                await response.write(b"a")
                return response
            case "packed":
                response = web.Response(text="a" * 1000)
                response.enable_compression()
                return response
            case "websocket":
                socket = web.WebSocketResponse()
                await socket.prepare(data["request"])
                await socket.close()
                return socket
        return 200, {}
"""

HEADERS = """
[headers]
X-Frame-Options = DENY
X-Content-Type-Options = nosniff
Referrer-Policy = no-referrer
Content-Security-Policy = default-src 'none';
    frame-ancestors 'none'
Strict-Transport-Security = max-age=31536000; includeSubDomains
"""

ADDED = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
HSTS = "strict-transport-security"

REST = "[file_server]\ndocuments = docs:site\n[auth]\napikey = k\n[limits]\nbody_size = 100\nhead_size = 8KiB\n"

#: Requests that are answered in all the ways that there are, with their statuses.
REQUESTS = {
    "a plugin": (b"GET /own HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "a plugin without a body": (b"GET /own/nothing HTTP/1.1\r\nHost: x\r\n\r\n", 204),
    "a plugin by HEAD": (b"HEAD /own HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "an exception": (b"GET /own/raise HTTP/1.1\r\nHost: x\r\n\r\n", 500),
    "a stream": (b"GET /own/stream HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "aiohttp's response": (b"GET /own/aiohttp HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "aiohttp's stream": (b"GET /own/aiostream HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "aiohttp's compression": (b"GET /own/packed HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n", 200),
    "a preflight": (b"OPTIONS /own HTTP/1.1\r\nHost: x\r\n\r\n", 204),
    "the whole server": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204),
    "health": (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "readiness": (b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "the list of plugins": (b"GET /plugins HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n\r\n", 200),
    "a static file": (b"GET /docs/a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "no static file": (b"GET /docs/b.txt HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "a file that the client has": (b"GET /docs/a.txt HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n", 304),
    "a wrong key": (b"GET /plugins HTTP/1.1\r\nHost: x\r\n\r\n", 403),
    "a wrong method": (b"DELETE /own HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "nothing there": (b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "a body that is too large": (b"POST /own HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", 413),
    "an odd path": (b"GET /own/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no host": (b"GET /own HTTP/1.1\r\n\r\n", 400),
    "an odd expectation": (b"GET /own HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n", 417),
    "a long target": (b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "no HTTP": (b"nonsense\r\n\r\n", 400),
    "a large head": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    "a version that does not exist": (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/1.0": (b"GET /own HTTP/1.0\r\n\r\n", 200),
}

WEBSOCKET = (
    b"GET /own/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def prepare(folder: Path) -> Path:
    """Write a static file."""
    (folder / "site").mkdir(parents=True, exist_ok=True)
    (folder / "site" / "a.txt").write_text("a")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with the headers."""
    folder = prepare(tmp_path_factory.mktemp("headers"))
    with serving(folder, {"own": PLUGIN}, ini_more=HEADERS + REST) as server:
        yield server


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve without them."""
    folder = prepare(tmp_path_factory.mktemp("bare"))
    with serving(folder, {"own": PLUGIN}, ini_more=REST) as server:
        yield server


def exchange(server: Server, request: bytes) -> Answer:
    """Make a request on a connection of its own."""
    with Wire(server) as wire:
        wire.send(request)
        return wire.answer(request.partition(b" ")[0].decode())


@pytest.mark.parametrize("name", REQUESTS)
def test_every_answer_has_them(server: Server, bare: Server, name: str) -> None:
    """Once each, and none that is for TLS; without the section, nothing is added."""
    request, status = REQUESTS[name]
    answer = exchange(server, request)
    assert status == answer.status
    for header, value in ADDED.items():
        assert [value] == answer.all(header), header
    assert answer.one(HSTS) is None
    plain = exchange(bare, request)
    assert status == plain.status
    assert {} == {header: plain.one(header) for header in ADDED if plain.one(header) is not None} or (
        plain.one("x-content-type-options") == "nosniff" and "docs" in request.decode()
    )


@pytest.mark.parametrize("name", [*REQUESTS, "a web socket"])
def test_no_answer_names_the_software(bare: Server, name: str) -> None:
    """`Server` and the like tell an attacker what to try."""
    request = WEBSOCKET if name == "a web socket" else REQUESTS[name][0]
    answer = exchange(bare, request)
    assert answer.status in (101, REQUESTS.get(name, (b"", 101))[1])
    for header in ("server", "x-powered-by", "via"):
        assert answer.one(header) is None, header


def test_an_upgrade_has_them_too(server: Server) -> None:
    """Though there is no page."""
    assert (101, "DENY") == ((answer := exchange(server, WEBSOCKET)).status, answer.one("x-frame-options"))


def test_a_refused_connection_has_them_too(launch: Launch) -> None:
    """Though none of its bytes are read."""
    server = launch({"own": PLUGIN}, ini_more=HEADERS + "[limits]\nconnections = 1\n")
    request = REQUESTS["a plugin"][0]
    with Wire(server) as held, Wire(server) as refused:
        assert 200 == held.ask(request).status
        answer = refused.ask(request)
        assert (503, ADDED) == (answer.status, {name: answer.one(name) for name in ADDED})
        assert answer.one(HSTS) is None


def test_http2_has_the_same(server: Server) -> None:
    """Answers of plugins, refusals, files, and those that no service gives."""
    targets = [
        "/own",
        "/own/stream",
        "/own/aiostream",
        "/own/raise",
        "/docs/a.txt",
        "/none",
        "/-/healthy",
        "/" + "a" * 8200,
    ]
    with Http2(server) as client:
        for target in targets:
            answer = client.ask(target)
            assert ADDED == {name: answer.headers.get(name) for name in ADDED}, target
            assert not {HSTS, "server", "via"} & set(answer.headers)
        answer = client.ask("/own", ("expect", "wonders"))
        assert (417, "DENY") == (answer.status, answer.headers["x-frame-options"])


def test_what_a_plugin_sets_stays(server: Server) -> None:
    """The others are added."""
    answer = ask(server, b"GET /own/set HTTP/1.1\r\nHost: x\r\n\r\n")
    assert ["SAMEORIGIN"] == answer.all("x-frame-options")
    assert ["default-src 'self'"] == answer.all("content-security-policy")
    assert ["no-referrer"] == answer.all("referrer-policy")


def test_hsts_is_for_tls_alone(server: Server, launch: Launch) -> None:
    """That of a proxy that is trusted, too; a request that says so itself is not believed."""
    request = b"GET %b HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: %b\r\n\r\n"
    for path in (b"/own", b"/none", b"/docs/a.txt"):
        assert "max-age=31536000; includeSubDomains" == ask(server, request % (path, b"https")).one(HSTS)
        assert ask(server, request % (path, b"http")).one(HSTS) is None
    other = launch({"own": PLUGIN}, ini_more=HEADERS + "[server]\ntrusted_proxies = none\n")
    assert ask(other, request % (b"/own", b"https")).one(HSTS) is None


def test_hsts_is_in_every_answer_by_tls(launch: Launch, tmp_path: Path) -> None:
    """By both protocols, and where there is no request; not in that to plain HTTP on the port."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    both = tmp_path / "both.pem"
    more = f"{HEADERS}\n[SSL]\nenabled = true\ncertfile = {both}\nkeyfile = {both}\n"
    server = launch({"own": PLUGIN}, ini_more=more)
    for request in (REQUESTS["a plugin"][0], REQUESTS["no host"][0], REQUESTS["no HTTP"][0]):
        with context.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
            answer = Wire(connection).ask(request)
            assert ("DENY", True) == (answer.one("x-frame-options"), answer.one(HSTS) is not None)
    with Wire(server) as plain:
        answer = plain.ask(REQUESTS["a plugin"][0])
        assert (400, "DENY", None) == (answer.status, answer.one("x-frame-options"), answer.one(HSTS))
    context.set_alpn_protocols(["h2"])
    with Http2(server, context) as client:
        for target in ("/own", "/none", "/" + "a" * 8200):
            assert HSTS in client.ask(target).headers


def test_a_reload_applies_them(launch: Launch) -> None:
    """To open connections as well."""
    server = launch({"own": PLUGIN})
    ini = Path(server.folder / "server.ini")
    request = b"GET /own HTTP/1.1\r\nHost: x\r\n\r\n"
    with Wire(server) as wire:
        for more, expected in (
            ("", None),
            ("[headers]\nX-One = 1\n", "1"),
            ("[headers]\nX-One = 2\n", "2"),
            ("", None),
        ):
            ini.write_text(INI + more)
            assert 200 == server.post("/reload/all").status_code
            assert expected == wire.fetch(request).one("x-one")
        for wrong in ("Content-Length = 1\n", "X-One =\n"):
            ini.write_text(INI + "[headers]\n" + wrong)
            assert 500 == server.post("/reload/all").status_code
        assert wire.fetch(request).one("x-one") is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Content-Length = 5", "[headers] content-length: is set by the server, where a response has it (take it out"),
        ("Transfer-Encoding = chunked", "[headers] transfer-encoding: is set by the server"),
        ("Connection = close", "[headers] connection: is set by the server"),
        ("Keep-Alive = 5", "[headers] keep-alive: is set by the server"),
        ("Upgrade = h2c", "[headers] upgrade: is set by the server"),
        ("Content-Type = text/html", "[headers] content-type: is set by the server"),
        ("Access-Control-Allow-Origin = *", "[headers] access-control-allow-origin: is for CORS"),
        ("X Frame = 1", "[headers] x frame: is not a name of a header (write letters, digits and hyphens"),
        ("X-Frame-Options =", "[headers] x-frame-options: has no value (write one, or take the header out)"),
        ("X-Name = Müller", "[headers] x-name: has a character that is not allowed in a header"),
        ("X-Number = int:5", "[headers] x-number: must be text (write the value without a type prefix)"),
        ("X-Of = ${ENV:NOWHERE_SET}", "[headers] x-of: "),
    ],
)
def test_what_cannot_be_sent_is_refused(launch: Launch, line: str, expected: str) -> None:
    """With file, line and remedy."""
    server = launch({"own": PLUGIN}, ini_more=f"[headers]\n{line}\n", ready=False)
    assert 2 == server.wait()
    number = INI.count("\n") + 3
    said = "\n".join(server.lines)
    assert f"server.ini:{number}: {expected}" in said, said
