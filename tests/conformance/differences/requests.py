"""Differences in how a request becomes what a handler is given."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection
from typing import Any

from conformance.difference import Difference, Reason
from conformance.differences.exchange import BODY, TROUBLE, Exchange, answers, echoed, json_of

AREA = "Requests"


def reserved(exchange: Exchange) -> Collection[str]:
    names = re.findall(r"\b(self|request|request_headers|log)\b", exchange.target + exchange.sent.decode("latin-1"))
    if not names or exchange.ours["status"] != 200:
        return ()
    if exchange.original["status"] == 500:
        crashed = exchange.original["body"] == TROUBLE and exchange.original["connection"] == "closed"
        return {"status", "connection", *BODY} if crashed and echoed(exchange.ours["body"]) else ()
    explained = {aspect for aspect in exchange.original if aspect.startswith("request_headers ")}
    if "request_headers" in names and "request_headers Host" not in exchange.original:
        return {*explained, *(aspect for aspect in exchange.ours if aspect.startswith("request_headers "))}
    replaced = exchange.original["host keys log"] is False and exchange.ours["host keys log"] is True
    return {"host keys log"} if "log" in names and replaced else ()


def can_read(exchange: Exchange) -> Collection[str]:
    moved = ("bool False", "bool True")
    names = ("request can_read_body", "request has_body")
    sent = exchange.method == "POST" and exchange.ours["request body_exists"] == "bool True"
    same = [name for name in names if (exchange.original.get(name), exchange.ours.get(name)) == moved]
    return same if sent else ()


def empty_chunked(exchange: Exchange) -> Collection[str]:
    empty = exchange.header("Transfer-Encoding") == "chunked" and not exchange.sent
    pair = (exchange.original["request body_exists"], exchange.ours["request body_exists"])
    return {"request body_exists"} if empty and pair == ("bool True", "bool False") else ()


def pairs(exchange: Exchange) -> dict[Any, Any]:
    """Return what pluginserver makes of an array: pairs become variables, up to the first item that is none."""
    found: dict[Any, Any] = {}
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        value = json.loads(exchange.sent)
        for item in value if isinstance(value, list) else []:
            name, content = item
            found[name] = content
    return found


def variables_of_pairs(exchange: Exchange) -> Collection[str]:
    shown = {f"data {name}": f"{type(content).__name__} {content!r}" for name, content in pairs(exchange).items()}
    return {name for name, text in shown.items() if exchange.original.get(name) == text and name not in exchange.ours}


def pairs_without_names(exchange: Exchange) -> Collection[str]:
    crashed = exchange.original["body"] == TROUBLE and exchange.statuses(500, 200)
    named = all(isinstance(name, str) for name in pairs(exchange))
    return {"status", "connection", *BODY} if crashed and not named else ()


def forms(exchange: Exchange) -> Collection[str]:
    kind = (exchange.header("Content-Type") or "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data") or exchange.method != "POST":
        return ()
    data = {aspect for aspect in exchange.ours if aspect.startswith("data ")}
    return {name for name in data if name not in exchange.original and exchange.ours[name].startswith("str ")}


def too_large(exchange: Exchange) -> Collection[str]:
    told = exchange.says(exchange.ours, "the request body is larger than 1048576 bytes")
    lost = exchange.original["status"] == 200 and len(exchange.sent) > 1024**2
    return {"status", "connection", "body"} if told and lost and exchange.ours["status"] == 413 else ()


def broken_compression(exchange: Exchange) -> Collection[str]:
    alone = "," not in (exchange.header("Content-Encoding") or "")
    told = exchange.says(exchange.ours, "request body is not valid in its Content-Encoding, or cut short")
    return {"status", "body"} if alone and told and exchange.statuses(200, 400) else ()


def brotli_and_zstandard(exchange: Exchange) -> Collection[str]:
    asked = exchange.header("Content-Encoding") in ("br", "zstd")
    return set(exchange.ours) | set(exchange.original) if asked and exchange.statuses(400, 200) else ()


def other_codings(exchange: Exchange) -> Collection[str]:
    codings = (exchange.header("Content-Encoding") or "").lower()
    asked = codings not in ("", "gzip", "deflate", "br", "zstd", "identity")
    refused = exchange.statuses(200, 415) or exchange.statuses(200, 400)
    return {"status", "connection", *BODY} if asked and refused else ()


def empty_charset(exchange: Exchange) -> Collection[str]:
    none = exchange.original["request charset"] == "str ''" and exchange.ours["request charset"] == "NoneType None"
    return {"request charset"} if none else ()


def spelling(exchange: Exchange) -> Collection[str]:
    if (json_of(exchange.original), json_of(exchange.ours)) == ({"h": None}, {"h": "application/json"}):
        return {"body"} if "get('content-type')" in exchange.source else ()
    explained = set()
    for aspect, value in exchange.original.items():
        if aspect.startswith("request_headers ") and aspect not in exchange.ours:
            for other, same in exchange.ours.items():
                if other.lower() == aspect.lower() and other not in exchange.original and same == value:
                    explained |= {aspect, other}
    return explained


def forwarded(exchange: Exchange) -> Collection[str]:
    header = exchange.header("X-Forwarded-For")
    if header is None:
        return ()
    if not header:
        whose = [side["host keys client_ip"] for side in (exchange.original, exchange.ours)]
        explained = {"host keys client_ip", "request remote"}
        return explained if whose == ["str '127.0.0.1'", "str 'unknown'"] else ()
    first, *_, last = [text.strip() for text in f"{header},{header}".split(",")]
    explained = set()
    trusted = exchange.ours["host keys client_ip"] in (f"str {last!r}", "str 'unknown'")
    if exchange.original["host keys client_ip"] == f"str {first!r}" and trusted:
        explained.add("host keys client_ip")
    peer = exchange.original["request remote"] == "str '127.0.0.1'"
    if peer and exchange.ours["request remote"] == exchange.ours["host keys client_ip"]:
        explained.add("request remote")
    return explained


def forwarded_otherwise(exchange: Exchange) -> Collection[str]:
    if exchange.header("X-Forwarded-For") is not None:
        return ()
    if exchange.header("Forwarded") is None and exchange.header("X-Real-IP") is None:
        return ()
    client = exchange.ours["host keys client_ip"]
    by_peer = {exchange.original[key] for key in ("host keys client_ip", "request remote")} == {"str '127.0.0.1'"}
    return {"host keys client_ip", "request remote"} if by_peer and client == exchange.ours["request remote"] else ()


def kind_of_request(exchange: Exchange) -> Collection[str]:
    told = (exchange.exception or {"message": ""})["message"]
    given = json_of(exchange.ours) == {"t": "application/json"}
    return {"body"} if told.endswith("'Request' object has no attribute 'type'") and given else ()


def server_header(exchange: Exchange) -> Collection[str]:
    named = str(exchange.original["header server"]).startswith("Python/3.")
    return {"header server"} if named and "header server" not in exchange.ours else ()


def request_id(exchange: Exchange) -> Collection[str]:
    given = re.fullmatch(r"[0-9a-f]{32}", exchange.ours["header x-request-id"]) is not None
    failed = exchange.ours["status"] >= 400
    return {"header x-request-id"} if given and failed and "header x-request-id" not in exchange.original else ()


ROWS = [
    Difference(
        "host-keys-win",
        AREA,
        "`request_headers`, `log`, `self` or `request` as a client's variable",
        "replaces the server's value, or 500",
        "the server's value wins",
        Reason.SECURITY,
        answers(reserved),
        "a body could replace the headers before the key was checked",
    ),
    Difference(
        "can-read-body",
        AREA,
        "`request.can_read_body` and `has_body` in the handler of a POST",
        "`False`, since the server has read the body",
        "`True`, since the body can be read again",
        Reason.BUG,
        answers(can_read),
    ),
    Difference(
        "empty-chunked-body",
        AREA,
        "`request.body_exists` of an empty chunked body",
        "`True`",
        "`False`",
        Reason.BUG,
        answers(empty_chunked),
    ),
    Difference(
        "array-of-pairs",
        AREA,
        "a JSON array of pairs as a body",
        "becomes variables",
        "ignored, as any other array",
        Reason.BUG,
        answers(variables_of_pairs),
    ),
    Difference(
        "array-of-pairs-without-names",
        AREA,
        "a JSON array of pairs that cannot become variables, such as `[[null, null]]`",
        "500, the connection closed",
        "ignored, as any other array",
        Reason.BUG,
        answers(pairs_without_names),
    ),
    Difference(
        "forms",
        AREA,
        "forms and multipart bodies",
        "ignored",
        "variables in `data`; files from `request.post()`",
        Reason.DOCUMENT,
        answers(forms),
    ),
    Difference(
        "body-too-large",
        AREA,
        "a body above the limit (1 MiB)",
        "dropped silently; `request.read()` returns a part of it as if it were complete",
        "413",
        Reason.ROBUSTNESS,
        answers(too_large),
    ),
    Difference(
        "broken-compression",
        AREA,
        "a compressed body that cannot be decompressed",
        "no variables; `request.read()` raises",
        "400",
        Reason.ROBUSTNESS,
        answers(broken_compression),
    ),
    Difference(
        "brotli-and-zstandard",
        AREA,
        "a body compressed as `br` or `zstd`",
        "400, unless the package for that coding is installed",
        "decoded",
        Reason.ROBUSTNESS,
        answers(brotli_and_zstandard),
    ),
    Difference(
        "other-codings",
        AREA,
        "a body of several codings, or of one that is not known",
        "passed on as it came",
        "decoded; 415 with `Accept-Encoding` for an unknown one",
        Reason.ROBUSTNESS,
        answers(other_codings),
    ),
    Difference(
        "empty-charset",
        AREA,
        '`request.charset` for `charset=""`',
        "`''`",
        "`None`",
        Reason.BUG,
        answers(empty_charset),
    ),
    Difference(
        "header-names",
        AREA,
        "names in `request_headers`",
        "in the client's spelling",
        "in their usual spelling; lookups ignore case",
        Reason.BUG,
        answers(spelling),
        "names of headers are case-insensitive",
    ),
    Difference(
        "forwarded-for",
        AREA,
        "`X-Forwarded-For`",
        "`client_ip` is the first item, from any client; `request.remote` is the peer",
        "both are the last item that is not a trusted proxy, if the header comes from one of `[server] "
        "trusted_proxies` (default: loopback); `unknown` if that item is not an address",
        Reason.SECURITY,
        answers(forwarded),
        "a client can choose the first item. A proxy on another machine must be listed in `trusted_proxies`",
    ),
    Difference(
        "forwarded-otherwise",
        AREA,
        "`Forwarded`, `X-Real-IP`",
        "ignored",
        "`client_ip` and `request.remote`, if the header comes from a trusted proxy that sends no `X-Forwarded-For`",
        Reason.BUG,
        answers(forwarded_otherwise),
        "see [proxies.md](proxies.md)",
    ),
    Difference(
        "request-type",
        AREA,
        "`request.type`",
        "`AttributeError`",
        "the content type",
        Reason.BUG,
        answers(kind_of_request),
        "plugins for older versions use it",
    ),
    Difference(
        "server-header",
        AREA,
        "`Server` header",
        "the versions of Python and aiohttp",
        "not sent",
        Reason.SECURITY,
        answers(server_header),
    ),
    Difference(
        "request-id",
        AREA,
        "answers with status 400 or above",
        "no `X-Request-Id`",
        "an `X-Request-Id`, which the log shows too",
        Reason.ROBUSTNESS,
        answers(request_id),
    ),
]
