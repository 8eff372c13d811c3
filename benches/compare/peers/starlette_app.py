"""The rows of the benchmark on starlette (under uvicorn), with orjson."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from content import KEY, ORIGIN, PREFLIGHT, ROWS, SMALL


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json; charset=utf-8")


async def _small(request: Request) -> Response:
    if request.method == "OPTIONS" and request.headers.get("origin") == ORIGIN:
        return Response(b"", 200, dict(PREFLIGHT))
    return _json(SMALL)


def _plain(request: Request) -> Response:
    return _json(SMALL)


async def _arguments(request: Request) -> Response:
    query, headers = dict(request.query_params), dict(request.headers)
    return _json({"city": query["city"], "trace": headers["x-trace"], "headers": len(headers)})


async def _echo(request: Request) -> Response:
    return _json({"items": orjson.loads(await request.body())["items"]})


async def _big(request: Request) -> Response:
    return _json({"rows": ROWS})


async def _wait(request: Request) -> Response:
    await asyncio.sleep(0.01)
    return _json(SMALL)


async def _guarded(request: Request) -> Response:
    if request.headers.get("x-custom-auth") != KEY:
        return _json({"error": "unauthorized"}, 403)
    return _json(SMALL)


async def _blocker(request: Request) -> Response:
    if request.query_params["how"] == "sleep":
        time.sleep(0.2)  # noqa: ASYNC251 - blocking is what is measured
    else:
        sum(range(8_000_000))
    return _json({"message": "done"})


async def _length(request: Request) -> Response:
    return _json({"bytes": len(await request.body()), "variables": len(request.query_params)})


_HANDLERS: dict[str, Callable[[Request], Awaitable[Response] | Response]] = {
    "small": _small,
    "plain": _plain,
    "arguments": _arguments,
    "echo": _echo,
    "big": _big,
    "wait": _wait,
    "guarded": _guarded,
    "blocker": _blocker,
    "length": _length,
}

app = Starlette(
    routes=[Route(f"/{name}", handler, methods=["GET", "POST", "OPTIONS"]) for name, handler in _HANDLERS.items()]
)
