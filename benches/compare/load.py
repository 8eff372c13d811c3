"""One measurement: wrk, or h2load for HTTP/2, against a running server, with the server's CPU time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rows import Row
from servers import WORK, Running

_SCRIPT = Path(__file__).parent / "wrk.lua"


@dataclass(frozen=True)
class Sample:
    """The result of one round.

    Attributes:
        rate: Requests per second.
        cpu: CPU seconds of the server per 10,000 requests.
        p50: Median latency in microseconds.
        p99: Latency in microseconds that one request in a hundred exceeds.
        requests: The number of requests.

    """

    rate: float
    cpu: float
    p50: int
    p99: int
    requests: int


#: Streams at once on each connection of HTTP/2.
STREAMS = 16


def measure(running: Running, row: Row, seconds: float, paths: tuple[str, ...] = ()) -> Sample:
    """Send requests for ``row`` (or for ``paths`` in turn) as fast as answers arrive, for ``seconds``."""
    return _h2load(running, row, seconds) if row.http2 else _wrk(running, row, seconds, paths)


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"{name} is missing; install it (Debian: apt-get install {package})")
    return found


def _h2load(running: Running, row: Row, seconds: float) -> Sample:
    log = WORK / "h2load.log"
    log.unlink(missing_ok=True)
    options = [f"-c{row.connections}", f"-m{STREAMS}", "-t1", f"-D{seconds:g}", f"--log-file={log}"]
    before = running.cpu()
    ended = subprocess.run(
        [_program("h2load", "nghttp2-client"), *options, running.url + row.path],
        capture_output=True,
        text=True,
        check=False,
    )
    used = running.cpu() - before
    # Each line is a request: when it began and how long it took, in microseconds, and its status in between.
    answers = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    times = sorted(int(took) for _, status, took in answers if int(status) == row.status)
    if not times:
        sys.exit(f"h2load failed:\n{ended.stdout}{ended.stderr}")
    if len(times) != len(answers):
        sys.stderr.write(f"{row.name}: {len(answers) - len(times)} of {len(answers)} requests broke\n")
    return Sample(
        rate=len(times) / seconds,
        cpu=used / len(times) * 10_000,
        p50=times[len(times) // 2],
        p99=times[len(times) * 99 // 100],
        requests=len(times),
    )


def _wrk(running: Running, row: Row, seconds: float, paths: tuple[str, ...]) -> Sample:
    # A file, because an environment variable is limited to 128 KiB.
    body = WORK / "body"
    body.write_text(row.body)
    environment = {
        "BENCH_METHOD": row.method,
        "BENCH_BODY": str(body) if row.body else "",
        "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in row.headers.items()),
        "BENCH_PATHS": "\n".join(paths),
    }
    options = ["-t1", f"-c{row.connections}", f"-d{seconds:g}s", "--timeout", "10s", "--latency", "-s", str(_SCRIPT)]
    before = running.cpu()
    ended = subprocess.run(
        [_program("wrk", "wrk"), *options, running.url + row.path],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    used = running.cpu() - before
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"wrk failed:\n{ended.stdout}{ended.stderr}")
    report = json.loads(lines[-1])
    if report["broken"]:
        sys.stderr.write(f"{row.name}: {report['broken']} of {report['requests']} requests broke\n")
    requests = max(1, report["requests"])
    return Sample(
        rate=requests / (report["microseconds"] / 1e6),
        cpu=used / requests * 10_000,
        p50=report["p50"],
        p99=report["p99"],
        requests=requests,
    )
