"""The two servers as processes: pluginserver and plugincore, started as their users start them.

Both are started by their command ``pserve`` in a folder of their own with the same files; only the port differs. A
server that has died is started again for the next case, which is why cases may kill one.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Longest wait for a start or an end, in seconds.
PATIENCE = 20.0

#: What stands for the server's port in ini files.
PORT = "PORT"

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
    """A server process in a folder of its own."""

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
        self.starts = 0
        self.lines: list[str] = []
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._fresh: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def launch(self) -> None:
        """Start the process, without waiting for it to serve."""
        self.end()
        self.port = self.port or free_port()
        self.keep_port()
        self.starts += 1
        self.lines = []
        self._fresh = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [self.side.command, *self._options],
            cwd=self.folder,
            env=dict(self.side.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        threading.Thread(target=self._read, args=(self._process, self.lines, self._fresh), daemon=True).start()

    def keep_port(self) -> None:
        """Put the port into the ini files, which say PORT instead."""
        for ini in self.folder.glob("*.ini"):
            ini.write_bytes(ini.read_bytes().replace(PORT.encode(), str(self.port).encode()))

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: list[str], fresh: queue.SimpleQueue[str | None]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                fresh.put(line)
        fresh.put(None)

    def says(self, pattern: str, since: int = 0) -> bool:
        """Wait until a line from ``since`` on matches; false if it ends, or keeps silent, without writing one."""
        deadline = time.monotonic() + PATIENCE
        while not self.has_said(pattern, since):
            try:
                if self._fresh.get(timeout=max(0.0, deadline - time.monotonic())) is None:
                    return self.has_said(pattern, since)
            except queue.Empty:
                return False
        return True

    def has_said(self, pattern: str, since: int = 0) -> bool:
        """Tell whether a line from ``since`` on matches."""
        return any(re.search(pattern, line) for line in self.lines[since:])

    def start(self) -> bool:
        """Start, and wait until it serves; false if it does not."""
        self.launch()
        return self.serves()

    def serves(self) -> bool:
        """Wait until it reacts to a request; false if it ends without."""
        deadline = time.monotonic() + PATIENCE
        while self.alive and time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: start\r\nConnection: close\r\n\r\n")
                    connection.recv(1)
            except ConnectionRefusedError:
                time.sleep(0.02)
                continue
            except (ConnectionResetError, TimeoutError):
                pass  # it may speak TLS only
            return self.alive
        return False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int | None:
        """Return the exit code, or None if it does not end."""
        assert self._process is not None
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Make sure that the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
