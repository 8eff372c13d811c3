"""Differences in how a request becomes what a handler is given."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import unquote

from conformance.difference import Difference, Reason
from conformance.differences.exchange import BODY, TROUBLE, Exchange, Seen, answers, json_of

AREA = "Requests"

ECHO = b'{"echo": true'


def echoed(body: object) -> bool:
    """Tell whether a body is what a handler was given."""
    return isinstance(body, bytes) and body.startswith(ECHO)


def reached(side: Seen) -> bool:
    """Tell whether a plugin answered that tells of its subpath."""
    return side["status"] == 200 and (echoed(side["body"]) or "subpath" in json_of(side))


def not_found(exchange: Exchange) -> Collection[str]:
    if not exchange.statuses(404, 404):
        return ()
    if exchange.method == "HEAD":
        lengths = [side["header content-length"] for side in (exchange.original, exchange.ours)]
        return BODY if lengths == ["14", "22"] else ()
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
    told = exchange.says(exchange.ours, "request body is not valid in its Content-Encoding, or cut short")
    return {"status", "body"} if told and exchange.statuses(200, 400) else ()


def other_compression(exchange: Exchange) -> Collection[str]:
    asked = exchange.header("Content-Encoding") in ("br", "zstd")
    return {"status", *BODY} if asked and exchange.statuses(400, 415) else ()


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
        "other-compression",
        AREA,
        "a body compressed as `br` or `zstd`",
        "400, unless the package for that coding is installed",
        "415 with `Accept-Encoding`",
        Reason.ROBUSTNESS,
        answers(other_compression),
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
