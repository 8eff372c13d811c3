"""The server process: its folder, its start, what it wrote, its end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.wait import wait_until

PLUGINS = Path(__file__).parent / "plugins"

#: Places for requests: in all, and in one plugin.
MAX_IN_FLIGHT = 160
MAX_IN_PLUGIN = 80
BODY_LIMIT = 256 * 1024
KEY = "the right key"

INI = f"""\
[network]
bindto = 127.0.0.1
port = 0

[paths]
plugins = plugins
documents = static:static

[server]
shutdown_timeout = 20

[limits]
in_flight = {MAX_IN_FLIGHT}
in_flight_per_plugin = {MAX_IN_PLUGIN}
body_size = {BODY_LIMIT}
queue_time = 60s
wrong_keys = none

[plugin_parms]
locked = auth_type=plugin&apikey={KEY.replace(" ", "+")}
"""

#: Lines that report a fault: records at ERROR and worse, and what is written past the log.
BAD = re.compile(r"^<[0-3]>|panicked at|Fatal Python error|^Traceback|Segmentation fault|Task was destroyed")
#: Those that the traffic provokes.
PROVOKED = re.compile(
    r"deliberate|: the earlier version goes on serving$|a tuple of 4 items; return \(code, body\)"
    r"|: \d+ more in the last \d+ s$"
)


class Server:
    """A server process with the stress test's plugins."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        """Prepare ``folder``; ``command`` is the server's, without options."""
        self.folder = folder
        self.command = command
        self.log = folder / "server.log"
        shutil.copytree(PLUGINS / "common", folder / "plugins" / "common")
        (folder / "static").mkdir()
        (folder / "static" / "large.bin").write_bytes(bytes(4_000_000))
        self.port = 0
        (folder / "server.ini").write_text(INI)
        for name in self.files():
            self.write(name, 0)

    @staticmethod
    def files() -> list[str]:
        """Return the names of the plugin files."""
        return sorted(file.stem for file in PLUGINS.glob("*.py"))

    def write(self, name: str, generation: int, more: str = "") -> None:
        """Write a plugin file, with ``more`` at its end, in one step as an editor does."""
        text = (PLUGINS / f"{name}.py").read_text().replace("GENERATION = 0", f"GENERATION = {generation}")
        new = self.folder / f"{name}.new"
        new.write_text(text + more)
        new.replace(self.folder / "plugins" / f"{name}.py")

    def start(self) -> None:
        """Start it and wait until it serves; its own log names the port, which the system chose for it alone."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, "-i", "server.ini"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            )

        def port() -> int:
            text = self.log.read_text(errors="replace")
            if self.process.poll() is not None:
                raise SystemExit(f"the server does not start:\n{text}")
            started = re.search(r"Server started on [\d.]+:(\d+)$", text, re.MULTILINE)
            return int(started[1]) if started else 0

        self.port = wait_until(port, lambda: self.log.read_text(errors="replace"), timeout=60, interval=0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there still is one."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> None:
        """Make sure that it and all that it started are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def leftovers(self) -> bool:
        """Whether a process that it started is still there."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def is_port_free(self) -> bool:
        """Whether another process can listen where it did."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", self.port))
                listener.listen()
            except OSError:
                return False
        return True

    def complaints(self) -> Iterator[str]:
        """Yield the lines of its log that the traffic did not provoke."""
        with self.log.open(errors="replace") as lines:
            for line in lines:
                if BAD.search(line) and not PROVOKED.search(line):
                    yield line.rstrip("\n")
