"""The intended differences in values: ini files, parameters, JSON, and the Python interface."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Callable, Collection
from typing import Any

from conformance.difference import ABSENT, Difference, Observation, Reason, differing
from conformance.values.sides import Case

INI = "Ini files"
CONFIG = "`Config`"
LOG = "`LogJam`"
PLUGIN = "`BasePlugin`"
MANAGER = "`PluginManager`"

TYPED = re.compile(r"(int|float|bool|list):")

#: Looks at one aspect: case, aspect, what the original has there, what we have.
Judge = Callable[[Case, str, Any, Any], bool]


def about(topic: str, judge: Judge) -> Callable[[Any, Observation, Observation], Collection[str]]:
    """Return what explains the differing aspects of cases of ``topic`` that ``judge`` accepts."""

    def explains(case: Any, original: Observation, ours: Observation) -> Collection[str]:
        if not isinstance(case, Case) or case.topic != topic:
            return ()
        return [
            aspect
            for aspect in differing(original, ours)
            if judge(case, aspect, original.get(aspect, ABSENT), ours.get(aspect, ABSENT))
        ]

    return explains


def named(topic: str, *names: str) -> Callable[[Any, Observation, Observation], Collection[str]]:
    """Return what explains fixed cases of ``topic`` by their names."""
    return about(topic, lambda case, aspect, original, ours: case.name.removeprefix(f"{topic}: ") in names)


def written(case: Case, aspect: str) -> str:
    """Return the text of the file that stands behind a value of ``config.<section>.<key>``, without its environment."""
    content = case.files.get("server.ini", "")
    text = content if isinstance(content, str) else content.decode(errors="replace")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    except configparser.Error:
        return ""
    # A section's name may hold dots, so it is looked for rather than split off.
    inside = (one for one in parser.sections() if aspect.startswith(f"'config'.{one}."))
    return next((parser.get(one, aspect[len(f"'config'.{one}.") :], fallback="") for one in inside), "")


def blamed(case: Case, ours: object) -> str:
    """Return the text of the value that our error names first."""
    found = re.search(r"\[(.+?)\] (.+?): (?:what|a \$|a ref|ref)", str(ours))
    return written(case, f"'config'.{found[1]}.{found[2]}") if found else ""


def with_variables(case: Case, text: str) -> str:
    """Return a text with its environment variables in their places."""
    return re.sub(r"\$\{ENV:([^}]+)\}", lambda found: case.env.get(found[1], ""), text)


def overridden(case: Case) -> bool:
    """Whether the case lets the environment replace values."""
    return bool((case.given or {}).get("env_override"))


def items(value: object) -> list[Any]:
    """Return the items of a list as an aspect shows it."""
    shown = json.loads(value) if isinstance(value, str) and value.startswith('{"list"') else {}
    return list(shown.get("list", []))


def ends_at_ampersand(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether our list is the original's up to its ``&``, and no reference has a part in it."""
    words = items(original)
    text = written(case, aspect)
    return "&" in words and items(ours) == words[: words.index("&")] and "$" not in with_variables(case, text)


