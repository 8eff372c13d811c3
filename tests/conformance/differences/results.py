"""Differences in what becomes of a handler's result."""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Collection
from typing import Any

from conformance.difference import Difference, Reason
from conformance.differences.exchange import BODY, TROUBLE, Exchange, answers, json_of
from conformance.values.differences import about

AREA = "Results"

#: Stands for "there is no such value", since None is one.
NOTHING = object()

#: What the source of a value with such objects has.
WRITTEN = re.compile(r"datetime|Decimal|UUID|Plain|frozenset|\{[^:}]*\}")

#: What the `repr` of an object has that ours writes as JSON and the original does not.
OBJECTS = re.compile(r"datetime|Decimal|UUID|^<\w+\.|frozenset|set\(|^\{")


def shown(exchange: Exchange) -> Any:
    """Return the value that the original answered as its `repr`, or NOTHING."""
    told = json_of(exchange.original)
    if list(told) != ["result"] or not isinstance(told["result"], str):
        return NOTHING
    names = {"nan": float("nan"), "inf": float("inf"), "Point": lambda x, y: (x, y), "__builtins__": {"set": set}}
    try:
        return eval(told["result"], names)
    except (SyntaxError, NameError, TypeError, ValueError, AttributeError):
        return NOTHING


def unsendable(exchange: Exchange, reason: str = "") -> bool:
    """Return whether ours says that the result cannot be sent."""
    begins = exchange.says(exchange.ours, f"the plugin's answer cannot be sent: {reason}")
    return exchange.ours["status"] == 500 and begins and exchange.ours["error members"] == "code request_id"


def code(exchange: Exchange) -> int | None:
    """Return the code that the handler's source gives."""
    match = re.search(r"return (?:http\.HTTPStatus\()?(\d+)\)?,", exchange.source)
    return int(match[1]) if match else None


def handlers_code(exchange: Exchange) -> Collection[str]:
    given = code(exchange)
    return {"status"} if given is not None and 200 <= given <= 599 and exchange.statuses(200, given) else ()


def bodiless(exchange: Exchange) -> Collection[str]:
    ours = exchange.ours
    if code(exchange) in (204, 205, 304) and ours["status"] == code(exchange) and ours["body"] == b"":
        return {"body", "header content-type", "framing"}
    reset = "web.Response(" in exchange.source and exchange.statuses(205, 205)
    return {"body"} if reset and ours["body"] == b"" else ()


def bad_code(exchange: Exchange) -> Collection[str]:
    return {"status", "body"} if exchange.statuses(200, 500) and unsendable(exchange, "the code ") else ()


def as_json(exchange: Exchange, *types: type) -> Collection[str]:
    value = shown(exchange)
    if value is NOTHING or type(value) not in types or exchange.original["status"] != 200:
        return ()
    return {"body"} if exchange.ours["body"] == json.dumps(value).encode() else ()


def as_bytes(exchange: Exchange) -> Collection[str]:
    same = exchange.ours["body"] == shown(exchange)
    binary = exchange.ours["header content-type"] == "application/octet-stream"
    return {"body", "header content-type"} if same and binary else ()


def no_json(exchange: Exchange) -> Collection[str]:
    text = list(json_of(exchange.original)) == ["result"] and exchange.original["status"] == 200
    return {"status", *BODY} if text and unsendable(exchange, "TypeError: Object of type ") else ()


def objects(exchange: Exchange) -> Collection[str]:
    told = json_of(exchange.original)
    known = OBJECTS.search(str(told.get("result", ""))) or re.search(r"Decimal\(|UUID\(", exchange.source)
    text = list(told) == ["result"] and exchange.statuses(200, 200) and known is not None
    as_json = exchange.ours["header content-type"].startswith("application/json")
    # Inside of a dict they made pluginserver fail.
    failed = exchange.statuses(500, 200) and exchange.original["body"] == TROUBLE
    if failed and as_json and re.search(r"datetime|Decimal|UUID|Enum|set\(|\{[^:}]*\}", exchange.source):
        return {"status", *BODY, "connection"}
    return BODY if text and as_json else ()


def stream(exchange: Exchange) -> Collection[str]:
    text = str(json_of(exchange.original).get("result", "")).startswith("<StreamResponse ")
    sent = exchange.ours["status"] == 200 and exchange.ours["body"] == b"" and exchange.ours["framing"] == "chunked"
    return {"framing", *BODY} if text and sent else ()


def bare(exchange: Exchange) -> Collection[str]:
    told = exchange.exception or {"message": ""}
    if not re.search(r"(values to unpack \(expected 2|cannot unpack non-iterable)", told["message"]):
        return ()
    if exchange.ours["status"] == 500 and not unsendable(exchange, "a tuple of "):
        return ()
    return {"status", *BODY, "header x-plugin"}


def unpacked(exchange: Exchange) -> Collection[str]:
    match = re.fullmatch(r"return (\[.*\]|\{.*\}|'..')", exchange.source)
    try:
        value = ast.literal_eval(match[1] if match else "0")
        _, second = value
    except (ValueError, TypeError):
        return ()
    text, whole = (json.dumps(v) if isinstance(v, (dict, list)) else v for v in (second, value))
    if (exchange.original["body"], exchange.ours["body"]) != (str(text).encode(), str(whole).encode()):
        return ()
    return {"body", "header content-type"}


