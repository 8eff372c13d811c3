"""The plain row of the benchmark on granian's WSGI interface, with orjson."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from content import SMALL


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request."""
    start_response("200 OK", [("content-type", "application/json; charset=utf-8")])
    return [orjson.dumps(SMALL)]