def typed_reference(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether the original shows a type prefix that a reference brought along, in a text without prefix of its own."""
    text = with_variables(case, written(case, aspect))
    return (
        "${" in text and not TYPED.match(text) and isinstance(original, str) and bool(TYPED.search(original))
    ) and not overridden(case)


def dollar_behind_prefix(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether the original left alone, or could not convert, a dollar after a type prefix."""
    if aspect == "raised":
        return str(original).startswith("ValueError") and "$" in str(original) and not overridden(case)
    text = with_variables(case, written(case, aspect))
    return bool(TYPED.match(text)) and "$" in text and not overridden(case)


def unknown_behind_prefix(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether we miss what a reference after a type prefix refers to, and the original did not look."""
    return (
        original == "nothing"
        and bool(re.search(r"refers? to|a reference needs|references nest", str(ours)))
        and bool(TYPED.match(with_variables(case, blamed(case, ours))))
    )


def other_digits(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether the original read digits that are none of ASCII's."""
    text = with_variables(case, blamed(case, ours))
    return original == "nothing" and not text.isascii() and bool(re.search(r"what follows (int|float)", str(ours)))


def long_integer(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether the original read an int of more than 38 digits."""
    text = with_variables(case, blamed(case, ours))
    return original == "nothing" and text.isascii() and "38 digits" in str(ours) and len(re.findall(r"\d", text)) > 38


def original_said(*parts: str) -> Judge:
    """Return what looks for texts in the original's exception, where we had none or another."""
    return lambda case, aspect, original, ours: aspect == "raised" and all(part in str(original) for part in parts)


def byte_order_mark(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether the file begins with a byte order mark, over which the original stumbled."""
    content = case.files.get("server.ini", "")
    begins = content.startswith(b"\xef\xbb\xbf") if isinstance(content, bytes) else content.startswith("\ufeff")
    return begins and "MissingSectionHeaderError" in str(original)


def typed_variable(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether an overriding variable has a type prefix, which the original kept as text."""
    if not overridden(case):
        return False
    if aspect == "raised":
        return original == "nothing" and "environment variable" in str(ours)
    return isinstance(original, str) and bool(TYPED.match(original)) and original in case.env.values()


def variable_seen(case: Case, aspect: str, original: object, ours: object) -> bool:
    """Whether a variable took the place of a text before references were followed, not after."""
    if not overridden(case):
        return False
    if aspect == "raised":
        elsewhere = ("ENV:", "InterpolationDepthError", "MissingSectionHeaderError", "AttributeError")
        resolved = original != "nothing" and not any(word in str(original) for word in elsewhere)
        return resolved and "ConfigError" not in str(ours)
    return "${" in written(case, aspect) and original not in case.env.values()


ROWS: list[Difference] = [
    Difference(
        "ini-list-end",
        INI,
        "`list:a b &`",
        "`&` is an item",
        "`&` ends the list",
        Reason.DOCUMENT,
        about("ini", ends_at_ampersand),
    ),
    Difference(
        "ini-typed-reference",
        INI,
        "`${key}` where `key = int:42`",
        "the text `int:42`",
        "`42`; `42` within a text",
        Reason.BUG,
        about("ini", typed_reference),
    ),
    Difference(
        "ini-dollar-after-prefix",
        INI,
        "`${…}` and `$$` after a type prefix",
        "left unchanged: `int:${n}` is an error",
        "resolved, then converted",
        Reason.BUG,
        about("ini", dollar_behind_prefix),
    ),
    Difference(
        "ini-unknown-after-prefix",
        INI,
        "an unknown reference after a type prefix",
        "left unchanged",
        "an error, as without a prefix",
        Reason.ROBUSTNESS,
        about("ini", unknown_behind_prefix),
    ),
    Difference(
        "ini-variable-in-reference",
        INI,
        "a reference to a value with `${ENV:X}`",
        "an error",
        "the variable is inserted",
        Reason.BUG,
        about("ini", original_said("interpolation key 'ENV:")),
    ),
    Difference(
        "ini-reference-chain",
        INI,
        "a chain of more than ten references",
        "an error",
        "followed, up to 64",
        Reason.BUG,
        about("ini", original_said("InterpolationDepthError")),
    ),
    Difference(
        "ini-empty-section",
        INI,
        "an empty section",
        "an error without file or section",
        "a section without keys",
        Reason.BUG,
        about("ini", original_said("items or file must be specified")),
    ),
    Difference(
        "ini-byte-order-mark",
        INI,
        "a byte order mark",
        "an error",
        "skipped",
        Reason.ROBUSTNESS,
        about("ini", byte_order_mark),
    ),
    Difference(
        "ini-ascii-digits",
        INI,
        "`int:` and `float:` with non-ASCII digits",
        "a number",
        "an error",
        Reason.ROBUSTNESS,
        about("ini", other_digits),
    ),
    Difference(
        "ini-long-int",
        INI,
        "`int:` with more than 38 digits",
        "a number",
        "an error",
        Reason.ROBUSTNESS,
        about("ini", long_integer),
    ),
    Difference(
        "ini-all-values-first",
        INI,
        "a name that is not allowed and a wrong value in the same file",
        "only the first error is reported",
        "all wrong values are reported, or else the name",
        Reason.ROBUSTNESS,
        about(
            "ini",
            lambda case, aspect, original, ours: (
                (
                    (str(original).startswith("AttributeError") and "may not be used" in str(original))
                    or "must start with alpha" in str(original)
                )
                and "ConfigError" in str(ours)
            ),
        ),
    ),
    Difference(
        "ini-private-names",
        INI,
        "`[_keyok]` and `[_foo]` as sections",
        "refused",
        "allowed",
        Reason.BUG,
        about(
            "ini",
            lambda case, aspect, original, ours: (
                ours == "nothing" and bool(re.search(r"main->(_keyok|_foo):", str(original)))
            ),
        ),
        "they were names of internals of the class",
    ),
    Difference(
        "ini-not-a-file",
        INI,
        "a path that exists but cannot be read as a file",
        "an empty `Config`",
        "an error",
        Reason.ROBUSTNESS,
        about("ini", lambda case, aspect, original, ours: original == "nothing" and "cannot be read: " in str(ours)),
    ),
    Difference(
        "ini-typed-variable",
        INI,
        "`env_override` and a variable `int:2`",
        "the text `int:2`",
        "`2`",
        Reason.BUG,
        about("ini", typed_variable),
        "otherwise a variable could not replace a typed value with another of the same type",
    ),
    Difference(
        "ini-variable-before-references",
        INI,
        "`env_override` of a value that other values refer to",
        "they get the text of the file",
        "they get the value of the variable; the value in the file may be invalid",
        Reason.BUG,
        about("ini", variable_seen),
    ),
    Difference(
        "ini-json-colon",
        INI,
        "`json:settings.json` among a plugin's parameters",
        "ignored",
        "the same as `json=settings.json`",
        Reason.DOCUMENT,
        about(
            "parameters",
            lambda case, aspect, original, ours: any(re.search("(^|&)json:.", text) for text in case.given),
        ),
    ),
    Difference(
        "parameters-missing-json-file",
        INI,
        "`json=settings.json` among a plugin's parameters, if the file does not exist",
        "the plugin is loaded without it",
        "the plugin is not loaded, and the log has the reason",
        Reason.ROBUSTNESS,
        named("parameters", "'json=none.json'", "'json=a&json=b'"),
    ),
    Difference(
        "config-empty-items",
        CONFIG,
        "`Config(items={})`",
        "AttributeError",
        "an empty `Config`",
        Reason.BUG,
        named("config", "empty items"),
    ),
    Difference(
        "config-unknown-keyword",
        CONFIG,
        "an unknown keyword argument (also for `PluginManager`)",
        "ignored, or passed to plugins",
        "TypeError",
        Reason.ROBUSTNESS,
        lambda case, original, ours: [
            *named("config", "an unknown argument")(case, original, ours),
            *named("manager", "an unknown argument")(case, original, ours),
        ],
    ),
    Difference(
        "config-section-keys",
        CONFIG,
        "a section `[keys]`",
        "refused",
        "left out: it holds the keys of the server",
        Reason.SECURITY,
        named("ini", "name '[keys]\\nx = 1\\n'"),
    ),
    Difference(
        "config-private-keys",
        CONFIG,
        "the key `_keyok`",
        "refused",
        "allowed",
        Reason.BUG,
        named("config", "keys of the class"),
    ),
    Difference(
        "config-master-of-sections",
        CONFIG,
        "`masterConfig` after a section was created by hand, with `top_config=`",
        "the section",
        "the last complete `Config`",
        Reason.BUG,
        named("config", "masterConfig after a section by hand"),
    ),
    Difference(
        "config-attributes-are-items",
        CONFIG,
        "setting an attribute, deleting an item, `|=`",
        "only the item or only the attribute changes",
        "both change",
        Reason.BUG,
        named("config", "setting an attribute and the item", "deleting an item and the attribute", "union in place"),
    ),
    Difference(
        "log-wrong-type",
        LOG,
        "a level that is not a string",
        "AttributeError",
        "TypeError",
        Reason.ROBUSTNESS,
        named("log", "a level that is no text", "no level"),
    ),
    Difference(
        "log-never-raises",
        LOG,
        "lone surrogates, and arguments whose `__str__` raises",
        "an exception in the caller",
        "written as escapes; shown by their type",
        Reason.ROBUSTNESS,
        named("log", "a lone surrogate", "a failing str"),
    ),
    Difference(
        "log-one-line-a-record",
        LOG,
        "line feeds and terminal sequences in a message",
        "written unchanged",
        "escaped",
        Reason.SECURITY,
        named("log", "a line feed", "a terminal sequence"),
        "a client could forge lines of the log",
    ),
    Difference(
        "log-traceback",
        LOG,
        "`exception()` while an exception is handled",
        "the message only",
        "the traceback on the same line",
        Reason.ROBUSTNESS,
        named("log", "exception within except"),
    ),
    Difference(
        "log-older-methods",
        LOG,
        "`warning` and `common_log`",
        "missing since 0.10",
        "available",
        Reason.DOCUMENT,
        named("log", "common_log", "warning"),
    ),
    Difference(
        "log-fields",
        LOG,
        "keyword arguments of `info`, `error` and the other methods",
        "TypeError",
        "fields of the line",
        Reason.ROBUSTNESS,
        named("log", "a keyword argument"),
    ),
    Difference(
        "log-level-warning",
        LOG,
        "`level='WARNING'`",
        "unknown, so INFO",
        "WARN",
        Reason.BUG,
        named("log", "level 'WARNING'"),
    ),
    Difference(
        "plugin-misspelt-auth-type",
        PLUGIN,
        "`auth_type` with an unknown word",
        "no key is required",
        "ValueError",
        Reason.SECURITY,
        named("plugin", "auth_type misspelt"),
    ),
    Difference(
        "plugin-bearer-in-any-case",
        PLUGIN,
        "`Authorization: bearer …` in `_check_auth`",
        "not recognised",
        "recognised",
        Reason.BUG,
        named("plugin", "_check_auth lower-case bearer"),
    ),
    Difference(
        "plugin-get-client-ip",
        PLUGIN,
        "`X-Forwarded-For` in `_get_client_ip`",
        "used from any client",
        "used from trusted proxies only",
        Reason.SECURITY,
        named("plugin", "_get_client_ip", "_get_client_ip of a chain"),
    ),
    Difference(
        "manager-broken-file",
        MANAGER,
        "`load_plugin` of a file that is missing or cannot be imported",
        "raises",
        "logged",
        Reason.ROBUSTNESS,
        named("manager", *(f"load a file that {does}" for does in ("is not there", "does not compile", "raises"))),
    ),
    Difference(
        "manager-modules-after-removal",
        MANAGER,
        "`modules` after `remove_plugin`",
        "the module is kept",
        "the module is removed",
        Reason.BUG,
        named("manager", "remove_plugin and its module"),
    ),
    Difference(
        "manager-missing-json-file",
        MANAGER,
        "a `json=` file that is missing",
        "the plugin is loaded without it",
        "the plugin is not loaded, and the log has the reason",
        Reason.ROBUSTNESS,
        named("manager", "a json file that is not there"),
    ),
    Difference(
        "manager-bad-json-file",
        MANAGER,
        "a `json=` file that is not a JSON object",
        "the plugin is loaded without it, or the server does not start",
        "the plugin is not loaded, and the log has the reason",
        Reason.ROBUSTNESS,
        named("manager", "a json file that is none", "a json file of a list"),
    ),
]
