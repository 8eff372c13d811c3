"""A real plugincore server: its own process, its own folder, real HTTP."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx

from support.plugins import INI, prepare
from support.process import Process
from support.wait import TIMEOUT
from support.wire import receive_all


class Server(Process):
    """A running server, or one that ended.

    Attributes:
        base_url: Where it serves, such as ``http://127.0.0.1:12345``; empty when it did not start.

    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        scheme: str = "http",
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start ``command`` in ``folder``, with ``env`` added to the environment of the tests."""
        self.base_url = ""
        self._scheme = scheme
        super().__init__(command, folder, {**os.environ, **env}, pass_fds)

    def __enter__(self) -> Server:
        """Return the server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make sure that the process is gone."""
        self.end()

    @property
    def port(self) -> int:
        """The port that it serves on."""
        return int(self.base_url.rpartition(":")[2])

    @property
    def plugins(self) -> Path:
        """The folder of its plugin files."""
        return self.folder / "plugins"

    def ready(self) -> Server:
        """Wait until it serves.

        Its own log names the port, which the system chose for it: no other server can be behind it.
        """
        # The line may be one of JSON.
        address = re.search(r"Server started on ([^\s\"]+)", self.wait_for("Server started on "))
        assert address
        self.base_url = f"{self._scheme}://{address[1]}"
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
        settings: dict[str, object] = {"base_url": self.base_url, "timeout": TIMEOUT, "trust_env": False}
        return httpx.Client(**{**settings, **options})  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        """Return a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)

    def raw(self, data: bytes) -> bytes:
        """Send bytes, close the sending side, and return all that comes until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return receive_all(connection)


#: What the fixture ``launch`` returns.
Launch = Callable[..., Server]


def command(program: str = "plugincore") -> list[str]:
    """Return the command of the installed wheel."""
    return [str(Path(sys.executable).parent / program)]


def start(
    folder: Path,
    plugins: Mapping[str, str],
    ini: str | None = INI,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    program: Sequence[str] | None = None,
    scheme: str | None = None,
    pass_fds: Sequence[int] = (),
) -> Server:
    """Write files into ``folder`` and start a server there, without waiting until it serves."""
    prepare(folder, plugins, ini)
    options = [] if ini is None else ["-i", "server.ini"]
    if "-v" not in args:
        # Tests may wait for any line.
        options += ["-v", "DEBUG"]
    if "stall_" not in (ini or ""):
        # The tests run beside each other with an unoptimised build, which is slow enough for lines nobody waits for.
        env = {"PLUGINCORE_SERVER_STALL_WARN": "none", **(env or {})}
    scheme = scheme or ("https" if ini and "[SSL]" in ini else "http")
    return Server([*(program or command()), *options, *args], folder, env or {}, scheme, pass_fds)


@contextlib.contextmanager
def serving(folder: Path, plugins: Mapping[str, str], ini_more: str = "") -> Iterator[Server]:
    """Serve ``plugins`` from ``folder``: for fixtures whose server is shared by the tests of a module."""
    with start(folder, plugins, INI + "\n" + textwrap.dedent(ini_more)) as server:
        yield server.ready()
    server.check_for_panics()
