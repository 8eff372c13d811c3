"""Instructions that a server takes for a request, counted by callgrind.

Time depends on what else the machine does; this does not: two runs of the same build differ by less than one percent,
but for the row with a single connection, in which it is chance which thread sleeps when the other has something for it.
For that, the server finds the requests of a batch all at once, and its clock is slowed down (``slow_clock.c``). What
the kernel does is not counted.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rows import Row
from servers import HERE, WORK, Running, Setup

#: Connections that have a request on its way at a time, so that the server handles them in batches as under load.
_CONNECTIONS = 16
#: Requests for which instructions are counted, and as many before that, after which every cache is warm.
_REQUESTS = 1600
#: The same for rows with answers that take a hundred times as long, or that wait by the slow clock.
_FEW = 160


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")


class Counted:
    """A server that runs under callgrind."""

    def __init__(self, setup: Setup, *, tls: bool) -> None:
        """Start it, which takes some ten seconds."""
        if shutil.which("valgrind") is None:
            sys.exit("valgrind is missing; install it (Debian: apt-get install valgrind)")
        self._folder = setup.folder / "callgrind"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        # Threads in turns, not at random.
        options = ["--tool=callgrind", "--fair-sched=yes", "--instr-atstart=no"]
        options.append(f"--callgrind-out-file={self._folder / 'out'}")

        def command(folder: Path, port: int, tls: bool) -> Sequence[str]:
            program, *arguments = setup.command(folder, port, tls)
            # A script cannot be run by valgrind, but its interpreter can.
            return ["valgrind", *options, str(Path(program).parent / "python"), program, *arguments]

        clock = WORK / "slow_clock.so"
        _run("cc", "-shared", "-fPIC", "-O2", "-o", str(clock), str(HERE / "slow_clock.c"))
        # The watchdog waits by the system's clock, which is past each of its deadlines: it would never rest.
        environment = {**setup.environment, "LD_PRELOAD": str(clock), "PLUGINCORE_SERVER_STALL_WARN": "none"}
        self._running = Running(dataclasses.replace(setup, command=command, environment=environment), tls=tls)
        self._dumps = 0

    def count(self, row: Row) -> float:
        """Return the instructions that a request of ``row`` takes, in all threads of the server together."""
        takes_long = len(str(row.answer)) > 10_000 or row.path == "/wait"
        requests = _FEW if takes_long else _REQUESTS
        self._ask(row, requests)
        pid = str(self._running.process.pid)
        _run("callgrind_control", "--instr=on", pid)
        self._ask(row, requests)
        _run("callgrind_control", "--instr=off", pid)
        _run("callgrind_control", "--dump", pid)
        self._dumps += 1
        text = (self._folder / f"out.{self._dumps}").read_text()
        total = next(line for line in text.splitlines() if line.startswith("totals:"))
        return int(total.split()[1]) / requests

    def _ask(self, row: Row, requests: int) -> None:
        connections = [self._running.connect() for _ in range(min(_CONNECTIONS, row.connections))]
        try:
            for connection in connections:
                connection.connect()
            for _ in range(requests // len(connections)):
                if len(connections) > 1:
                    self._pause()
                for connection in connections:
                    connection.request(row.method, row.path, row.body or None, dict(row.headers))
                self._running.process.send_signal(signal.SIGCONT)
                for connection in connections:
                    answer = connection.getresponse()
                    body = answer.read()
                    if not row.right(self._running.server, answer.status, body):
                        sys.exit(f"{row.name}: answered {answer.status} {body[:200]!r}")
        finally:
            for connection in connections:
                connection.close()

    def _pause(self) -> None:
        """Stop the server until all requests of a batch are there, so that it finds them together each time."""
        pid = self._running.process.pid
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)

    def __enter__(self) -> Counted:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self._running.stop()
