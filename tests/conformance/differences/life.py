"""Differences in starting, reloading, stopping and logging."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from conformance.difference import ABSENT, Difference, Observation, Reason
from conformance.scenario import Scenario

START = "Starting"
RELOAD = "Reloading"
STOP = "Stopping"
LOG = "Logging"

#: The aspects that changed, with what they were on both sides.
Changes = Mapping[str, tuple[Any, Any]]


def scenarios(
    by_name: Mapping[str, Changes],
) -> Callable[[Any, Observation, Observation], Collection[str]]:
    """Make an ``explains`` of exact values: by the scenario's name, what was seen of each side."""

    def explains(case: Any, original: Observation, ours: Observation) -> Collection[str]:
        if not isinstance(case, Scenario) or case.name not in by_name:
            return ()
        return {
            aspect
            for aspect, pair in by_name[case.name].items()
            if (original.get(aspect, ABSENT), ours.get(aspect, ABSENT)) == pair
        }

    return explains


def each(names: Collection[str], changes: Changes) -> dict[str, Changes]:
    """Say that several scenarios change in the same way."""
    return dict.fromkeys(names, changes)


LIST = '200 {"loaded_plugins": ["a"]}'
NO_LIST = '200 {"loaded_plugins": []}'
STARTS = {"start": ("exit 1", "serves"), "plugins": (ABSENT, LIST)}
RELOADED = ("500 500: Internal Server Error", '200 {"reloaded": "a", "success": true}')
NEW_FIRST = (["made a", "ended a", "made a"], ["made a", "made a", "ended a"])

FOREIGN = (
    '403 {"error": "without an apikey in section [auth] this is answered only under an address or localhost, and not '
    "to pages of other origins; set the key, or ask for http://127.0.0.1 or the server's address\"}"
)
PLAIN_ON_TLS = '400 {"error":"this port speaks HTTPS: use https://"}'

SPOKEN = [
    "INFO called 1 None",
    "DEBUG debug",
    "INFO info",
    "WARN warn",
    "ERROR error",
    "CRITICAL critical",
    "EXCEPTION exception",
    "ERROR ",
    "ERROR the last",
]
#: The same with the ids that plugincore adds.
IDENTIFIED = [f"{line} request_id=ID" for line in SPOKEN]
ANSWER = "DEBUG Got 200 - a confidential answer"
PRIORITIES = {"INFO": 6, "DEBUG": 7, "WARN": 4, "ERROR": 3, "CRITICAL": 2, "EXCEPTION": 2}


def in_file(lines: Collection[str]) -> list[str]:
    """Return lines as they stand in a log file."""
    return [f"TIME - spoken - {level} - {text}" for level, _, text in (line.partition(" ") for line in lines)]


def in_output(lines: Collection[str]) -> list[str]:
    """Return lines as they stand in the output."""
    parts = (line.partition(" ") for line in lines)
    return [f"<{PRIORITIES[level]}> - {level} - spoken - {text}" for level, _, text in parts]


WRONG_INI = (
    "no ini file",
    "an ini file without a section",
    "an ini file with nonsense",
    "no paths section",
    "no plugins folder named",
    "a repeated section",
    "a repeated key",
    "a dollar sign in a value",
    "an unknown reference",
    "a section called like Python's words",
    "a key called like a builtin",
)

