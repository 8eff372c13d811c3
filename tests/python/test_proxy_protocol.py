"""The PROXY protocol, both versions: a proxy says for whom it connects, and everything goes by that."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.http2 import Http2
from support.plugins import prepare
from support.server import Launch, Server, command, start
from support.wait import TIMEOUT, wait_until

SEES = """
    from plugincore.baseplugin import BasePlugin

    class Sees(BasePlugin):
        def request_handler(self, request, client_ip, **data):
            transport = request.transport
            names = ("peername", "sockname")
            return 200, {
                "client": client_ip,
                "remote": request.remote,
                "secure": request.secure,
                **{name: transport.get_extra_info(name) for name in names},
            }
"""

LIMITED = """
    from plugincore.baseplugin import BasePlugin

    class Limited(BasePlugin):
        def request_handler(self, **data):
            return 200, "ok"
"""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPECIFIED, TCP4, TCP6, UNIX = 0x00, 0x11, 0x21, 0x31

REQUEST = b"GET /sees HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n"
MORE = "[plugin limited]\nrate = 1/h\n"


def binary(client: str, port: int = 4711, *, tlv: bytes = b"") -> bytes:
    """Return a header of version 2 for a client."""
    address = ipaddress.ip_address(client)
    server = ipaddress.ip_address("192.0.2.1" if address.version == 4 else "2001:db8::1")
    block = address.packed + server.packed + struct.pack("!HH", port, 443) + tlv
    return block_of(PROXY, TCP4 if address.version == 4 else TCP6, block)


def block_of(what: int, family: int, block: bytes = b"") -> bytes:
    """Return a header of version 2."""
    return SIGNATURE + bytes([what, family]) + struct.pack("!H", len(block)) + block


def line(client: str, port: int = 4711) -> bytes:
    """Return a header of version 1 for a client."""
    family, server = ("TCP6", "2001:db8::1") if ":" in client else ("TCP4", "192.0.2.1")
    return f"PROXY {family} {client} {server} {port} 443\r\n".encode()


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes; a reset is such an end."""
    data = b""
    try:
        while more := connection.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


def ask(server: Server, header: bytes, request: bytes = REQUEST, pieces: int = 0) -> bytes:
    """Return the answer to a request behind a header, in pieces of so many bytes."""
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = header + request
        for start in range(0, len(data), pieces or len(data)):
            connection.sendall(data[start : start + (pieces or len(data))])
            if pieces:
                wait_until(lambda: is_read(connection), interval=0)  # so that the pieces do not arrive as one
        return received(connection)


def is_read(connection: socket.socket) -> bool:
    """Return whether the server, on this machine, has read what was sent, or has closed the connection."""
    ends = [
        f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
        for host, port in (connection.getpeername(), connection.getsockname())
    ]
    for entry in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, queues, *_ = entry.split()
        if [local, remote] == ends:
            return state != "01" or queues.endswith(":00000000")
    return True


