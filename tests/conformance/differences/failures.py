"""Differences in what becomes of a handler that fails."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web

from conformance.difference import Difference, Reason
from conformance.differences.exchange import BODY, TROUBLE, Exchange, answers, everything, json_of

AREA = "Failures"

#: How much longer the body of an exception is at least.
LENGTH_OF_MEMBERS = len(', "error": "", "code": "exception", "request_id": ""') + 32


def told_by_ours(exchange: Exchange) -> bool:
    """Return whether ours answers with an exception of the handler, as JSON with status 500."""
    told = json_of(exchange.ours)
    return exchange.ours["status"] == 500 and list(told) == ["status", "type", "message"]


def exception(exchange: Exchange) -> Collection[str]:
    if exchange.method == "HEAD" and exchange.statuses(200, 500):
        longer = int(exchange.ours["header content-length"]) - int(exchange.original["header content-length"])
        return {"status", "header content-length"} if longer > LENGTH_OF_MEMBERS else ()
    if not exchange.shielded or exchange.ours["status"] != 500:
        return ()
    same = exchange.ours["body"] == exchange.original["body"]
    return {"status"} if same and told_by_ours(exchange) else ()


def raised(exchange: Exchange) -> Collection[str]:
    kind = getattr(web, (exchange.exception or {"type": ""})["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, web.HTTPException)):
        return ()
    own = {"header location", "header allow", "header www-authenticate", "framing"}
    return {"status", *BODY, *own} if exchange.statuses(200, kind.status_code) else ()


def plain(exchange: Exchange) -> Collection[str]:
    told = exchange.exception or {"message": ""}
    works = told["message"].endswith("can't be used in 'await' expression") and exchange.statuses(200, 200)
    return BODY if works else ()


def missing(exchange: Exchange) -> Collection[str]:
    told = exchange.exception or {"type": ""}
    unusable = exchange.shielded and told["type"] in ("AttributeError", "TypeError")
    hint = exchange.ours["status"] == 500 and exchange.says(exchange.ours, "the plugin has no request_handler; ")
    return {"status", "body"} if unusable and hint else ()


def trouble(exchange: Exchange) -> Collection[str]:
    closed = (exchange.original["connection"], exchange.ours["connection"]) == ("closed", "open")
    if not (closed and exchange.statuses(500, 500) and exchange.original["body"] == TROUBLE):
        return ()
    unsendable = exchange.says(exchange.ours, "the plugin's answer cannot be sent: ")
    return {*BODY, "connection"} if unsendable or told_by_ours(exchange) else ()


def dropped(exchange: Exchange) -> Collection[str]:
    lost = exchange.original["no answer"] == "ClosedError" and exchange.original["server"] == "serves"
    return everything(exchange) if lost and told_by_ours(exchange) else ()


def died(exchange: Exchange) -> Collection[str]:
    serves = exchange.ours["server"] == "serves" and exchange.ours["connection"] == "open"
    answered = told_by_ours(exchange) or "create_task" in exchange.source
    return everything(exchange) if exchange.original["server"] == "died" and serves and answered else ()


def members(exchange: Exchange) -> Collection[str]:
    added = exchange.ours["error members"] and not exchange.original["error members"]
    return {"error members"} if added and exchange.ours["status"] in (200, *range(400, 600)) else ()


ROWS = [
    Difference(
        "error-members",
        AREA,
        "every error of the server",
        "text, or JSON with `error`",
        "JSON with `error`, `code` and `request_id`",
        Reason.ROBUSTNESS,
        answers(members),
        "programs need a word that stays the same, and people an id that the log has",
    ),
    Difference(
        "exception-500",
        AREA,
        "an exception in a handler",
        "200",
        "500; the same body plus `error`, `code` and `request_id`",
        Reason.BUG,
        answers(exception),
        "monitoring and retries need it; `[compat] legacy_status=bool:true` restores the 200",
    ),
    Difference(
        "http-exception",
        AREA,
        "`raise web.HTTPNotFound()` and similar",
        "200, as for any exception",
        "the answer that the exception describes",
        Reason.BUG,
        answers(raised),
        "this is the purpose of the exception",
    ),
    Difference(
        "plain-def",
        AREA,
        "a plain `def request_handler`",
        "an exception",
        "works",
        Reason.DOCUMENT,
        answers(plain),
    ),
    Difference(
        "no-handler",
        AREA,
        "a `request_handler` that is missing, misspelt or not a function",
        "200 with an exception",
        "500 with a hint",
        Reason.BUG,
        answers(missing),
    ),
    Difference(
        "internal-error",
        AREA,
        "a result that is not serialisable; an exception in an overridden `handle_request`",
        "500 as text, and the connection is closed",
        "500 as JSON with the reason, and the connection stays open",
        Reason.ROBUSTNESS,
        answers(trouble),
    ),
    Difference(
        "connection-dropped",
        AREA,
        "`CancelledError`, `GeneratorExit` or another `BaseException` in a handler",
        "the connection is dropped without an answer",
        "500",
        Reason.ROBUSTNESS,
        answers(dropped),
    ),
    Difference(
        "server-ended",
        AREA,
        "`SystemExit` or `KeyboardInterrupt` in a handler or a task",
        "**the server exits**",
        "500 for that request; the server keeps running",
        Reason.SECURITY,
        answers(died),
    ),
]
