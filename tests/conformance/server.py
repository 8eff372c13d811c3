"""The two servers as processes: pluginserver and plugincore, started as their users start them.

Both are started by their command ``pserve`` in a folder of their own with the same files. A server that has died is
started again for the next case, which is why cases may kill one.

Each server is proven to be the one that was started: its ini file has port 0, so that the system chooses a port that no
other process has, and the port is read from the system's table of what this very process listens on. Neither log names
it reliably (pluginserver writes the 0, and a level or a log file may hide the line), and a port that was only probed to
be free can be taken by another process before the server binds it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support.ports import listening_port
from support.process import Process
from support.wait import TIMEOUT, wait_until

#: Longest wait for an answer, in seconds. What takes longer is a hang.
ANSWER_TIMEOUT = 8.0

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Side:
    """One of the two programs."""

    name: str
    command: str
    environment: Mapping[str, str]


def _original() -> Side:
    python = Path(os.environ.get("PLUGINSERVER_PYTHON", ROOT / ".venv-original" / "bin" / "python"))
    command = python.parent / "pserve"
    if not command.exists():
        raise FileNotFoundError(
            f"{command} is missing: pluginserver has to be installed in an environment of its own, which `make "
            "conformance` does; PLUGINSERVER_PYTHON names the interpreter of another one"
        )
    # Both packages are called plugincore inside: nothing may lead this one to the other.
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return Side("pluginserver", str(command), {key: text for key, text in os.environ.items() if key not in hidden})


ORIGINAL = _original()
OURS = Side("plugincore", str(Path(sys.executable).parent / "pserve"), dict(os.environ))


class Server:
    """A server of one side, which can be started again.

    Attributes:
        port: Where it listens; 0 before it does.

    """

    def __init__(
        self,
        side: Side,
        folder: Path,
        options: Sequence[str] = ("-i", "server.ini"),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a server of ``side`` that runs in ``folder``, which has a ``server.ini``."""
        self.side = side
        self.folder = folder
        self.port = 0
        self._options = options
        self._environment = {**side.environment, **(env or {})}
        self._started: Process | None = None

    @property
    def process(self) -> Process:
        """The process that was started last."""
        assert self._started is not None
        return self._started

    @property
    def lines(self) -> list[str]:
        """What the process has written so far."""
        return self._started.lines if self._started else []

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._started is not None and self._started.alive

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def launch(self) -> None:
        """Start the process, without waiting for it to serve."""
        self.end()
        self.port = 0
        self._started = Process([self.side.command, *self._options], self.folder, self._environment)

    def writes(self, pattern: str, since: int = 0) -> bool:
        """Wait until a line from number ``since`` on matches; false if none comes."""
        return self.process.find_line(pattern, since) is not None

    def has_written(self, pattern: str, since: int = 0) -> bool:
        """Whether a line from number ``since`` on matches."""
        return self.process.find_line(pattern, since, timeout=0) is not None

    def start(self) -> bool:
        """Start, and wait until it serves; false if it does not."""
        self.launch()
        return self.serves()

    def serves(self) -> bool:
        """Wait until it reacts to a request; false if it ends without."""
        if not self.find_port():
            return False
        with suppress(ConnectionResetError, TimeoutError), self.connect() as connection:  # it may speak TLS only
            connection.sendall(b"GET / HTTP/1.1\r\nHost: start\r\nConnection: close\r\n\r\n")
            connection.recv(1)
        return self.alive

    def find_port(self) -> bool:
        """Wait until it listens, and note the port; false if it ends without."""

        def listens() -> bool:
            self.port = listening_port(self.pid) or 0
            return self.port != 0 or not self.alive

        with suppress(AssertionError):
            wait_until(listens, interval=0.02)
        return self.port != 0

    def connect(self) -> socket.socket:
        """Return a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_TIMEOUT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send(number)

    def wait(self, timeout: float = TIMEOUT) -> int | None:
        """Return the exit code, or None if it does not end."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Make sure that the process is gone."""
        if self._started is not None:
            self._started.end()
