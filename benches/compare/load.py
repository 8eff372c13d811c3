"""One measurement: wrk against a running server, with the server's CPU time."""

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


def measure(running: Running, row: Row, seconds: float, paths: tuple[str, ...] = ()) -> Sample:
    """Send requests for ``row`` (or for ``paths`` in turn) as fast as answers arrive, for ``seconds``."""
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("wrk is missing; install it (Debian: apt-get install wrk)")
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
        [wrk, *options, running.url + row.path],
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
