"""A real server for each test: its own process, its own folder, real HTTP."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx
import pytest

#: Longest wait for something that a server is expected to say or do, in seconds.
PATIENCE = 20.0

INI = """\
[network]
bindto = 127.0.0.1
port = 0

[paths]
plugins = plugins
"""


class Server:
    """A running server, or one that ended.

    Attributes:
        folder: Working directory; holds ``server.ini`` and ``plugins/``.
        base_url: Where it serves, such as ``http://127.0.0.1:12345``; empty when it did not start.
        lines: What it has written to its output so far.

    """

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        """Start ``command`` in ``folder``."""
        self.folder = folder
        self.lines: list[str] = []
        self.base_url = ""
        self._fresh: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._fresh.put(line)
        self._fresh.put(None)

    def __enter__(self) -> Server:
        """Return the server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make sure that the process is gone."""
        self.end()

    def end(self) -> None:
        """Make sure that the process is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def log(self) -> str:
        """Everything it has written so far."""
        return "\n".join(self.lines)

    @property
    def port(self) -> int:
        """The port that it serves on."""
        return int(self.base_url.rpartition(":")[2])

    @property
    def plugins(self) -> Path:
        """The folder of its plugin files."""
        return self.folder / "plugins"

    def wait_for(self, pattern: str, since: int = 0) -> str:
        """Wait until a line, from the one numbered ``since`` on, matches ``pattern``; return that line."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for line in self.lines[since:]:
                if re.search(pattern, line):
                    return line
            try:
                ended = self._fresh.get(timeout=max(0.0, deadline - time.monotonic())) is None
            except queue.Empty:
                ended = True
            if ended and not any(re.search(pattern, line) for line in self.lines[since:]):
                raise AssertionError(f"no line matches {pattern!r}; the output is:\n{self.log}")

    def ready(self) -> Server:
        """Wait until it serves."""
        started = self.wait_for(r"Server started on ")
        scheme = "https" if "https" in (self.folder / "scheme").read_text() else "http"
        self.base_url = f"{scheme}://{started.rpartition(' ')[2]}"
        return self

    def request(self, method: str, path: str, **options: object) -> httpx.Response:
        """Make one request on a connection of its own."""
        with self.client() as client:
            return client.request(method, path, **options)  # type: ignore[arg-type]

    def get(self, path: str, **options: object) -> httpx.Response:
        """GET ``path``."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: object) -> httpx.Response:
        """POST to ``path``."""
        return self.request("POST", path, **options)

    def client(self, **options: object) -> httpx.Client:
        """Return a client that keeps its connections."""
        settings: dict[str, object] = {"base_url": self.base_url, "timeout": PATIENCE, "trust_env": False}
        return httpx.Client(**{**settings, **options})  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        """Return a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def raw(self, data: bytes) -> bytes:
        """Send bytes, say nothing more, and return all that comes until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return receive_all(connection)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask for a stop, wait for the end, and return the exit code."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


def receive_all(connection: socket.socket) -> bytes:
    """Return everything that comes until the other side closes."""
    received = b""
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


#: What the fixture :func:`launch` returns.
Launch = Callable[..., Server]


def command(program: str = "plugincore") -> list[str]:
    """Return the command of the installed wheel."""
    return [str(Path(sys.executable).parent / program)]


def prepare(folder: Path, plugins: Mapping[str, str], ini: str | None) -> None:
    """Write plugin files (their names without ``.py``, unless they have an ending) and the ini file."""
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    for name, source in plugins.items():
        file = folder / "plugins" / (name if "." in name else f"{name}.py")
        file.write_text(textwrap.dedent(source))
    if ini is not None:
        (folder / "server.ini").write_text(textwrap.dedent(ini))
    (folder / "scheme").write_text("https" if ini and "[SSL]" in ini else "http")


@contextlib.contextmanager
def serving(folder: Path, plugins: Mapping[str, str], ini_more: str = "") -> Iterator[Server]:
    """Serve ``plugins`` from ``folder``: for fixtures whose server is shared by the tests of a module."""
    prepare(folder, plugins, INI + "\n" + textwrap.dedent(ini_more))
    with Server([*command(), "-i", "server.ini"], folder, {}) as server:
        yield server.ready()
    assert "panicked at" not in server.log, server.log


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Return a function that starts servers; they are gone when the test ends.

    ``launch(plugins, ini=…, ini_more=…, args=…, env=…, program=…, ready=True)``: ``plugins`` maps names of plugin files
    to their sources, ``ini_more`` is added to the usual ini file, ``ini=None`` starts without one.
    """
    servers: list[Server] = []

    def start(
        plugins: Mapping[str, str] | None = None,
        *,
        ini: str | None = INI,
        ini_more: str = "",
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        program: Sequence[str] | None = None,
        folder: Path | None = None,
        ready: bool = True,
    ) -> Server:
        where = folder or tmp_path / f"server{len(servers)}"
        text = None if ini is None else textwrap.dedent(ini) + "\n" + textwrap.dedent(ini_more)
        prepare(where, plugins or {}, text)
        options = [] if ini is None else ["-i", "server.ini"]
        server = Server([*(program or command()), *options, *args], where, env or {})
        servers.append(server)
        return server.ready() if ready else server

    yield start
    for server in servers:
        server.end()
        assert "panicked at" not in server.log, server.log
