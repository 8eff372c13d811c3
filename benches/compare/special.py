"""Measures what requests per second do not show: blocked handlers, start, memory, and how cost grows with the work."""

from __future__ import annotations

import contextlib
import resource
import shutil
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from load import measure
from rows import PLUGINCORE, ROWS, Row
from servers import Running, Setup, plugincore_command

#: Probes of a blocked server, enough for a 99th percentile.
_PROBES = 400
#: Connections that use up the memory left free by the start, before the counted ones.
_FIRST_CONNECTIONS = 200
#: Seconds after which no more probes are sent to a slow server.
_MAX_DURATION = 20.0


@dataclass(frozen=True)
class Delay:
    """The latency of probes, in milliseconds."""

    p50: float
    p99: float


def delay_while_blocked(setup: Setup, how: str) -> Delay:
    """Send requests with a wrong key repeatedly, while another handler blocks all the time."""
    with Running(setup) as running:
        ended = threading.Event()

        def block() -> None:
            while not ended.is_set():
                running.request("GET", f"/blocker?how={how}")

        blocking = threading.Thread(target=block)
        blocking.start()
        delays = []
        connection = running.connect()
        try:
            deadline = time.perf_counter() + _MAX_DURATION
            while len(delays) < _PROBES and time.perf_counter() < deadline:
                began = time.perf_counter()
                connection.request("GET", "/guarded", headers={"X-Custom-Auth": "not-it"})
                connection.getresponse().read()
                delays.append((time.perf_counter() - began) * 1000)
                # Spreads the probes over the time in which the handler blocks.
                time.sleep(0.005)
        finally:
            ended.set()
            blocking.join()
            connection.close()
    cuts = statistics.quantiles(delays, n=100)
    return Delay(statistics.median(delays), cuts[98])


def start_and_memory(setup: Setup) -> tuple[float, int, int]:
    """Return the seconds to the first answer, and the bytes of memory when idle and after some load."""
    with Running(setup) as running:
        idle = running.memory()
        measure(running, ROWS[0], 3)
        return running.started, idle, running.memory()


def soak(setup: Setup, requests: int) -> tuple[int, int, int]:
    """Send a mix of requests; return the memory after the first 100,000 and at the end, and the number of requests."""
    paths = ("/small", "/plain", "/arguments?city=Oslo", "/guarded", "/nowhere", "/small?a=1&b=2", "/plain/sub/path")
    row = Row("mix", "/small", None, headers={"X-Trace": "0af7651916cd43dd8448eb211c80319c"})
    with Running(setup) as running:
        done = 0
        early = 0
        while done < requests:
            done += measure(running, row, 2 if not early else 10, paths).requests
            if not early and done >= 100_000:
                early = running.memory()
        return early, running.memory(), done


@dataclass(frozen=True)
class Growth:
    """The cost of ten times the work, as a ratio: 10 is proportional.

    Attributes:
        what: The kind of work.
        small: The cost of a tenth of the work.
        large: The cost of all of it.
        unit: The unit of both costs.
        bare: The ratio of hyper without Python, if it does the same work: bodies that do not fit into a cache are
            copied more slowly by all servers.

    """

    what: str
    small: float
    large: float
    unit: str
    bare: float | None = None

    @property
    def ratio(self) -> float:
        """The cost of the large case relative to the small one."""
        return self.large / self.small


def growth(setup: Setup, bare: Setup) -> Iterator[Growth]:
    """Measure the cost of ten times the work in plugincore, for four kinds of work."""
    assert setup.server == PLUGINCORE
    yield _plugins(setup)
    yield _idle_connections(setup)
    names = [f"name{n}=value{n}" for n in range(1000)]
    rows: dict[str, Callable[[int], Row]] = {
        "body of 10 MB": lambda n: Row("", "/length", None, "POST", body="x" * (1_000_000 * n), connections=4),
        "1,000 query arguments": lambda n: Row("", f"/length?{'&'.join(names[: 100 * n])}", None),
    }
    ours = replace(setup, command=plugincore_command(more="[limits]\nbody_size = 16MiB\n"))
    with Running(ours) as running, Running(bare) as other:
        for what, row in rows.items():
            yield replace(_cost(running, what, row), bare=_cost(other, what, row).ratio)


def _cost(running: Running, what: str, row: Callable[[int], Row]) -> Growth:
    def milliseconds(n: int) -> float:
        return 1000 * statistics.median(1 / measure(running, row(n), 2).rate for _ in range(3))

    return Growth(what, milliseconds(1), milliseconds(10), "ms a request")


def _plugins(setup: Setup) -> Growth:
    def seconds(count: int) -> float:
        folder = setup.folder / f"plugins-{count}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        text = (Path(__file__).parent / "plugins" / "small.py").read_text()
        (folder / "small.py").write_text(text)
        for number in range(count):
            (folder / f"small{number}.py").write_text(text.replace("class Small", f"class Small{number}"))
        times = []
        for _ in range(3):
            with Running(replace(setup, command=plugincore_command(folder))) as running:
                times.append(running.started)
        return 1000 * statistics.median(times)

    return Growth("1,000 plugins: start", seconds(100), seconds(1000), "ms")


def _idle_connections(setup: Setup) -> Growth:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def kibibytes(count: int) -> float:
        with Running(setup) as running, contextlib.ExitStack() as open_ones:
            before = 0
            for number in range(count + _FIRST_CONNECTIONS):
                if number == _FIRST_CONNECTIONS:
                    before = running.memory()
                connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", running.port)))
                connection.sendall(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
                connection.recv(4096)
            return (running.memory() - before) / 1024

    return Growth("10,000 idle connections: memory", kibibytes(1000), kibibytes(10_000), "KiB")
