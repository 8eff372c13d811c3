"""Differences in which requests reach a plugin, and in the answers to those that do not."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import unquote

from conformance.difference import Difference, Reason
from conformance.differences.exchange import BODY, Exchange, Seen, answers, echoed, json_of

AREA = "Requests"


def reached(side: Seen) -> bool:
    """Return whether the answer is that of a plugin that shows its subpath."""
    return side["status"] == 200 and (echoed(side["body"]) or "subpath" in json_of(side))


def not_found(exchange: Exchange) -> Collection[str]:
    if not exchange.statuses(404, 404):
        return ()
    if exchange.method == "HEAD":
        lengths = [side["header content-length"] for side in (exchange.original, exchange.ours)]
        return BODY if lengths == ["14", "93"] else ()
    text = exchange.original["body"] == b"404: Not Found"
    return BODY if text and json_of(exchange.ours) == {"error": "not found"} else ()


def allowed(exchange: Exchange) -> str:
    """Return the methods that ours answers there: a reload is nothing to ask the head of."""
    return "GET, OPTIONS, POST" if exchange.target.startswith("/reload/") else "GET, HEAD, OPTIONS, POST"


def not_allowed(exchange: Exchange) -> Collection[str]:
    text = exchange.original["body"] == b"405: Method Not Allowed"
    error = exchange.says(exchange.ours, "method not allowed; this address answers ")
    lists = (exchange.original["header allow"], exchange.ours["header allow"])
    known = lists[1] == allowed(exchange) and lists[0] in ("GET, HEAD, POST", "GET, HEAD, OPTIONS, POST")
    return {*BODY, "header allow"} if exchange.statuses(405, 405) and text and error and known else ()


def head_of_reload(exchange: Exchange) -> Collection[str]:
    sought = exchange.method == "HEAD" and exchange.target.startswith("/reload/")
    refused = exchange.ours["status"] == 405 and exchange.ours["header allow"] == allowed(exchange)
    return {"status", "header allow", *BODY} if sought and refused else ()


def unread_body(exchange: Exchange) -> Collection[str]:
    native = exchange.target.startswith("/plugins") and exchange.ours["status"] == 200
    refused = exchange.sent and (native or exchange.ours["status"] in (403, 404, 405))
    closes = (exchange.original["connection"], exchange.ours["connection"]) == ("open", "closed")
    return {"connection"} if refused and closes else ()


def options(exchange: Exchange) -> Collection[str]:
    if not (exchange.method == "OPTIONS" and exchange.statuses(405, 204) and exchange.header("Origin") is None):
        return ()
    right = exchange.ours["header allow"] == allowed(exchange) and exchange.ours["body"] == b""
    return {"status", "framing", "header allow", *BODY} if right else ()


def small_method(exchange: Exchange) -> Collection[str]:
    text = exchange.original["body"].startswith(b"Invalid method encountered")
    answered = {"status", "connection", "header allow", *BODY}
    return answered if text and exchange.statuses(400, 405) and exchange.method != exchange.method.upper() else ()


def malformed(exchange: Exchange) -> Collection[str]:
    text = exchange.original["header content-type"] == "text/plain; charset=utf-8"
    told = exchange.says(exchange.ours, "malformed request: ") or exchange.says(exchange.ours, "request body is not")
    if exchange.original["status"] == 400 and text and exchange.says(exchange.ours, "HTTP/"):
        return {"status", *BODY}
    return BODY if exchange.statuses(400, 400) and text and told else ()


def tolerated(exchange: Exchange) -> Collection[str]:
    original, ours = exchange.original["body"], exchange.ours
    known = (
        b"Got more than 8190 bytes",
        b"Bad status line:\n  Expected CRLF after version",
        b"Invalid char in url",
        b"Bad status line:\n  Invalid HTTP version",
    )
    refused = exchange.original["status"] in (400, 417) and original.startswith(known)
    return {"status", "connection", *BODY} if refused and ours["status"] in (200, 404) else ()


def repeated(exchange: Exchange) -> Collection[str]:
    refused = re.fullmatch(rb"Duplicate '([\w-]+)' header found\.", exchange.original["body"])
    again = refused and len(re.findall(rf"^{refused[1].decode()}:", exchange.head, re.IGNORECASE | re.MULTILINE)) > 1
    return {"status", "connection", *BODY} if again and exchange.statuses(400, 200) else ()


def expectation(exchange: Exchange) -> Collection[str]:
    told = exchange.says(exchange.ours, "the only expectation that can be met is 100-continue")
    refused = exchange.original["body"].startswith(b"Unknown Expect")
    return {"status", "connection", *BODY} if told and refused and exchange.ours["status"] == 417 else ()


def everything(exchange: Exchange) -> Collection[str]:
    answered = exchange.method == "OPTIONS" and exchange.target == "*" and exchange.statuses(404, 204)
    return {"status", "framing", "header allow", *BODY} if answered else ()


def tunnel(exchange: Exchange) -> Collection[str]:
    refused = exchange.method == "CONNECT" and exchange.says(exchange.ours, "CONNECT is not implemented")
    return {"status", "connection", "header allow", *BODY} if refused and exchange.ours["status"] == 501 else ()


def fragment(exchange: Exchange) -> Collection[str]:
    refused = "#" in exchange.target and exchange.says(exchange.ours, "malformed request: its target has a fragment")
    return {"status", "connection", *BODY} if refused and exchange.ours["status"] == 400 else ()


def refused_path(exchange: Exchange) -> Collection[str]:
    path = unquote(exchange.target.partition("?")[0], errors="replace")
    reasons = {
        "the path contains a '..' segment": ".." in path.split("/"),
        "the path after the plugin's name begins with a second slash": re.match(r"/(echo|deep/er)//", path) is not None,
        "the path contains a NUL": "\0" in path,
    }
    told = any(holds and exchange.says(exchange.ours, reason) for reason, holds in reasons.items())
    if not (told and exchange.ours["status"] == 400):
        return ()
    if exchange.original["status"] == 404:
        return {"status", *BODY} if exchange.original["body"] == b"404: Not Found" else ()
    return {"status", "body"} if reached(exchange.original) else ()


def odd_path(exchange: Exchange) -> Collection[str]:
    raw = exchange.target.partition("?")[0]
    odd = re.match(r"/(echo|deep/er)%2F", raw, re.IGNORECASE) or re.search(r"%0[ad]", raw, re.IGNORECASE)
    lost = exchange.original["status"] == 404 and exchange.original["body"] == b"404: Not Found"
    return {"status", *BODY} if odd and lost and reached(exchange.ours) else ()


def leading_slash(exchange: Exchange) -> Collection[str]:
    served = {"subpath": None}
    sides = [(side["status"], json_of(side)) for side in (exchange.original, exchange.ours)]
    moved = {"/lead": [(404, {}), (200, served)], "//lead": [(200, served), (404, {"error": "not found"})]}
    return {"status", *BODY} if sides == moved.get(exchange.target) else ()


def braces(exchange: Exchange) -> Collection[str]:
    literal = exchange.target.startswith("/{x}")
    asked = literal or exchange.target.startswith("/anything-goes")
    served, other = (exchange.ours, exchange.original) if literal else (exchange.original, exchange.ours)
    known = asked and json_of(served).get("id") == "{x}" and other["status"] == 404
    return {"status", *BODY} if known else ()


def as_sent(exchange: Exchange) -> Collection[str]:
    explained = set()
    if "#" in exchange.target:
        for name in ("raw_path", "path_qs"):
            pair = [side.get(f"request {name}") for side in (exchange.original, exchange.ours)]
            if pair[0] and pair[1] and pair[0].partition("#")[0] + "'" == pair[1]:
                explained.add(f"request {name}")
    if exchange.target.startswith("http://") and exchange.original["request raw_path"] == f"str {exchange.target!r}":
        explained.add("request raw_path")
    return explained


ROWS = [
    Difference(
        "not-found-json",
        AREA,
        "an unknown path",
        "404 as text",
        '404 with `{"error": "not found"}`',
        Reason.BUG,
        answers(not_found),
        "all errors have the same form",
    ),
    Difference(
        "method-not-allowed-json",
        AREA,
        "a method that the endpoint does not support",
        "405 as text, `Allow: GET,HEAD,POST`",
        "405 as JSON, `Allow: GET, HEAD, POST, OPTIONS`; plugins may have more in `http_methods`",
        Reason.BUG,
        answers(not_allowed),
    ),
    Difference(
        "head-reloads-nothing",
        AREA,
        "`HEAD` for `/reload/<id>`",
        "reloads, as for `GET`",
        "405 with `Allow: GET, POST, OPTIONS`",
        Reason.ROBUSTNESS,
        answers(head_of_reload),
        "a request for headers only must not change the server",
    ),
    Difference(
        "refusal-closes",
        AREA,
        "a body that is not needed: the request is rejected, or is for `/plugins`",
        "the connection stays open",
        "the connection is closed",
        Reason.ROBUSTNESS,
        answers(unread_body),
        "clients cannot make the server read bodies that it does not use",
    ),
    Difference(
        "options",
        AREA,
        "`OPTIONS` without an `Origin`",
        "405",
        "204 with `Allow`",
        Reason.BUG,
        answers(options),
    ),
    Difference(
        "method-in-small-letters",
        AREA,
        "a method in lower case",
        "400",
        "405",
        Reason.BUG,
        answers(small_method),
        "methods are case-sensitive: it is an unknown method, not a malformed request",
    ),
    Difference(
        "malformed-json",
        AREA,
        "a malformed request",
        "400 as text, with the bytes of the request",
        "400 as JSON",
        Reason.BUG,
        answers(malformed),
        "all errors have the same form",
    ),
    Difference(
        "tolerated",
        AREA,
        "lines of more than 8190 bytes, line feeds without a carriage return, HTTP/1.2 to 1.9",
        "400 or 417",
        "served, within [limits](limits.md)",
        Reason.ROBUSTNESS,
        answers(tolerated),
    ),
    Difference(
        "repeated-header",
        AREA,
        "`User-Agent`, or another header that must be unique, sent twice (`Host` is 400 in both)",
        "400",
        "the first one is used",
        Reason.ROBUSTNESS,
        answers(repeated),
    ),
    Difference(
        "expectation",
        AREA,
        "an unknown `Expect`",
        "417 as text",
        "417 as JSON; the connection is closed",
        Reason.BUG,
        answers(expectation),
        "all errors have the same form",
    ),
    Difference(
        "options-of-everything",
        AREA,
        "`OPTIONS *`",
        "404",
        "204 with `Allow`",
        Reason.BUG,
        answers(everything),
    ),
    Difference(
        "connect",
        AREA,
        "CONNECT",
        "404",
        "501; the connection is closed",
        Reason.BUG,
        answers(tunnel),
    ),
    Difference(
        "fragment",
        AREA,
        "a request target with a fragment",
        "served without the fragment",
        "400",
        Reason.ROBUSTNESS,
        answers(fragment),
    ),
    Difference(
        "climbing-path",
        AREA,
        "`..` segments, `//` after the id, or NUL, escaped or not",
        "passed to the plugin",
        "400",
        Reason.SECURITY,
        answers(refused_path),
        "`/docs/../x` and `/docs//etc/passwd` read any file through plugins that serve files",
    ),
    Difference(
        "odd-path",
        AREA,
        "`%2F` right after the id, `%0A` or `%0D` in the path",
        "404",
        "passed to the plugin",
        Reason.BUG,
        answers(odd_path),
    ),
    Difference(
        "leading-slash",
        AREA,
        "`route_path=/x`",
        "answers at `//x`",
        "answers at `/x`",
        Reason.BUG,
        answers(leading_slash),
    ),
    Difference(
        "braces-are-literal",
        AREA,
        "`{x}` in an id",
        "a pattern",
        "literal",
        Reason.BUG,
        answers(braces),
        "unintended; the pattern also matched the paths of other plugins",
    ),
    Difference(
        "target-as-read",
        AREA,
        "`raw_path` of a target with a `#` or with scheme and host",
        "the target as the client sent it",
        "its path and query",
        Reason.BUG,
        answers(as_sent),
    ),
]
