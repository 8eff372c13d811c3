"""Differences in who is let in, and in what plugins find of the host."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from urllib.parse import unquote

from conformance.difference import Difference, Reason
from conformance.differences.exchange import BODY, Exchange, Seen, answers, json_of

AREA = "Keys"

REFUSAL = {"error": "unauthorized"}
#: Of its body, without and with what plugincore adds.
LENGTHS = tuple(
    len(json.dumps(body)) for body in (REFUSAL, {**REFUSAL, "code": "unauthorized", "request_id": "0" * 32})
)


def refused(side: Seen) -> bool:
    """Return whether one side did not let a request in, whatever the status."""
    return json_of(side) == REFUSAL


def let_in(side: Seen) -> bool:
    """Return whether a request reached a plugin, or the list of them."""
    answer = json_of(side)
    return side["status"] == 200 and ("in" in answer or "loaded_plugins" in answer)


def only_ours_lets_in(exchange: Exchange) -> bool:
    """Return whether the original refused and ours did not."""
    return refused(exchange.original) and let_in(exchange.ours)


def only_ours_reads(exchange: Exchange) -> bool:
    """Return whether a key that the original passed over made the difference: it let in, or it was wrong."""
    wrong = let_in(exchange.original) and refused(exchange.ours) and exchange.ours["status"] == 403
    return wrong or only_ours_lets_in(exchange)


def wrong_key(exchange: Exchange) -> Collection[str]:
    if not exchange.statuses(200, 403):
        return ()
    if exchange.method == "HEAD":
        lengths = {side["header content-length"] for side in (exchange.original, exchange.ours)}
        shorter, longer = sorted(int(length) for length in lengths)
        return {"status", "header content-length"} if (shorter, longer) == LENGTHS else ()
    return {"status"} if refused(exchange.original) and refused(exchange.ours) else ()


def way(exchange: Exchange) -> str:
    """Tell in which way a key is shown that ours understands and the original does not: the first one counts."""
    if re.match(r"(?!Bearer )(?i:bearer )[ \t]*[^ \t]", exchange.header("Authorization") or ""):
        return "scheme"
    if re.search(r"^(?!X-Custom-Auth:)(?i:x-custom-auth:)[ \t]*[^ \t\r]", exchange.head, re.MULTILINE):
        return "header"
    return "form" if exchange.header("Content-Type") == "application/x-www-form-urlencoded" else "query"


def scheme(exchange: Exchange) -> Collection[str]:
    return {"status", "body"} if way(exchange) == "scheme" and only_ours_reads(exchange) else ()


def name_of_header(exchange: Exchange) -> Collection[str]:
    return {"status", "body"} if way(exchange) == "header" and only_ours_reads(exchange) else ()


def form(exchange: Exchange) -> Collection[str]:
    kind = exchange.header("Content-Type") == "application/x-www-form-urlencoded"
    shown = unquote(exchange.sent.decode("latin-1")).removeprefix("apikey=")
    variable = (json_of(exchange.original).get("apikey", ""), json_of(exchange.ours).get("apikey", "")) == (None, shown)
    if kind and variable and let_in(exchange.original) and let_in(exchange.ours):
        return {"body"}  # let in by another way, and the variable is there
    return {"status", "body"} if way(exchange) == "form" and shown and only_ours_lets_in(exchange) else ()


def default_level(exchange: Exchange) -> Collection[str]:
    values = (json_of(exchange.original).get("value"), json_of(exchange.ours).get("value"))
    asks = exchange.target.startswith("/surface?") and "level" in exchange.target
    return BODY if asks and values == ("'DEBUG'", "'INFO'") else ()


def hidden_by_query(exchange: Exchange) -> Collection[str]:
    empty = re.search(r"[?&]apikey=(&|$)", exchange.target) and b'"apikey"' in exchange.sent
    return {"status", "body"} if way(exchange) == "query" and empty and only_ours_lets_in(exchange) else ()


def forged_headers(exchange: Exchange) -> Collection[str]:
    forged = isinstance(json_value(exchange.sent).get("request_headers"), dict)
    shut = let_in(exchange.original) and refused(exchange.ours) and exchange.ours["status"] == 403
    return {"status", "body"} if forged and shut else ()


def json_value(body: bytes) -> dict[str, object]:
    """Return the JSON object in a request's body, or an empty one."""
    return json_of(Seen(body=body))


def misspelt(exchange: Exchange) -> Collection[str]:
    opened = exchange.target == "/misspelt" and let_in(exchange.original)
    absent = exchange.ours["status"] == 404 and json_of(exchange.ours) == {"error": "not found"}
    return {"status", *BODY} if opened and absent else ()


