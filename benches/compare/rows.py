"""The requests that are sent to every server: a row of the table for each, with the correct answer."""

from __future__ import annotations

import http
import json
from dataclasses import dataclass, field

#: Names of the servers that can be measured; :mod:`servers` starts them.
PLUGINCORE, PLUGINSERVER, GRANIAN, GRANIAN_WSGI, UVICORN, BARE = (
    "plugincore",
    "pluginserver",
    "granian",
    "granian-wsgi",
    "uvicorn",
    "hyper",
)
ALL_SERVERS = (PLUGINCORE, PLUGINSERVER, GRANIAN, UVICORN, BARE)
KEY = "a-key-of-the-benchmark"
SMALL = {"message": "hello", "number": 42}
BIG = {
    "rows": [
        {"id": n, "name": f"sensor number {n}", "value": n * 1.25, "active": n % 2 == 0, "tags": ["indoor", "floor"]}
        for n in range(1000)
    ]
}
ITEMS = {"items": [{"id": n, "label": f"measurement {n}", "value": n / 8, "ok": True} for n in range(18)]}
HEADERS = {
    "User-Agent": "benchmark/1",
    "Accept": "application/json",
    "Accept-Language": "en",
    "Cache-Control": "no-cache",
    "X-Trace": "0af7651916cd43dd8448eb211c80319c",
    "X-Device": "kitchen",
    "Cookie": "theme=dark; session=abcdef",
}


@dataclass(frozen=True)
class Target:
    """A target of plugincore: its requests per second are at least ``ratio`` times those of ``against``."""

    against: str
    ratio: float


@dataclass(frozen=True)
class Row:
    """One kind of request.

    Attributes:
        name: The name in the table.
        path: Path and query.
        answer: The JSON of the correct answer, of an error the fields that are compared; ``None`` for an answer
            without a body.
        status: The status of the correct answer.
        legacy: The status of pluginserver, if that differs: it answers a wrong key with 200.
        connections: The number of open connections.
        servers: The servers to measure.
        targets: The targets for requests per second.
        cpu_target: The maximum CPU time per request, as a ratio to hyper's; ``None`` if there is no target.
        tls: Whether the connection is encrypted.
        http2: Whether the requests go over HTTP/2, several at once on each connection.

    """

    name: str
    path: str
    answer: object = field(default_factory=lambda: SMALL, hash=False)
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict, hash=False)
    body: str = ""
    status: int = 200
    legacy: int | None = None
    connections: int = 64
    servers: tuple[str, ...] = ALL_SERVERS
    targets: tuple[Target, ...] = ()
    cpu_target: float | None = None
    tls: bool = False
    http2: bool = False

    def right(self, server: str, status: int, body: bytes) -> bool:
        """Return whether this is the correct answer of ``server``."""
        wanted = self.legacy if self.legacy is not None and server == PLUGINSERVER else self.status
        if status != wanted or self.answer is None:
            return status == wanted
        answer = json.loads(body)
        if isinstance(self.answer, dict) and self.status >= http.HTTPStatus.BAD_REQUEST:
            # Beside the error, plugincore gives its code and the id of the request, which earlier versions do not.
            answer = {name: answer.get(name) for name in self.answer}
        return bool(answer == self.answer)


ROWS = (
    Row(
        "small JSON, async handler",
        "/small",
        targets=(Target(GRANIAN, 1.4), Target(PLUGINSERVER, 4.0)),
        cpu_target=1.4,
    ),
    Row(
        "small JSON, plain handler",
        "/plain",
        servers=(PLUGINCORE, GRANIAN_WSGI, UVICORN, BARE),
        targets=(Target(GRANIAN_WSGI, 1.0),),
        cpu_target=1.4,
    ),
    Row(
        "query and 8 headers",
        "/arguments?city=Oslo&unit=C&days=3",
        {"city": "Oslo", "trace": HEADERS["X-Trace"], "headers": 9},
        headers=HEADERS,
        targets=(Target(GRANIAN, 1.4),),
        cpu_target=1.4,
    ),
    Row(
        "1 KiB JSON, posted and sent back",
        "/echo",
        ITEMS,
        method="POST",
        headers={"Content-Type": "application/json"},
        body=json.dumps(ITEMS),
        targets=(Target(GRANIAN, 1.3),),
    ),
    Row("100 KB JSON", "/big", BIG, targets=(Target(GRANIAN, 1.2),)),
    Row("handler waits 10 ms", "/wait", connections=256, targets=(Target(GRANIAN, 1.1),)),
    Row(
        "wrong key",
        "/guarded",
        {"error": "unauthorized"},
        headers={"X-Custom-Auth": "not-it"},
        status=403,
        legacy=200,
        targets=(Target(BARE, 0.9),),
    ),
    Row("right key", "/guarded", headers={"X-Custom-Auth": KEY}),
    Row(
        "preflight",
        "/small",
        None,
        method="OPTIONS",
        headers={
            "Origin": "https://app.example.org",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "Content-Type",
        },
        targets=(Target(BARE, 0.9),),
    ),
    Row("small JSON over TLS", "/small", tls=True, targets=(Target(GRANIAN, 1.4),)),
    Row(
        "small JSON over HTTP/2, 8 connections of 16 streams",
        "/small",
        connections=8,
        servers=(PLUGINCORE, GRANIAN),
        targets=(Target(GRANIAN, 1.2),),
        http2=True,
    ),
    Row("one connection, one request at a time", "/small", connections=1),
)
