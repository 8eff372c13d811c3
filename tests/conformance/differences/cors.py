"""Differences in what scripts of other origins may do."""

from __future__ import annotations

import re
from collections.abc import Collection

from conformance.difference import Difference, Reason
from conformance.differences.exchange import BODY, Exchange, answers, json_of

AREA = "CORS"

ALLOW = "header access-control-"
PREFLIGHT = {
    f"{ALLOW}allow-origin",
    f"{ALLOW}allow-credentials",
    f"{ALLOW}allow-methods",
    f"{ALLOW}allow-headers",
    f"{ALLOW}max-age",
}
SIMPLE = {f"{ALLOW}allow-origin", f"{ALLOW}allow-credentials", f"{ALLOW}expose-headers"}


def on_refusals(exchange: Exchange) -> Collection[str]:
    refused = exchange.original["status"] in (404, 405) and exchange.ours["status"] == exchange.original["status"]
    silent = not any(aspect.startswith(ALLOW) for aspect in exchange.original)
    same = exchange.ours[f"{ALLOW}allow-origin"] == exchange.header("Origin")
    return SIMPLE if refused and silent and same else ()


def asks_for(exchange: Exchange, method: str) -> bool:
    """Return whether a preflight asks for a method that matches."""
    asked = exchange.header("Access-Control-Request-Method") or ""
    return exchange.method == "OPTIONS" and re.fullmatch(method, asked) is not None


def foreign_method(exchange: Exchange) -> Collection[str]:
    granted = exchange.original[f"{ALLOW}allow-origin"] and exchange.statuses(200, 403)
    refused = exchange.says(exchange.ours, "CORS preflight refused: method ")
    return {"status", *BODY, *PREFLIGHT} if granted and refused and asks_for(exchange, "PUT|DELETE|get") else ()


def head(exchange: Exchange) -> Collection[str]:
    granted = exchange.ours[f"{ALLOW}allow-methods"] == "HEAD" and exchange.statuses(403, 200)
    # pluginserver looks at the headers first.
    sought = asks_for(exchange, "HEAD") and not more_headers(exchange)
    return {"status", *BODY, *PREFLIGHT} if granted and sought else ()


def refused(exchange: Exchange) -> Collection[str]:
    text = exchange.original["body"].startswith(b"CORS preflight request failed: ")
    told = exchange.says(exchange.ours, "CORS preflight refused: ")
    return BODY if text and told and exchange.statuses(403, 403) else ()


def incomplete(exchange: Exchange) -> Collection[str]:
    incomplete = re.search(rb"CORS preflight request failed: .* is not specified", exchange.original["body"])
    if not incomplete or not exchange.statuses(403, 204):
        return ()
    return {"status", "framing", "header allow", *BODY} if exchange.ours["body"] == b"" else ()


def more_headers(exchange: Exchange) -> Collection[str]:
    names = rb"(X-CUSTOM-AUTH|ACCEPT-LANGUAGE|CONTENT-LANGUAGE|TRACEPARENT|IF-NONE-MATCH)"
    more = rb"CORS preflight request failed: headers are not allowed: " + names
    refused = re.fullmatch(more, exchange.original["body"])
    return {"status", *BODY, *PREFLIGHT} if refused and exchange.statuses(403, 200) else ()


def exposed(exchange: Exchange) -> Collection[str]:
    name = f"{ALLOW}expose-headers"
    if name not in exchange.original or name not in exchange.ours:
        return ()
    before, now = (set(str(seen[name]).split(", ")) for seen in (exchange.original, exchange.ours))
    return {name} if now - before == {"X-Request-Id", "Retry-After", "ETag", "Location"} and before < now else ()


def vary(exchange: Exchange) -> Collection[str]:
    added = exchange.ours["header vary"] == "Origin" and "header vary" not in exchange.original
    return {"header vary"} if added else ()