def surrogate(exchange: Exchange) -> Collection[str]:
    told = exchange.exception or {"type": ""}
    refused = exchange.shielded and told["type"] == "UnicodeEncodeError" and unsendable(exchange, "UnicodeEncodeError")
    return {"status", "body"} if refused else ()


def deep(exchange: Exchange) -> Collection[str]:
    told = exchange.exception or {"type": ""}
    refused = told["type"] == "RecursionError" and unsendable(exchange, "it is nested more than 1000 levels deep")
    return {"status", "body"} if refused else ()


def overridden(exchange: Exchange) -> Collection[str]:
    error = {"error": "Internal server error from plugin response"}
    return {"status", *BODY} if exchange.statuses(500, 200) and json_of(exchange.original) == error else ()


def compressed(exchange: Exchange) -> Collection[str]:
    asked = "gzip" in (exchange.header("Accept-Encoding") or "")
    if not asked or exchange.ours["header content-encoding"] != "gzip" or exchange.original["header content-encoding"]:
        return ()
    body = gzip.decompress(exchange.ours["body"])
    alike = len(body) >= 1024 and list(json_of(exchange.original)) == list(json.loads(body))
    return {"body", "header content-encoding", "framing"} if alike else ()


ROWS = [
    Difference(
        "compressed",
        AREA,
        "JSON or text of 1 KiB and more for a client with `Accept-Encoding`",
        "sent as it is",
        "[compressed](results.md#compression), unless `[server] compression = off`",
        Reason.BUG,
        answers(compressed),
        "clients that do not want it do not ask for it",
    ),
    Difference(
        "code-is-status",
        AREA,
        "`return 404, {…}`",
        "200",
        "404",
        Reason.DOCUMENT,
        answers(handlers_code),
        "`[compat] legacy_status=bool:true` restores the 200",
    ),
    Difference(
        "no-body",
        AREA,
        "codes 204, 205 and 304; `web.Response(status=205)`",
        "200 with the body; 205 with the body",
        "that status, without a body",
        Reason.DOCUMENT,
        answers(bodiless),
    ),
    Difference(
        "bad-code",
        AREA,
        "a code that is not an integer from 200 to 599",
        "200",
        "500 with the reason",
        Reason.ROBUSTNESS,
        answers(bad_code),
    ),
    Difference(
        "list-is-json",
        AREA,
        "a list",
        '`{"result": "<repr>"}`',
        "a JSON array",
        Reason.DOCUMENT,
        answers(lambda exchange: as_json(exchange, list)),
    ),
    Difference(
        "values-are-json",
        AREA,
        "`None`, numbers, `bool`, and tuples in place of the body",
        '`{"result": "<repr>"}`',
        "JSON",
        Reason.BUG,
        answers(lambda exchange: as_json(exchange, type(None), bool, int, float, tuple)),
        "a `repr` is of no use to clients",
    ),
    Difference(
        "bytes-are-bytes",
        AREA,
        "bytes",
        '`{"result": "<repr>"}`',
        "the bytes, as `application/octet-stream`",
        Reason.BUG,
        answers(as_bytes),
    ),
    Difference(
        "no-json",
        AREA,
        "`UserDict` and other objects",
        '`{"result": "<repr>"}`',
        "500 with the reason",
        Reason.ROBUSTNESS,
        answers(no_json),
        "a `repr` may also reveal internal data",
    ),
    Difference(
        "objects-are-json",
        AREA,
        "sets, dates, `Decimal`, `UUID`, `Enum` and dataclasses as a result",
        '`{"result": "<repr>"}`',
        "JSON",
        Reason.BUG,
        answers(objects),
    ),
    Difference(
        "json-objects",
        AREA,
        "dates, `UUID`, `Decimal`, `Enum`, dataclasses and sets in a result",
        "the result is not serialisable",
        "written as JSON",
        Reason.BUG,
        about(
            "result",
            lambda case, aspect, original, ours: (
                original == "refused" and ours != "refused" and WRITTEN.search(str(case.script)) is not None
            ),
        ),
    ),
    Difference(
        "stream-response",
        AREA,
        "`StreamResponse` as a result",
        '`{"result": "<repr>"}`',
        "the data that was written to it",
        Reason.BUG,
        answers(stream),
    ),
    Difference(
        "bare-result",
        AREA,
        "a result without a code; a tuple with headers as its third item",
        "an exception",
        "200 with that body (500 for other tuples)",
        Reason.BUG,
        answers(bare),
        "plugins for pluginserver 0.5 return such results",
    ),
    Difference(
        "bare-pair",
        AREA,
        "a bare dict, list or string of two items",
        "the second item only",
        "the whole value",
        Reason.BUG,
        answers(unpacked),
    ),
    Difference(
        "surrogate-in-text",
        AREA,
        "a string with a lone surrogate",
        "200 with an exception",
        "500 with the reason",
        Reason.BUG,
        answers(surrogate),
    ),
    Difference(
        "too-deep",
        AREA,
        "a result nested deeper than 1000 levels",
        "200 with a `RecursionError`",
        "500 with the reason",
        Reason.ROBUSTNESS,
        answers(deep),
    ),
    Difference(
        "handle-request-result",
        AREA,
        "an overridden `handle_request` that returns a tuple, `None`, a number or bytes",
        "500",
        "as from `request_handler`",
        Reason.BUG,
        answers(overridden),
    ),
]
