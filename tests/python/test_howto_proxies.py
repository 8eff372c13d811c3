"""The configurations of nginx and Caddy that the documentation prints do what it says, where these programs are."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from doc_pages import read
from support.process import Process, free_port
from support.server import Launch, Server
from support.wait import TIMEOUT, wait_until

PLUGINS = {
    "who": """
        from plugincore.baseplugin import BasePlugin

        class Who(BasePlugin):
            async def request_handler(self, request, client_ip, **data):
                return 200, {"client": client_ip, "scheme": request.scheme, "host": request.host}
        """,
    "chat": next(step.text for step in read("docs/websockets.md") if "class Chat" in step.text),
    "events": """
        import asyncio
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import Event, EventSource

        class Events(BasePlugin):
            async def once(self):
                yield Event("first")
                await asyncio.Event().wait()

            async def request_handler(self, **data):
                return EventSource(self.once())
        """,
}
INI = "[network]\nbindto = 127.0.0.1\nport = 0\nhosts = list:plugins.example\n[paths]\nplugins = plugins\n"
FORGED = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "evil.example", "Forwarded": "for=192.0.2.1"}


def block(page: str) -> str:
    """Return the configuration that a page prints."""
    return next(step.text for step in read(page) if "run" in step.notes.get("unchecked", ""))


def nginx(server: Server, folder: Path, port: int) -> list[str]:
    """Configure nginx as printed, but for ports and certificates; return the command."""
    certificate = trustme.CA().issue_cert("plugins.example")
    (folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    text = block("docs/howto-nginx.md")
    for printed, ours in {
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "127.0.0.1:9192": f"127.0.0.1:{server.port}",
        "/etc/letsencrypt/live/plugins.example/fullchain.pem": str(folder / "chain.pem"),
        "/etc/letsencrypt/live/plugins.example/privkey.pem": str(folder / "key.pem"),
    }.items():
        assert printed in text
        text = text.replace(printed, ours)
    paths = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"user root;\ndaemon off;\npid {folder}/pid;\nerror_log stderr notice;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}\n{text}\n}}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(server: Server, folder: Path, port: int) -> list[str]:
    """Configure Caddy as printed, but for ports and with a certificate of its own authority; return the command."""
    text = block("docs/howto-caddy.md")
    assert text.startswith("plugins.example {\n")
    assert "127.0.0.1:9192" in text
    text = text.replace("plugins.example {\n", f"https://plugins.example:{port} {{\n    tls internal\n", 1)
    text = text.replace("127.0.0.1:9192", f"127.0.0.1:{server.port}")
    lines = ["admin off", "auto_https disable_redirects", "skip_install_trust", f"storage file_system {folder}"]
    settings = "{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
    (folder / "Caddyfile").write_text(settings + text)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(params=[nginx, caddy])
def proxy(
    request: pytest.FixtureRequest, launch: Launch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Return a client of a proxy in front of a server."""
    configure: Callable[[Server, Path, int], list[str]] = request.param
    name = configure.__name__
    assert shutil.which(name), f"make test needs {name}; on Debian: sudo apt-get install {name}"
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    program = Process(configure(launch(PLUGINS, ini=INI), folder, port), folder, {**os.environ, "HOME": str(folder)})
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(
        base_url=f"https://127.0.0.1:{port}", verify=insecure, headers={"Host": "plugins.example"}, trust_env=False
    ) as client:
        try:
            wait_until(lambda: answers(client), lambda: program.log)
            yield client
        finally:
            program.stop()  # nginx has children, which would outlive a kill


def answers(client: httpx.Client) -> bool:
    """Whether the proxy and the server behind it serve."""
    try:
        return client.get("/who", extensions={"sni_hostname": "plugins.example"}).status_code == 200
    except httpx.TransportError:
        return False


def test_the_printed_configuration_passes_on_who_the_client_is(proxy: httpx.Client) -> None:
    """And nothing that the client has written itself."""
    answer = proxy.get("/who", headers=FORGED, extensions={"sni_hostname": "plugins.example"})
    assert {"client": "127.0.0.1", "scheme": "https", "host": "plugins.example"} == answer.json()


def test_the_printed_configuration_lets_web_sockets_through(proxy: httpx.Client) -> None:
    """Messages go to and fro."""
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    connection = socket.create_connection(("127.0.0.1", proxy.base_url.port or 443), TIMEOUT)
    with connect("wss://plugins.example/chat", sock=connection, ssl=insecure, open_timeout=TIMEOUT) as chat:
        chat.send("hello")
        assert "hello" == chat.recv(TIMEOUT)


def test_the_printed_configuration_passes_on_events_at_once(proxy: httpx.Client) -> None:
    """An event arrives before the next one is there."""
    with proxy.stream("GET", "/events", extensions={"sni_hostname": "plugins.example"}, timeout=TIMEOUT) as answer:
        assert "first" in next(answer.iter_text())