def accidentally_open(exchange: Exchange) -> Collection[str]:
    known = exchange.target in ("/aliased", "/shouting") and exchange.header("X-Custom-Auth") is None
    shut = refused(exchange.ours) and exchange.ours["status"] == 403
    return {"status", "body"} if known and let_in(exchange.original) and shut else ()


def whole(exchange: Exchange) -> Collection[str]:
    asked = exchange.target == "/wholekey" and json_of(exchange.original).get("allowed") is False
    return {"status", "body"} if asked and refused(exchange.ours) and exchange.ours["status"] == 403 else ()


def listed(exchange: Exchange) -> Collection[str]:
    lists = [set(json_of(side).get("loaded_plugins", ())) for side in (exchange.original, exchange.ours)]
    same = all(lists) and lists[0] - {"misspelt"} == lists[1] - {"plaininit"}
    return {"body"} if same and exchange.statuses(200, 200) else ()


def plain_initialize(exchange: Exchange) -> Collection[str]:
    works = json_of(exchange.ours) == {"ready": True} and exchange.statuses(404, 200)
    return {"status", *BODY} if works and exchange.target == "/plaininit" else ()


def registered(exchange: Exchange) -> Collection[str]:
    values = [json_of(side).get("value") for side in (exchange.original, exchange.ours)]
    return {"body"} if "modules.get" in exchange.target and values == ["True", "False"] else ()


ROWS = [
    Difference(
        "wrong-key-403",
        AREA,
        "a plugin requested without a key, or with a wrong one",
        "200",
        "403 with the same body",
        Reason.BUG,
        answers(wrong_key),
        "as for `/plugins`; `[compat] legacy_status=bool:true` restores the 200",
    ),
    Difference(
        "bearer-in-any-case",
        AREA,
        "the scheme `bearer` in another case",
        "not recognised as a key",
        "recognised as a key, right or wrong",
        Reason.BUG,
        answers(scheme),
        "HTTP schemes are case-insensitive",
    ),
    Difference(
        "key-header-in-any-case",
        AREA,
        "`x-custom-auth` in another case",
        "not recognised as a key",
        "recognised as a key, right or wrong",
        Reason.BUG,
        answers(name_of_header),
        "HTTP/2 proxies and many clients send names in lower case",
    ),
    Difference(
        "key-in-form",
        AREA,
        "`apikey` in a form",
        "not recognised as a key",
        "recognised as a key",
        Reason.DOCUMENT,
        answers(form),
    ),
    Difference(
        "empty-key-in-query",
        AREA,
        "an empty `apikey` in the query and a key in the body",
        "denied",
        "the key in the body is used",
        Reason.BUG,
        answers(hidden_by_query),
        "empty values are ignored in all other places too",
    ),
    Difference(
        "forged-headers",
        AREA,
        "`request_headers` in a JSON body",
        "used as the headers, including the key",
        "ignored",
        Reason.SECURITY,
        answers(forged_headers),
    ),
    Difference(
        "misspelt-auth-type",
        AREA,
        "an unknown word as `auth_type`",
        "**the plugin is open**",
        "the plugin is not loaded, and the log has the reason",
        Reason.SECURITY,
        answers(misspelt),
    ),
    Difference(
        "accidentally-open",
        AREA,
        "`auth=global`; parameters of a file whose name has capitals",
        "**the plugin is open**",
        "the plugin requires its key",
        Reason.SECURITY,
        answers(accidentally_open),
        "names are case-insensitive",
    ),
    Difference(
        "key-before-handle-request",
        AREA,
        "a key for a plugin that overrides `handle_request`",
        "must be checked by the plugin",
        "checked before the plugin is called",
        Reason.SECURITY,
        answers(whole),
    ),
    Difference(
        "order-of-loading",
        AREA,
        "the list at `/plugins`",
        "in the file system's order",
        "sorted by file name",
        Reason.BUG,
        answers(listed),
        "the same on every machine",
    ),
    Difference(
        "plain-initialize",
        AREA,
        "a plain `def initialize`",
        "the plugin is not loaded",
        "works",
        Reason.BUG,
        answers(plain_initialize),
    ),
    Difference(
        "default-level",
        AREA,
        "the log level that a plugin sees when the server was started without `-v`",
        "DEBUG",
        "INFO",
        Reason.ROBUSTNESS,
        answers(default_level),
        "requests cannot fill a disk",
    ),
    Difference(
        "modules-registered",
        AREA,
        "a plugin's module in `sys.modules`",
        "missing",
        "present, unless the name is taken",
        Reason.BUG,
        answers(registered),
        "data classes and pickling need it",
    ),
]
