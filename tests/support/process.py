"""A server process: its start, the log that it writes, its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.wait import TIMEOUT

#: What ends a line that a handler logs: the ids of its request.
IDS = re.compile(r" request_id=\S+( trace_id=\w+)?$")


def free_port() -> int:
    """Return a port that nothing listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        return int(other.getsockname()[1])


class Process:
    """A process whose output is read while it runs.

    Attributes:
        folder: The working directory.
        lines: What it has written to its output so far.
        process: The process itself.

    """

    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> None:
        """Start ``command`` in ``folder`` with this environment and these descriptors."""
        self.folder = folder
        self.lines: list[str] = []
        self._more_output = threading.Condition()
        self._output_ended = False
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            pass_fds=pass_fds,
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
        with self.process.stdout:
            for line in self.process.stdout:
                with self._more_output:
                    self.lines.append(line.rstrip("\n"))
                    self._more_output.notify_all()
        with self._more_output:
            self._output_ended = True
            self._more_output.notify_all()

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return "\n".join(self.lines)

    @property
    def lines_without_ids(self) -> list[str]:
        """The lines, each without the ids of its request."""
        return [IDS.sub("", line) for line in self.lines]

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def find_line(self, pattern: str, since: int = 0, timeout: float = TIMEOUT) -> str | None:
        """Return the first line from number ``since`` on that matches ``pattern``, with or without its request's ids.

        Waits for it; None if the output or the time ends without such a line.
        """
        expression = re.compile(pattern)
        found: list[str] = []
        position = since

        def has_come() -> bool:
            nonlocal position
            for line in self.lines[position:]:
                if expression.search(line) or expression.search(IDS.sub("", line)):
                    found.append(line)
            position = max(position, len(self.lines))
            return bool(found) or self._output_ended

        with self._more_output:
            self._more_output.wait_for(has_come, timeout)
        return found[0] if found else None

    def wait_for(self, pattern: str, since: int = 0) -> str:
        """Return the first line from number ``since`` on that matches ``pattern``; fail if none comes."""
        line = self.find_line(pattern, since)
        if line is None:
            raise AssertionError(f"no line matches {pattern!r}; the output is:\n{self.log}")
        return line

    def check_for_panics(self) -> None:
        """Fail if the output shows a panic."""
        assert "panicked at" not in self.log, self.log

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Request a stop, wait for the end, and return the exit code."""
        self.send(number)
        return self.wait()

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait for the end and for the rest of the output; return the exit code."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def end(self) -> None:
        """Make sure that the process is gone."""
        if self.alive:
            self.process.kill()
        self.process.wait()
        self._reader.join()