def body(answer: bytes) -> dict[str, object]:
    """Return the body of an answer, which must be a success."""
    head, _, text = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer
    return dict(json.loads(text))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve behind proxies on this machine."""
    more = "[network]\nbindto = 127.0.0.1\nport = 0\nproxy_protocol = on\n[paths]\nplugins = plugins\n" + MORE
    folder = tmp_path_factory.mktemp("proxied")
    with start(folder, {"sees": SEES, "limited": LIMITED}, more) as started:
        yield started.ready()
    started.check_for_panics()


@pytest.mark.parametrize("pieces", [0, 1, 7])
@pytest.mark.parametrize("header", [line, binary])
@pytest.mark.parametrize("client", ["203.0.113.9", "2001:db8::9"])
def test_the_client_is_the_one_that_the_header_names(server: Server, header: object, client: str, pieces: int) -> None:
    """However its bytes arrive."""
    seen = body(ask(server, header(client), pieces=pieces))  # type: ignore[operator]
    assert {client} == {seen["client"], seen["remote"]}
    assert [client, 4711] == list(seen["peername"])[:2]  # type: ignore[call-overload]
    assert ["2001:db8::1" if ":" in client else "192.0.2.1", 443] == list(seen["sockname"])[:2]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY UNKNOWN\r\n", "unknown"),
        (b"PROXY UNKNOWN what ever 1 2\r\n", "unknown"),
        (block_of(PROXY, UNSPECIFIED), "unknown"),
        (block_of(PROXY, UNIX, bytes(216)), "unknown"),
        (block_of(LOCAL, UNSPECIFIED), "127.0.0.1"),
        (block_of(LOCAL, TCP4, bytes(12)), "127.0.0.1"),
        (binary("203.0.113.9", tlv=b"\x04\0\x03abc" + b"\x20\x04\0" + bytes(1024)), "203.0.113.9"),
    ],
)
def test_other_headers(server: Server, header: bytes, client: str) -> None:
    """A client that the proxy does not know is unknown, LOCAL is the proxy itself, and TLVs are skipped."""
    assert client == body(ask(server, header))["client"]


@pytest.mark.parametrize(
    "data",
    [
        REQUEST,
        b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\n" + REQUEST,
        b"PROXY TCP4 203.0.113.9 192.0.2.1 4711\r\n" + REQUEST,
        b"PROXY TCP4 203.0.113.999 192.0.2.1 4711 443\r\n" + REQUEST,
        b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n" + REQUEST,
        block_of(PROXY, TCP6, bytes(12)) + REQUEST,
        block_of(PROXY, 0x12, bytes(12)) + REQUEST,
        block_of(0x22, TCP4, bytes(12)) + REQUEST,
        SIGNATURE + b"\x21\x11\xff\xff",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"P\0",
    ],
)
def test_what_is_no_header_closes_the_connection_at_once(server: Server, data: bytes) -> None:
    """It is not guessed that there is none: everyone who reaches the port could say who it is then."""
    began = time.monotonic()
    with server.connect() as connection:
        connection.sendall(data)
        assert b"" == received(connection)
    assert time.monotonic() - began < TIMEOUT / 2


def test_what_is_missing_is_logged(launch: Launch) -> None:
    """Ten times a minute; a proxy that only looks whether someone is there is not mentioned."""
    server = launch({"sees": SEES}, ini=proxied("port = 0"))
    with server.connect():
        pass
    server.wait_for("a proxy left without a PROXY header")
    for _ in range(15):
        assert b"" == ask(server, b"")
    server.wait_for(r"WARN - .*127\.0\.0\.1 - connection closed: no PROXY header, which \[network\] proxy_protocol")
    assert 10 == server.log.count("connection closed: no PROXY header")


def proxied(network: str, sections: str = "") -> str:
    """Return an ini file with the PROXY protocol."""
    return f"[network]\n{network}\nproxy_protocol = on\n[paths]\nplugins = plugins\n{sections}"


def test_a_header_that_does_not_come_is_not_waited_for(launch: Launch) -> None:
    """`head_time` is for it, too."""
    server = launch({"sees": SEES}, ini=proxied("port = 0", "[limits]\nhead_time = 300ms\n"))
    for part in (b"", b"PROXY TCP4 203", SIGNATURE + b"\x21"):
        with server.connect() as connection:
            connection.sendall(part)
            assert b"" == received(connection)
    server.wait_for("connection closed: no whole PROXY header within head_time")


def test_a_header_that_does_not_come_does_not_delay_the_end(launch: Launch) -> None:
    """No more than a client without a request does."""
    server = launch({"sees": SEES}, ini=proxied("port = 0", "[limits]\nhead_time = none\n"))
    with server.connect() as connection:
        connection.sendall(b"PROXY TCP4 203")
        # Who is answered after it has been accepted after it.
        assert "203.0.113.9" == body(ask(server, binary("203.0.113.9")))["client"]
        assert 0 == server.stop()
        assert b"" == received(connection)


def test_only_trusted_proxies_may_connect(launch: Launch) -> None:
    """Others are closed whatever they send, and the log has their address."""
    server = launch({"sees": SEES}, ini=proxied("port = 0", "[server]\ntrusted_proxies = 192.0.2.0/24\n"))
    for header in (b"", line("203.0.113.9"), binary("203.0.113.9")):
        with server.connect() as connection:
            try:
                connection.sendall(header + REQUEST)
            except (BrokenPipeError, ConnectionResetError):
                continue
            assert b"" == received(connection)
    server.wait_for(r"127\.0\.0\.1 - connection closed: with \[network\] proxy_protocol, only trusted_proxies may")


def test_forwarded_headers_count_only_if_the_named_client_is_a_proxy_itself(server: Server) -> None:
    """The address of the header is the other end of the connection, for this as for everything."""
    forwarded = REQUEST.replace(b"Host:", b"X-Forwarded-For: 198.51.100.1\r\nHost:")
    assert "203.0.113.9" == body(ask(server, binary("203.0.113.9"), forwarded))["client"]
    assert "198.51.100.1" == body(ask(server, binary("127.0.0.1"), forwarded))["client"]


def test_policies_go_by_the_named_client(server: Server) -> None:
    """Rates, and who may control the server; the log has its address."""
    limited = REQUEST.replace(b"/sees", b"/limited")
    of = [binary(f"203.0.113.{last}") for last in (20, 21)]
    statuses = [ask(server, header, limited)[9:12] for header in (of[0], of[0], of[1])]
    assert [b"200", b"429", b"200"] == statuses
    reload = REQUEST.replace(b"/sees", b"/reload/all")
    assert b"403" == ask(server, of[0], reload)[9:12]
    assert b"403" == ask(server, b"PROXY UNKNOWN\r\n", reload)[9:12]


def test_wrong_keys_are_those_of_the_named_client(launch: Launch) -> None:
    """Another one is not locked out."""
    more = "[auth]\napikey = right\n[limits]\nwrong_keys = 1/m\n"
    server = launch({"sees": SEES}, ini=proxied("port = 0", more))
    ones = [line(f"203.0.113.{last}") for last in (1, 2)]
    with_key = REQUEST.replace(b"Host:", b"X-Custom-Auth: wrong\r\nHost:")
    control = with_key.replace(b"/sees", b"/plugins")
    statuses = [ask(server, header, control)[9:12] for header in (ones[0], ones[0], ones[0], ones[1])]
    assert b"429" == statuses[2]
    assert b"403" == statuses[3]
    server.wait_for(r"203\.0\.113\.1 - ")


def test_connections_are_counted_by_the_named_client(launch: Launch) -> None:
    """The proxy may have any number; one that it connects for itself is not counted, either."""
    server = launch({"sees": SEES}, ini=proxied("port = 0", "[limits]\nconnections_per_client = 1\n"))
    kept = REQUEST.replace(b"Connection: close\r\n", b"")
    with server.connect() as held:
        held.sendall(binary("203.0.113.1") + kept)
        assert held.recv(4096).startswith(b"HTTP/1.1 200")
        assert ask(server, binary("203.0.113.1")).startswith(b"HTTP/1.1 503 ")
        assert "203.0.113.2" == body(ask(server, binary("203.0.113.2")))["client"]
        assert "127.0.0.1" == body(ask(server, block_of(LOCAL, UNSPECIFIED)))["client"]
    server.wait_for(r"too many connections: 1 refused, the last from 203\.0\.113\.1, which has 1 already")


def test_the_header_comes_before_http2(server: Server) -> None:
    """With prior knowledge; all streams are of the client that it names."""
    connection = server.connect()
    connection.sendall(binary("203.0.113.9"))
    with Http2(connection) as client:
        for number in [client.begin("/sees") for _ in range(2)]:
            assert b'"client": "203.0.113.9"' in client.answer(number).body


def test_the_header_comes_before_tls(launch: Launch, tmp_path: Path) -> None:
    """For HTTP/1.1 and HTTP/2."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    files = f"certfile = {tmp_path / 'cert.pem'}\nkeyfile = {tmp_path / 'key.pem'}\n"
    server = launch({"sees": SEES}, ini=proxied("port = 0", f"[SSL]\nenabled = on\n{files}"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    for header in (line("203.0.113.9"), binary("203.0.113.9")):
        with server.connect() as connection:
            connection.sendall(header)
            with context.wrap_socket(connection, server_hostname="127.0.0.1") as secure:
                secure.sendall(REQUEST)
                seen = body(received(secure))  # type: ignore[arg-type]
        assert ("203.0.113.9", True) == (seen["client"], seen["secure"])
    with server.connect() as connection:
        connection.sendall(REQUEST)
        assert b"" == received(connection)
    context.set_alpn_protocols(["h2"])
    connection = server.connect()
    connection.sendall(binary("203.0.113.9"))
    with Http2(connection, context) as client:
        assert b'"client": "203.0.113.9"' in client.answer(client.begin("/sees")).body


def test_the_protocol_by_a_unix_socket(launch: Launch) -> None:
    """Of proxies that are trusted by the word for it."""
    sections = "[server]\ntrusted_proxies = unix\n"
    server = launch({"sees": SEES}, ini=proxied("listen = unix:x.sock", sections), ready=False)
    server.wait_for("Serving .*/sees")
    for header, client in (
        (line("203.0.113.9"), "203.0.113.9"),
        (binary("2001:db8::9"), "2001:db8::9"),
        (block_of(LOCAL, UNSPECIFIED), "unix"),
        (block_of(PROXY, UNSPECIFIED), "unknown"),
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(server.folder / "x.sock"))
            for byte in header:
                connection.sendall(bytes([byte]))
            connection.sendall(REQUEST)
            assert client == body(received(connection))["client"]


def test_a_reload_switches_it_for_new_connections(launch: Launch) -> None:
    """A connection that is there keeps its client."""
    server = launch({"sees": SEES}, ini=proxied("port = 0"))
    kept = REQUEST.replace(b"Connection: close\r\n", b"")
    with server.connect() as held:
        held.sendall(binary("203.0.113.1") + kept)
        assert b'"203.0.113.1"' in held.recv(4096)
        text = (server.folder / "server.ini").read_text()
        (server.folder / "server.ini").write_text(text.replace("proxy_protocol = on", "proxy_protocol = off"))
        reload = REQUEST.replace(b"/sees", b"/reload/all").replace(b"app.example", b"localhost")
        assert b"200" == ask(server, block_of(LOCAL, UNSPECIFIED), reload)[9:12]
        assert "127.0.0.1" == body(ask(server, b""))["client"]
        held.sendall(kept)
        assert b'"203.0.113.1"' in held.recv(4096)


def test_it_needs_proxies_that_are_trusted(tmp_path: Path) -> None:
    """A server to which nobody could connect is refused with the line."""
    prepare(tmp_path, {"sees": SEES}, proxied("port = 0", "[server]\ntrusted_proxies = none\n"))
    with Server([*command(), "-i", "server.ini"], tmp_path, {}) as refused:
        assert 2 == refused.wait(), refused.log
    assert "server.ini:3: [network] proxy_protocol: is on, but only trusted proxies may connect" in refused.log
