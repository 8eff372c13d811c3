"""What plugins see of clients behind proxies, and the hosts that the server answers to."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.errors import without_ids
from support.http2 import Http2
from support.server import Launch, Server, serving
from support.wire import ask

PLUGIN = """
    from plugincore.baseplugin import BasePlugin

    class Show(BasePlugin):
        async def request_handler(self, request, **data):
            return {
                "client": data["client_ip"], "remote": request.remote, "scheme": request.scheme,
                "secure": request.secure, "host": request.host, "url": str(request.url),
                "header": request.headers["Host"],
                "tls": request.transport.get_extra_info("sslcontext"),
            }
"""

TRUSTING = "[server]\ntrusted_proxies = list:127.0.0.0/8 10.0.0.0/8\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that trusts proxies on this machine."""
    with serving(tmp_path_factory.mktemp("trusting"), {"show": PLUGIN}, TRUSTING) as server:
        yield server


def seen(server: Server, *lines: str) -> dict[str, object]:
    """Return what the plugin sees of a request with these headers."""
    headers = "".join(f"{line}\r\n" for line in lines)
    answer = ask(server, f"GET /show HTTP/1.1\r\nHost: inner.test:81\r\n{headers}\r\n".encode())
    assert 200 == answer.status
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found


def test_without_a_proxy_the_connection_counts(server: Server) -> None:
    """Client, scheme and host are those of the request itself."""
    expected = {
        "client": "127.0.0.1",
        "remote": "127.0.0.1",
        "scheme": "http",
        "secure": False,
        "host": "inner.test:81",
        "url": "http://inner.test:81/show",
        "header": "inner.test:81",
        "tls": None,
    }
    assert expected == seen(server)


TOLD = {
    "x-forwarded": (
        "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop.test",
    ),
    "forwarded": (
        "Forwarded: for=6.6.6.6, for=203.0.113.9;proto=https;host=shop.test",
        'Forwarded: for="10.1.1.1:80";proto=http',
        "X-Forwarded-For: 198.51.100.1",
        "X-Forwarded-Host: other.test",
    ),
    "x-real-ip": ("X-Real-IP: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.test"),
}


@pytest.mark.parametrize("lines", TOLD.values(), ids=TOLD.keys())
def test_a_trusted_proxy_is_believed(server: Server, lines: tuple[str, ...]) -> None:
    """In every form in which proxies write it; the socket stays what it is."""
    expected = {
        "client": "203.0.113.9",
        "remote": "203.0.113.9",
        "scheme": "https",
        "secure": True,
        "host": "shop.test",
        "url": "https://shop.test/show",
        "header": "shop.test",
        "tls": None,
    }
    assert expected == seen(server, *lines)


@pytest.mark.parametrize("lines", TOLD.values(), ids=TOLD.keys())
def test_any_other_client_is_not(launch: Launch, lines: tuple[str, ...]) -> None:
    """What it says changes nothing."""
    server = launch({"show": PLUGIN}, ini_more="[server]\ntrusted_proxies = none\n")
    assert seen(server) == seen(server, *lines)


HOSTS = """
[network]
bindto = 127.0.0.1
port = 0
hosts = list:App.test 127.0.0.1 [::1]

[paths]
plugins = plugins
"""


def status(server: Server, host: str, path: str = "/show", more: str = "") -> tuple[int, str]:
    """Return status and body of the answer to a request for this host."""
    answer = ask(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
    return answer.status, answer.body.decode() if answer.status < 400 else without_ids(answer.body)


def test_only_the_named_hosts_are_answered_to(launch: Launch) -> None:
    """By both versions of HTTP, in any case and with any port; health checks are answered in any case."""
    server = launch({"show": PLUGIN}, ini=HOSTS)
    for host in ("app.test", "APP.TEST:8080", "app.test.", "127.0.0.1:1", "[::1]"):
        assert 200 == status(server, host)[0], host
    refusal = (421, '{"error": "this server does not answer to this host name"}')
    for host in ("evil.test", "app.test.evil.test", "localhost", ""):
        assert refusal == status(server, host), host
        assert refusal == status(server, host, "/nowhere")
        assert 200 == status(server, host, "/-/healthy")[0]
        assert 200 == status(server, host, "/-/ready")[0]
    assert 421 == ask(server, b"GET /show HTTP/1.0\r\n\r\n").status
    with Http2(server) as client:
        assert 200 == client.ask("/show", authority="app.test").status
        assert 421 == client.ask("/show", authority="evil.test").status
        assert client.still_serves()


def test_behind_a_proxy_the_host_is_the_one_that_the_client_asked_for(launch: Launch) -> None:
    """The proxy itself may use another."""
    server = launch({"show": PLUGIN}, ini=HOSTS)
    assert 200 == status(server, "backend", more="X-Forwarded-Host: app.test\r\n")[0]
    assert 421 == status(server, "app.test", more="X-Forwarded-Host: evil.test\r\n")[0]


@pytest.mark.parametrize("hosts", ["list:a.test b/c", "http://a.test", "list:"])
def test_what_is_no_host_is_an_error(launch: Launch, hosts: str) -> None:
    """At the start, with file and line."""
    server = launch({}, ini=HOSTS.replace("list:App.test 127.0.0.1 [::1]", hosts), ready=False)
    assert 2 == server.wait()
    assert "server.ini:5: [network] hosts: " in server.log