ROWS = [
    Difference(
        "wrong-ini",
        START,
        "an ini file with errors",
        "exit code 1, with the first error",
        "exit code 2, with all errors and their lines",
        Reason.BUG,
        scenarios(each(WRONG_INI, {"start": ("exit 1", "exit 2")})),
    ),
    Difference(
        "no-network-section",
        START,
        "no section `[network]`",
        "exit code 1",
        "the server listens on 127.0.0.1:9192",
        Reason.ROBUSTNESS,
        scenarios({"no network section": {"start": ("exit 1", "serves")}}),
    ),
    Difference(
        "empty-section",
        START,
        "a section without keys",
        "exit code 1",
        "the server starts",
        Reason.BUG,
        scenarios({"an empty section": STARTS}),
    ),
    Difference(
        "cors-without-origins",
        START,
        "`[cors]` without `origin_url`",
        "exit code 1",
        "the server starts; no origin is allowed",
        Reason.ROBUSTNESS,
        scenarios({"CORS without origins": STARTS}),
    ),
    Difference(
        "broken-plugin",
        START,
        "a plugin that cannot be imported, or that exits",
        "**the server does not start**",
        "only that plugin is not loaded, and the log has the reason",
        Reason.ROBUSTNESS,
        scenarios(
            {
                **each(("an import error", "a syntax error", "an exception at import"), STARTS),
                "exit at import": {**STARTS, "start": ("exit 3", "serves")},
                "exit in __init__": {**STARTS, "start": ("exit 4", "serves")},
            }
        ),
    ),
    Difference(
        "helper-modules",
        START,
        "a plugin that imports a module beside it",
        "the server does not start",
        "works",
        Reason.BUG,
        scenarios({"a helper beside the plugins": STARTS}),
    ),
    Difference(
        "postponed-annotations",
        START,
        "data classes with postponed annotations in a plugin",
        "the server does not start",
        "work",
        Reason.BUG,
        scenarios(
            {
                "data classes with postponed annotations": {
                    "start": ("exit 1", "serves"),
                    "/a": ("ClosedError", '200 {"x": 1}'),
                }
            }
        ),
    ),
    Difference(
        "same-id",
        START,
        "two plugins with the same id",
        "the last one loaded is used; the other is never terminated",
        "the first one is used; the other is rejected, and the log has the reason",
        Reason.ROBUSTNESS,
        scenarios({"two plugins of one id": {"/a": ("200 two", "200 one")}}),
    ),
    Difference(
        "server-id",
        START,
        "an id that is a path of the server, such as `plugins`",
        "the server does not start",
        "the plugin is rejected, and the log has the reason",
        Reason.ROBUSTNESS,
        scenarios({"an id of the server's": {"start": ("exit 1", "serves"), "/plugins": ("ClosedError", NO_LIST)}}),
    ),
    Difference(
        "typed-key",
        START,
        "`[auth] apikey=int:5`",
        "never matches",
        "is compared as text",
        Reason.BUG,
        scenarios({"a typed server key that is shown": {"/plugins?apikey=5": ('403 {"error": "unauthorized"}', LIST)}}),
    ),
    Difference(
        "missing-json-parameters",
        START,
        "a file named by `json=` that is missing",
        "the plugin is loaded without it",
        "only that plugin is not loaded, and the log has the reason",
        Reason.ROBUSTNESS,
        scenarios(
            {
                "json is missing": {
                    "/a": ('200 {"word": null, "json": null}', '404 {"error": "not found"}'),
                    "plugins": (LIST, NO_LIST),
                }
            }
        ),
        "it would run without the parameters in the file",
    ),
    Difference(
        "broken-json-parameters",
        START,
        "a file named by `json=` that is not valid JSON, or not an object",
        "the server does not start",
        "only that plugin is not loaded, and the log has the reason",
        Reason.ROBUSTNESS,
        scenarios(each(("json is broken", "json is a list"), {**STARTS, "plugins": (ABSENT, NO_LIST)})),
    ),
    Difference(
        "json-with-colon",
        START,
        "`json:file` instead of `json=file`",
        "ignored",
        "the same as `json=file`",
        Reason.DOCUMENT,
        scenarios({"json with a colon": {"/a": ('200 {"word": null, "json": null}', '200 {"word": null, "json": 1}')}}),
    ),
    Difference(
        "port-taken",
        START,
        "a port that is in use",
        "reported after the plugins have been constructed; they are terminated again",
        "reported before any plugin is constructed",
        Reason.ROBUSTNESS,
        scenarios({"a port that is taken": {"marks": (["made a", "ended a"], [])}}),
    ),
    Difference(
        "bad-certificate",
        START,
        "a certificate or key that is missing or invalid",
        "**plain HTTP**",
        "the server does not start",
        Reason.SECURITY,
        scenarios(
            {
                "TLS, no certificate": {"start": ("serves", "exit 2"), "/a": ("200 one", "ClosedError")},
                "TLS, no key named": {"start": ("serves", "exit 2"), "/a": ("200 one", "ClosedError")},
                "TLS, a bad certificate": {"start": ("serves", "exit 1"), "plain": ("200 one", ABSENT)},
            }
        ),
    ),
    Difference(
        "untyped-false",
        START,
        "`[SSL] enabled=false`, without `bool:`",
        "TLS is on, since the string is not empty",
        "TLS is off",
        Reason.BUG,
        scenarios({"TLS, enabled=false": {"in TLS": ("200 one", "SSLError"), "plain": ("ClosedError", "200 one")}}),
    ),
    Difference(
        "words-of-switches",
        START,
        "`[SSL] enabled=bool:True`, and other words for true",
        "**plain HTTP**: `bool:` accepts five words only",
        "TLS is on; a word that means neither true nor false is an error",
        Reason.SECURITY,
        scenarios(
            {
                "TLS, enabled=bool:True": {"in TLS": ("SSLError", "200 one"), "plain": ("200 one", PLAIN_ON_TLS)},
                "TLS, enabled=bool:tru": {"start": ("serves", "exit 2"), "/a": ("200 one", "ClosedError")},
            }
        ),
        "the same for every boolean option of the server",
    ),
    Difference(
        "slips-in-parameters",
        START,
        "`auth_typ=global`, `global` alone, `apikey=…` without `auth_type` in `[plugin_parms]`",
        "**the plugin is open**",
        "the plugin is not loaded, and the log has the reason",
        Reason.SECURITY,
        scenarios(
            each(
                ("a misspelt auth_type", "a bare word as parameters", "a key without auth_type"),
                {"/a": ("200 one", '404 {"error": "not found"}')},
            )
        ),
        "`auth_type=none` opens a plugin explicitly",
    ),
    Difference(
        "foreign-host",
        START,
        "`/plugins` and `/reload/…` without `[auth] apikey`, with a `Host` other than an address or `localhost`",
        "answered",
        "403 with the remedy",
        Reason.SECURITY,
        scenarios(
            {
                "the server's addresses under another name, without a key": {
                    "plugins": (LIST, FOREIGN),
                    "reload": ('200 {"status": "All plugins reloaded", "loaded_plugins": ["a"]}', FOREIGN),
                }
            }
        ),
        "a page of another site could read them through a browser",
    ),
    Difference(
        "missing-folder",
        START,
        "a plugin folder that does not exist",
        "the server starts without plugins",
        "the server does not start",
        Reason.ROBUSTNESS,
        scenarios({"a folder that is missing": {"start": ("serves", "exit 2"), "plugins": (NO_LIST, ABSENT)}}),
        "a server without its plugins would look healthy",
    ),
    Difference(
        "plain-http-on-tls",
        START,
        "plain HTTP on a TLS port",
        "the connection is closed",
        "400 with the reason",
        Reason.ROBUSTNESS,
        scenarios({"TLS": {"plain": ("ClosedError", PLAIN_ON_TLS)}}),
    ),
    Difference(
        "reload-serves-new",
        RELOAD,
        "`/reload/<id>`",
        "500, and the old, terminated instance stays in use",
        "200, and the new instance is used",
        Reason.BUG,
        scenarios(
            {
                "reload": {"reload": RELOADED, "/a": ("200 one", "200 longer text"), "marks": NEW_FIRST},
                "reload after an edit of the same length": {
                    "reload": RELOADED,
                    "/a": ("200 one", "200 two"),
                    "marks": NEW_FIRST,
                },
                "reload with another parameter": {
                    "reload": RELOADED,
                    "/a": ('200 {"word": "one", "json": null}', '200 {"word": "two", "json": null}'),
                },
                "reload with a key": {"reload": RELOADED, "marks": NEW_FIRST},
                "reload, async terminate_plugin": {"reload": RELOADED},
            }
        ),
        "the old instance is terminated after the new one has been constructed",
    ),
    Difference(
        "reload-two-in-a-file",
        RELOAD,
        "a reload of one of two plugins in the same file",
        "new instances of both, one old instance is terminated; 500",
        "new instances of both, both old instances are terminated; 200",
        Reason.BUG,
        scenarios(
            {
                "reload of one of two in a file": {
                    "reload": RELOADED,
                    "marks": (
                        ["made a", "made b", "ended a", "made a", "made b"],
                        ["made a", "made b", "made a", "made b", "ended a", "ended b"],
                    ),
                }
            }
        ),
    ),
    Difference(
        "reload-with-another-route",
        RELOAD,
        "a reload after `route_path` has changed",
        "500; the plugin cannot be reached any more",
        "200; it answers at the new path",
        Reason.BUG,
        scenarios(
            {
                "reload with another route": {
                    "reload": RELOADED,
                    "/a": ('404 {"error": "Plugin a not found"}', '404 {"error": "not found"}'),
                    "/z": ("404 404: Not Found", "200 one"),
                    "marks": NEW_FIRST,
                }
            }
        ),
    ),
    Difference(
        "reload-of-unknown",
        RELOAD,
        "a reload of a plugin that does not exist",
        "500",
        "404",
        Reason.BUG,
        scenarios(
            {
                "reload of an unknown plugin": {
                    "reload": (
                        "500 500: Internal Server Error",
                        '404 {"error": "Plugin \\"nobody\\" not found"}',
                    )
                }
            }
        ),
    ),
    Difference(
        "reload-of-broken-file",
        RELOAD,
        "a reload of a file with errors",
        "500, and the plugin is lost",
        "500 with the reasons, and the earlier version stays in use",
        Reason.ROBUSTNESS,
        scenarios(
            {
                "reload of a broken file": {
                    "reload": (
                        '500 {"error": "Failed to reload plugin a"}',
                        '500 {"error": "Failed to reload plugin a", "reasons": ["plugins/a.py:1: SyntaxError: invalid '
                        'syntax (a.py, line 1); the earlier version goes on serving"], '
                        '"loaded_plugins": ["a"]}',
                    ),
                    "/a": ('404 {"error": "Plugin a not found"}', "200 one"),
                    "/plugins": (NO_LIST, LIST),
                    "marks": (["made a", "ended a"], ["made a"]),
                }
            }
        ),
    ),
    Difference(
        "reload-all",
        RELOAD,
        "`/reload/all`",
        "constructs new instances but terminates none and keeps using the old ones; new files are 404",
        "uses new instances of files that have changed, terminates the old ones, leaves unchanged plugins alone with "
        "their state, and serves new files",
        Reason.BUG,
        scenarios(
            {
                "reload of all": {
                    "/a": ("200 one", "200 longer text"),
                    "marks": (["made a", "made a"], ["made a", "made a", "ended a"]),
                },
                "reload of all, a new file": {
                    "/b": ("404 404: Not Found", "200 one"),
                    "marks": (["made a", "made a", "made b"], ["made a", "made b"]),
                },
            }
        ),
    ),
    Difference(
        "async-terminate",
        STOP,
        "`async def terminate_plugin`",
        "never awaited",
        "awaited",
        Reason.BUG,
        scenarios(
            {
                "SIGINT, async terminate_plugin": {"marks": (["made a"], ["made a", "ended a"])},
                "reload, async terminate_plugin": {"marks": (["made a", "made a"], ["made a", "made a", "ended a"])},
            }
        ),
    ),
    Difference(
        "sigterm",
        STOP,
        "SIGTERM",
        "the server exits at once: plugins are not terminated, the pidfile remains",
        "as for SIGINT: exit code 0",
        Reason.ROBUSTNESS,
        scenarios(
            each(
                ("SIGTERM", "pidfile, SIGTERM"),
                {"exit": (-15, 0), "marks": (["made a"], ["made a", "ended a"]), "is left": (True, False)},
            )
        ),
        "systemd and containers send it",
    ),
    Difference(
        "sighup",
        STOP,
        "SIGHUP",
        "the server exits",
        "reloads everything",
        Reason.DOCUMENT,
        scenarios(
            {
                "SIGHUP": {
                    "ended": (True, False),
                    "after": ("ClosedError", "200 two"),
                    "marks": (["made a"], ["made a", "made a", "ended a"]),
                }
            }
        ),
    ),
    Difference(
        "requests-at-stop",
        STOP,
        "requests in progress when the server stops",
        "dropped",
        "finished, within `[server] shutdown_timeout`",
        Reason.ROBUSTNESS,
        scenarios({"SIGINT during a request": {"answer": ("ClosedError", "200 done")}}),
    ),
    Difference(
        "unknown-level",
        LOG,
        "`-v` with a word that is not a level",
        "means INFO",
        "exit code 2",
        Reason.ROBUSTNESS,
        scenarios({"an unknown level": {"start": ("serves", "exit 2"), "plugins": (LIST, ABSENT)}}),
    ),
    Difference(
        "answers-in-log",
        LOG,
        "level DEBUG, which is pluginserver's default",
        "logs every answer in full",
        "does not log bodies",
        Reason.SECURITY,
        scenarios(
            {
                "log file": {
                    "file": (in_file([*SPOKEN, ANSWER]), in_file(IDENTIFIED)),
                    "output": (in_output([*SPOKEN, ANSWER]), in_output(IDENTIFIED)),
                },
                "output": {"lines": (in_output([*SPOKEN, ANSWER]), in_output(IDENTIFIED))},
                "secrets in the log": {"a plugin's answer": (True, False)},
            }
        ),
    ),
    Difference(
        "request-ids-in-log",
        LOG,
        "what a handler logs",
        "written as it is",
        "followed by ` request_id=` and the id of its request",
        Reason.ROBUSTNESS,
        scenarios(
            {
                "log file, level ERROR": {
                    "file": (in_file(SPOKEN[4:]), in_file(IDENTIFIED[4:])),
                    "output": (in_output(SPOKEN[4:]), in_output(IDENTIFIED[4:])),
                },
                "output, level INFO": {
                    "lines": (in_output(SPOKEN[:1] + SPOKEN[2:]), in_output(IDENTIFIED[:1] + IDENTIFIED[2:])),
                },
                "output, a level in small letters": {"lines": (in_output(SPOKEN[4:]), in_output(IDENTIFIED[4:]))},
            }
        ),
    ),
    Difference(
        "keys-in-output",
        LOG,
        "the output at startup",
        "shows the configuration with its keys",
        "does not show values",
        Reason.SECURITY,
        scenarios({"secrets in the log": {"the server's key": (True, False)}}),
    ),
    Difference(
        "forged-log-lines",
        LOG,
        "line breaks in logged text",
        "written unchanged: clients can forge lines",
        "escaped",
        Reason.SECURITY,
        scenarios({"a line of the log by a client": {"forged": (True, False)}}),
    ),
    Difference(
        "level-of-the-server",
        LOG,
        "`-v LEVEL` without `-l`",
        "applies to plugins only",
        "applies to the server's own lines too",
        Reason.BUG,
        scenarios({"output, a level in small letters": {"server's name": (True, False)}}),
    ),
]
