"""The rows of the benchmark on granian, through its own interface and with orjson."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import parse_qsl

import orjson

from content import JSON, KEY, ORIGIN, PREFLIGHT, ROWS, SMALL


async def app(scope: Any, protocol: Any) -> None:
    """Answer one request."""
    path = scope.path
    if scope.method == "OPTIONS" and scope.headers.get("origin") == ORIGIN:
        protocol.response_empty(200, list(PREFLIGHT))
        return
    status, answer = 200, SMALL
    if path == "/arguments":
        query = dict(parse_qsl(scope.query_string))
        headers = dict(scope.headers.items())
        answer = {"city": query["city"], "trace": headers["x-trace"], "headers": len(headers)}
    elif path == "/echo":
        answer = {"items": orjson.loads(await protocol())["items"]}
    elif path == "/big":
        answer = {"rows": ROWS}
    elif path == "/wait":
        await asyncio.sleep(0.01)
    elif path == "/guarded":
        if scope.headers.get("x-custom-auth") != KEY:
            status, answer = 403, {"error": "unauthorized"}
    elif path == "/blocker":
        if "sleep" in scope.query_string:
            time.sleep(0.2)  # noqa: ASYNC251 - blocking is what is measured
        else:
            sum(range(8_000_000))
        answer = {"message": "done"}
    elif path == "/length":
        answer = {"bytes": len(await protocol()), "variables": len(parse_qsl(scope.query_string))}
    protocol.response_bytes(status, [JSON], orjson.dumps(answer))