def any_origin(exchange: Exchange) -> Collection[str]:
    if exchange.case.world != "corsany" or exchange.original[f"{ALLOW}allow-origin"] != exchange.header("Origin"):
        return ()
    with_credentials = exchange.original[f"{ALLOW}allow-credentials"] == "true"
    without = exchange.ours[f"{ALLOW}allow-origin"] == "*" and f"{ALLOW}allow-credentials" not in exchange.ours
    return {f"{ALLOW}allow-origin", f"{ALLOW}allow-credentials"} if with_credentials and without else ()


def plain_text(exchange: Exchange) -> Collection[str]:
    if exchange.case.world != "corsplain" or exchange.ours[f"{ALLOW}allow-origin"] != exchange.header("Origin"):
        return ()
    silent = f"{ALLOW}allow-origin" not in exchange.original and exchange.ours["status"] == 200
    return {"status", *BODY, *PREFLIGHT, *SIMPLE} if silent else ()


def switched_off(exchange: Exchange) -> Collection[str]:
    if exchange.case.world != "corsoff" or any(aspect.startswith(ALLOW) for aspect in exchange.ours):
        return ()
    granted = exchange.original[f"{ALLOW}allow-origin"] == exchange.header("Origin")
    if exchange.method == "OPTIONS" and not exchange.statuses(200, 204):
        return ()
    own = {"status", "framing", "header allow"} if exchange.method == "OPTIONS" else set()
    return {*own, *PREFLIGHT, *SIMPLE} if granted and json_of(exchange.ours) == {} else ()


ROWS = [
    Difference(
        "cors-on-refusals",
        AREA,
        "404 and 405",
        "without CORS headers",
        "with them",
        Reason.BUG,
        answers(on_refusals),
        "scripts can read the reason",
    ),
    Difference(
        "preflight-of-foreign-method",
        AREA,
        "a preflight for a method that the endpoint does not support",
        "allowed; the request itself is 405",
        "403",
        Reason.BUG,
        answers(foreign_method),
    ),
    Difference(
        "preflight-of-head",
        AREA,
        "a preflight for `HEAD`",
        "403",
        "allowed",
        Reason.BUG,
        answers(head),
        "`HEAD` is supported",
    ),
    Difference(
        "preflight-refused-json",
        AREA,
        "a preflight that is not allowed",
        "403 as text",
        "403 as JSON",
        Reason.BUG,
        answers(refused),
        "all errors have the same form",
    ),
    Difference(
        "no-preflight",
        AREA,
        "`OPTIONS` that is not a preflight",
        "403",
        "204 with `Allow`",
        Reason.BUG,
        answers(incomplete),
    ),
    Difference(
        "preflight-headers",
        AREA,
        "`X-Custom-Auth`, `Accept-Language`, `Content-Language`, `traceparent` or `If-None-Match` in a preflight",
        "403",
        "allowed",
        Reason.DOCUMENT,
        answers(more_headers),
        "the first is one of the headers for a key; browsers expect the others to be allowed",
    ),
    Difference(
        "exposed-headers",
        AREA,
        "the response headers that scripts may read",
        "`X-Custom-Header`, `Content-Length`",
        "also `X-Request-Id`, `Retry-After`, `ETag`, `Location`",
        Reason.DOCUMENT,
        answers(exposed),
        "scripts need them to name a request, to wait, and to cache",
    ),
    Difference(
        "vary",
        AREA,
        "`Vary: Origin`",
        "missing",
        "sent",
        Reason.BUG,
        answers(vary),
        "caches would return one origin's answer to another",
    ),
    Difference(
        "any-origin",
        AREA,
        "`origin_url=list:*`",
        "any origin is allowed, with credentials",
        "`*`, without credentials",
        Reason.SECURITY,
        answers(any_origin),
        "any site could use a visitor's cookies",
    ),
    Difference(
        "origin-as-text",
        AREA,
        "`origin_url` without `list:`",
        "no origin is allowed: each character counts as an origin",
        "one origin",
        Reason.BUG,
        answers(plain_text),
    ),
    Difference(
        "cors-switched-off",
        AREA,
        "`enabled=bool:false`",
        "CORS is on",
        "CORS is off",
        Reason.BUG,
        answers(switched_off),
    ),
]
