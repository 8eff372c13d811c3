"""Everything is changed while clients ask the whole time, and no answer is missing, wrong or mixed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import ssl
import threading
import time
from pathlib import Path

import aiohttp
import pytest
import trustme

import test_upgrade
from support.clients import Clients
from support.http2 import Stream
from support.http2_clients import Http2Clients
from support.server import Launch, Server
from support.wait import TIMEOUT, wait_until

new_processes = test_upgrade.new_processes

#: A plugin that says which version it has of each of its parts: file, helper, parameter.
PLUGIN = """
import helper_{name}
from plugincore.baseplugin import BasePlugin

VERSION = {version}

class {title}(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rules = kwargs["rules"]

    async def request_handler(self, **data):
        return 200, {{"file": VERSION, "helper": helper_{name}.VERSION, "rules": self.rules}}
"""

SOCKET = """
from aiohttp import web
from plugincore.baseplugin import BasePlugin

VERSION = {version}

class {title}(BasePlugin):
    async def request_handler(self, request, **data):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{{VERSION}} {{message.data}}")
        return socket
"""

STREAM = """
import asyncio
from plugincore.baseplugin import BasePlugin
from plugincore.responses import EventSource

VERSION = {version}

class {title}(BasePlugin):
    async def request_handler(self, **data):
        async def tell():
            number = 0
            while True:
                yield f"{{VERSION}} {{number}}"
                number += 1
                await asyncio.sleep(0.01)
        return EventSource(tell())
"""

SOURCES = {"a": PLUGIN, "b": PLUGIN, "c": PLUGIN, "socket": SOCKET, "stream": STREAM}

INI = """
[network]
bindto = 127.0.0.1
port = 0

[paths]
plugins = plugins
pidfile = server.pid

[SSL]
enabled = true
certfile = cert.pem
keyfile = key.pem

[cors]
enabled = true
origin_url = http://{rules}.test

[plugin_parms]
a = rules={rules}
b = rules={rules}
c = rules={rules}
"""


class Judges(Clients):
    """Clients that look at each answer as a whole: all parts of it are to be of one version."""

    def __init__(self, server: Server, path: str, context: ssl.SSLContext, number: int) -> None:
        """Prepare clients for ``path``."""
        super().__init__(server.port, path, lambda status, body: status == 200, number)
        self._context = context
        self._headers = {"Origin": "http://odd.test"}

    def is_right(self, answer: http.client.HTTPResponse, body: bytes) -> bool:
        """Look at the answer as a whole."""
        return is_whole(answer.status, answer.getheader("Access-Control-Allow-Origin"), body)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=TIMEOUT, context=self._context)


def is_whole(status: int, allowed: str | None, body: bytes) -> bool:
    """Compare file with helper, and the plugin's parameter with the rules that the server went by."""
    if status != 200:
        return False
    parts = dict(part.split(": ") for part in body.decode().strip("{}").split(", "))
    return parts['"file"'] == parts['"helper"'] and (parts['"rules"'] == '"odd"') == (allowed == "http://odd.test")


def is_whole_stream(answer: Stream) -> bool:
    """Compare the same of an answer by HTTP/2."""
    return is_whole(answer.status, answer.headers.get("access-control-allow-origin"), answer.body)


class Listeners:
    """A WebSocket and an event stream, each of which is opened again when it ends as it should.

    Attributes:
        faults: What went wrong, a line each.
        messages: How many messages have come, and ends of a WebSocket and of a stream.

    """

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        """Prepare to listen to the plugins ``socket`` and ``stream``."""
        self.faults: list[str] = []
        self.messages = {"socket": 0, "stream": 0, "socket ends": 0, "stream ends": 0}
        self._ended = False
        self._url, self._context = f"https://127.0.0.1:{server.port}", context
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)

    def __enter__(self) -> Listeners:
        """Begin, and wait for the first messages."""
        self._thread.start()
        wait_until(lambda: self.faults or (self.messages["socket"] and self.messages["stream"]))
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended = True
        self._thread.join(TIMEOUT)

    async def _listen(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._context, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(self._repeat(self._socket, session), self._repeat(self._stream, session))

    async def _repeat(self, listen: object, session: aiohttp.ClientSession) -> None:
        while not self._ended and not self.faults:
            try:
                await listen(session)  # type: ignore[operator]
            except Exception as error:
                self.faults.append(f"{listen.__name__}: {error!r}")  # type: ignore[attr-defined]

    async def _socket(self, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{self._url}/socket") as socket:
            versions, number = set(), 0
            while not self._ended:
                # If the server has closed it, what it said comes next.
                with contextlib.suppress(ConnectionError):
                    await socket.send_str(str(number))
                message = await socket.receive(TIMEOUT)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    code = message.data if message.type is aiohttp.WSMsgType.CLOSE else socket.close_code
                    assert code == 1001, (message, socket.close_code)
                    self.messages["socket ends"] += 1
                    return
                version, echo = message.data.split()
                versions.add(version)
                assert (echo, 1) == (str(number), len(versions)), message
                number += 1
                self.messages["socket"] += 1
                await asyncio.sleep(0.005)

    async def _stream(self, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{self._url}/stream") as response:
            assert response.status == 200, response.status
            versions, expected = set(), 0
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                version, number = line.removeprefix(b"data: ").split()
                versions.add(version)
                assert (expected, 1) == (int(number), len(versions)), line
                expected += 1
                self.messages["stream"] += 1
                if self._ended:
                    return
            # Whoever cuts it off in the middle of a chunk has aiohttp raise.
            self.messages["stream ends"] += 1


def write(folder: Path, version: int) -> None:
    """Write all plugins and helpers anew."""
    for name, source in SOURCES.items():
        (folder / f"helper_{name}.py").write_text(f"VERSION = {version}\n")
        (folder / f"{name}.py").write_text(source.format(name=name, title=name.title(), version=version))


def certify(authority: trustme.CA, folder: Path) -> bytes:
    """Write another certificate and its key; return it as clients see it."""
    pair = authority.issue_cert("127.0.0.1")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    (folder / "key.pem").write_bytes(pair.private_key_pem.bytes())
    return ssl.PEM_cert_to_DER_cert(pair.cert_chain_pems[0].bytes().decode())


def certificate(server: Server, context: ssl.SSLContext) -> bytes | None:
    """Return the certificate that a new connection gets."""
    with context.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
        return connection.getpeercert(binary_form=True)


@pytest.mark.timeout(600)
def test_nothing_is_lost_whatever_is_changed(launch: Launch, new_processes: list[int], tmp_path: Path) -> None:
    """Plugins are reloaded 100 times, rules and certificate change, the server restarts five times and upgrades thrice.

    Fifty connections of HTTP/1.1 and six of HTTP/2 ask the whole time, without trying anything again.
    """
    authority = trustme.CA()
    # One of its own for what changes the server: httpx sets protocols of the context that it is given, at each
    # connection, which the others must not read at that moment.
    context, own_context = ssl.create_default_context(), ssl.create_default_context()
    for one in (context, own_context):
        authority.configure_trust(one)
    folder = tmp_path / "live"
    (folder / "plugins").mkdir(parents=True)
    certify(authority, folder)
    write(folder / "plugins", 0)
    server = launch({}, ini=INI.format(rules="even"), folder=folder, scheme="https")
    reloads = 0

    def post(path: str) -> None:
        with server.client(verify=own_context, timeout=120) as client:
            response = client.post(path)
        assert 200 == response.status_code, response.text

    def restart() -> None:
        since = len(server.lines)
        os.kill(test_upgrade.pid_of_service(server), signal.SIGUSR1)
        server.wait_for("Server started on", since)

    begun = time.monotonic()
    judges = [Judges(server, f"/{name}", context, 16) for name in "abc"]
    multiplexed = ssl.create_default_context()
    authority.configure_trust(multiplexed)
    multiplexed.set_alpn_protocols(["h2"])
    origin = [("origin", "http://odd.test")]
    streams = Http2Clients(server, ["/a", "/b", "/c"] * 2, is_whole_stream, multiplexed, origin)
    with judges[0], judges[1], judges[2], streams, Listeners(server, context) as listeners:

        def go_on() -> None:
            for one in judges:
                one.go_on(20)
            streams.go_on(20)
            assert not listeners.faults, listeners.faults

        for number in range(1, 101):
            write(folder / "plugins", number)
            for name in SOURCES:
                post(f"/reload/{name}")
                reloads += 1
            if number % 10 == 0:
                other = certify(authority, folder)
                (folder / "server.ini").write_text(INI.format(rules="odd" if number % 20 else "even"))
                post("/reload/all")
                assert other == certificate(server, context)
                go_on()
            if number % 20 == 0:
                restart()
                go_on()
            if number % 33 == 0:
                test_upgrade.upgrade(server, new_processes)
                go_on()
        go_on()
    seconds = time.monotonic() - begun
    answers = sum(one.answers for one in judges)
    print(f"{streams.answers} answers by HTTP/2, over {streams.connections} connections")
    print(f"{reloads} reloads, {answers} answers in {seconds:.0f} s: {answers / seconds:.0f}/s; {listeners.messages}")
    assert not listeners.faults, listeners.faults
    assert 500 == reloads
    assert min(listeners.messages.values()) > 100
    os.kill(new_processes[-1], signal.SIGTERM)
    assert 0 == test_upgrade.exit_code(new_processes[-1])
