"""Slips in `[plugin_parms]`: none leaves a plugin open without a word."""

from __future__ import annotations

import re

import pytest

from support.server import Launch

HELLO = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, {{"hello": "world"}}
"""

CHECKS = """
    def _check_auth(self, data):
        return True
"""

KEY = "[auth]\napikey = k\n[plugin_parms]\n"


@pytest.mark.parametrize(
    "line",
    [
        "auth_typ=global",
        "authtype=global",
        "Auth_Type=global",
        "auth_type = global",
        "auth_type:global",
        "auth_kind=global",
        "global",
        "word=x&verbose",
        "apikey=abc",
        "apikye=abc",
        "api_key=abc",
        "auth_type=",
        "apikey=${ENV:NOT_SET}",
        "jsno=hello.json",
        "json=near.json",
        "json=apikey.json",
    ],
)
def test_a_plugin_that_was_probably_to_ask_for_a_key_is_refused(launch: Launch, line: str) -> None:
    """With the place of the line, and both ways out; a reload reports the same."""
    files = {"near.json": '{"authtype": "global"}', "apikey.json": '{"apikey": "k"}'}
    server = launch({"hello": HELLO.format(name="Hello"), **files}, ini_more=f"{KEY}hello = {line}\n")
    assert 404 == server.get("/hello").status_code
    told = server.wait_for(r"ERROR - .*server\.ini:11: \[plugin_parms\] hello: ")
    assert "auth_type=global" in told
    assert "auth_type=none" in told
    reloaded = server.get("/reload/all?apikey=k").json()
    assert reloaded["failed"][0].startswith("server.ini:11: [plugin_parms] hello: ")


@pytest.mark.parametrize("line", ["auth_type=none&apikey=theirs", "auth_type=None&verbose", "", "auth_token=x&words=y"])
def test_a_plugin_that_is_open_on_purpose_is_served(launch: Launch, line: str) -> None:
    """`auth_type=none` is explicit, and names that are only a little like the host's are the plugin's own."""
    server = launch({"hello": HELLO.format(name="Hello")}, ini_more=f"{KEY}hello = {line}\n")
    assert 200 == server.get("/hello").status_code
    server.wait_for(r"Serving http://.*/hello  \[open\]$")


@pytest.mark.parametrize("line", ["auth_type=global&verbose", "auth_type=global&api_key=theirs&auth_typ=x"])
def test_what_asks_for_a_key_is_not_refused_for_other_words(launch: Launch, line: str) -> None:
    """It is not open, so there is nothing to fear."""
    server = launch({"hello": HELLO.format(name="Hello")}, ini_more=f"{KEY}hello = {line}\n")
    assert [403, 200] == [server.get(path).status_code for path in ("/hello", "/hello?apikey=k")]


@pytest.mark.parametrize("name", ["helo", "hello.py", "ehllo", "helllo"])
def test_a_line_of_no_plugin_file_is_warned_of_with_the_nearest_name(launch: Launch, name: str) -> None:
    """At the start and at a reload of all."""
    server = launch({"hello": HELLO.format(name="Hello")}, ini_more=f"{KEY}{name} = auth_type=global\n")
    pattern = (
        rf"WARN - .*server\.ini:11: \[plugin_parms\] {re.escape(name)}: there is no such plugin file.*is hello meant"
    )
    server.wait_for(pattern)
    mark = len(server.lines)
    assert 200 == server.get("/reload/all?apikey=k").status_code
    server.wait_for(pattern, mark)


def test_lines_that_fit_a_file_in_any_case_are_not_warned_of(launch: Launch) -> None:
    """`configparser` takes the capitals out of names, and keys of `[DEFAULT]` are in every section."""
    more = "[DEFAULT]\nbase = /srv\n[plugin_parms]\nhello = word=x\n"
    server = launch({"Hello": HELLO.format(name="Hello")}, ini_more=more)
    server.wait_for("Serving ")
    assert "no such plugin file" not in server.log


def test_the_start_says_who_may_call_each_plugin(launch: Launch) -> None:
    """So that an open one is seen."""
    names = ("free", "common", "own", "checks")
    plugins = {name: HELLO.format(name=name.title()) for name in names}
    plugins["checks"] += CHECKS
    more = f"{KEY}common = auth_type=global\nown = auth_type=plugin&apikey=o\nchecks = auth_type=global\n"
    server = launch(plugins, ini_more=more)
    for name, audience in zip(names, ("open", "server key", "own key", "its own check"), strict=True):
        server.wait_for(rf"Serving http://.*/{name}  \[{audience}\]$")
