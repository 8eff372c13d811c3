"""One form for all errors of the server, a page that lists their codes, and errors that handlers raise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.errors import without_ids
from support.server import Launch, Server, serving
from support.wire import Wire

PAGE = (Path(__file__).parents[2] / "docs/errors.md").read_text()
CODES = set(re.findall(r"^\| `(\w+)` ", PAGE, re.MULTILINE))
PROBLEM = {"Accept": "application/problem+json"}

FAILING = """
from plugincore.baseplugin import BasePlugin
from plugincore.responses import HTTPError

class Failing(BasePlugin):
    async def request_handler(self, **data):
        raise eval(data["raised"])

class Plain(BasePlugin):
    def request_handler(self, **data):
        raise eval(data["raised"])

class Whole(BasePlugin):
    async def handle_request(self, **data):
        return await super().handle_request(**data)

    async def request_handler(self, **data):
        raise eval(data["raised"])

class Unsendable(BasePlugin):
    async def request_handler(self, **data):
        return {"secret": object()}

class Guarded(BasePlugin):
    http_methods = ("GET", "POST")

    async def request_handler(self, **data):
        return "in"
"""

INI_MORE = """
[plugin guarded]
body_size = 10
auth = key
[keys]
someone = key=a-key-of-enough-letters&scopes=*
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with plugins that fail in all ways."""
    with serving(tmp_path_factory.mktemp("errors"), {"failing": FAILING}, INI_MORE) as started:
        yield started


#: Requests that the server refuses or fails to answer: method, path, further arguments, status and code.
ERRORS = [
    ("GET", "/nothing", {}, 404, "not_found"),
    ("GET", "/guarded", {}, 403, "unauthorized"),
    ("PUT", "/guarded", {}, 405, "method_not_allowed"),
    ("GET", "/failing//x", {}, 400, "bad_request"),
    ("POST", "/guarded?apikey=a-key-of-enough-letters", {"content": b"x" * 11}, 413, "body_too_large"),
    ("POST", "/failing", {"content": b"x", "headers": {"Content-Encoding": "rot13"}}, 415, "unsupported_coding"),
    ("GET", "/failing?raised=KeyError('id')", {}, 500, "exception"),
    ("GET", "/unsendable", {}, 500, "bad_result"),
    ("GET", "/reload/nobody", {}, 404, "unknown_plugin"),
    ("POST", "/-/api/nothing", {}, 404, "not_found"),
    ("GET", "/failing", {"headers": {"Expect": "tea"}}, 417, "expectation_failed"),
]


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code"), ERRORS, ids=[f"{error[0]} {error[4]}" for error in ERRORS]
)
def test_every_error_has_text_code_and_request_id(
    server: Server, method: str, path: str, more: dict[str, object], status: int, code: str
) -> None:
    """As JSON, or as a problem of RFC 9457 with the same members; the page on errors has the code."""
    answer = server.request(method, path, **more)  # type: ignore[arg-type]
    assert (status, code) == (answer.status_code, answer.json()["code"])
    assert "application/json; charset=utf-8" == answer.headers["Content-Type"]
    assert isinstance(without_ids(answer.json())["error"], str)
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"]
    assert code in CODES
    headers = {**more.get("headers", {}), **PROBLEM, "X-Request-Id": "mine"}  # type: ignore[dict-item]
    answer = server.request(method, path, **{**more, "headers": headers})  # type: ignore[arg-type]
    problem = answer.json()
    assert "application/problem+json" == answer.headers["Content-Type"]
    assert {"type": "about:blank", "status": status, "code": code, "request_id": "mine"}.items() <= problem.items()
    assert problem["detail"] == problem["error"]
    assert httpx.codes.get_reason_phrase(status) in (problem["title"], "Request Entity Too Large")


@pytest.mark.parametrize("plugin", ["failing", "plain", "whole"])
def test_a_handler_raises_the_error_that_its_client_gets(server: Server, plugin: str) -> None:
    """With status, text, code and headers, and without a line in the log."""
    since = len(server.lines)
    raised = "HTTPError(404, 'no such lamp', code='no_lamp', headers={'Retry-After': '60'})"
    answer = server.get(f"/{plugin}", params={"raised": raised})
    assert (404, "60") == (answer.status_code, answer.headers["Retry-After"])
    assert {"error": "no such lamp"} == without_ids(answer.json())
    assert "no_lamp" == answer.json()["code"]
    answer = server.get(f"/{plugin}", params={"raised": "HTTPError(418)"}, headers=PROBLEM)
    assert (418, "I'm a Teapot".lower(), "im_a_teapot") == (
        answer.status_code,
        answer.json()["error"].lower(),
        answer.json()["code"],
    )
    assert "application/problem+json" == answer.headers["Content-Type"]
    assert [] == [line for line in server.lines[since:] if "HTTPError" in line or "Traceback" in line]


@pytest.mark.parametrize(
    ("made", "error"),
    [
        ("HTTPError(200)", "ValueError: the status of an error is from 400 to 599, not 200"),
        ("HTTPError('404')", "TypeError: status is an int, not str"),
        ("HTTPError(404, 5)", "TypeError: error is a str, not int"),
        ("HTTPError(404, code='No lamp')", "ValueError: code is a word of lower-case letters"),
        ("HTTPError(404, headers={'Content-Type': 'x'})", "ValueError: the server writes the body of an error"),
    ],
)
def test_an_error_that_cannot_be_sent_cannot_be_made(made: str, error: str) -> None:
    """The mistake shows where it is made."""
    program = f"from plugincore.responses import HTTPError; {made}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert error in ran.stderr


SHOWN = {"type": "KeyError", "message": "KeyError exception handling request: 'secret'"}


@pytest.mark.parametrize(
    ("show_errors", "headers", "is_shown"),
    [
        ("local", {}, True),
        ("local", {"X-Forwarded-For": "203.0.113.9"}, False),
        ("local", {"X-Forwarded-For": "127.0.0.1"}, True),
        ("on", {"X-Forwarded-For": "203.0.113.9"}, True),
        ("off", {}, False),
    ],
    ids=["here", "elsewhere", "forwarded from here", "on", "off"],
)
def test_exceptions_are_shown_to_whom_the_configuration_says(
    launch: Launch, show_errors: str, headers: dict[str, str], is_shown: bool
) -> None:
    """`[server] show_errors`; the log has everything in any case."""
    server = launch({"failing": FAILING}, ini_more=f"[server]\nshow_errors={show_errors}\n")
    answer = server.get("/failing", params={"raised": "KeyError('secret')"}, headers=headers)
    assert (500, "exception") == (answer.status_code, answer.json()["code"])
    assert is_shown == ("KeyError" in answer.text) == ("secret" in answer.text)
    assert is_shown == (SHOWN.items() <= answer.json().items())
    assert "exception" == answer.json()["status"]
    server.wait_for(f"request {answer.json()['request_id']}: .*")
    unsendable = server.get("/unsendable", headers=headers).json()
    assert is_shown == ("Object of type object" in unsendable["error"])


def test_a_request_of_a_proxy_that_is_not_trusted_does_not_count_as_local(launch: Launch) -> None:
    """Its client may be anywhere."""
    server = launch({"failing": FAILING}, ini_more="[server]\ntrusted_proxies=none\n")
    for headers, is_shown in (({}, True), ({"X-Forwarded-For": "127.0.0.1"}, False)):
        answer = server.get("/failing", params={"raised": "KeyError('secret')"}, headers=headers)
        assert is_shown == ("secret" in answer.text)


def test_an_unknown_word_for_show_errors_is_refused(launch: Launch) -> None:
    """At the start, with file, line and remedy."""
    server = launch(ini_more="[server]\nshow_errors=everyone\n", ready=False)
    line = server.wait_for(r"show_errors")
    assert "[server] show_errors: must be local, on or off" in line


def test_a_head_that_cannot_be_parsed_gets_the_same_members(server: Server) -> None:
    """In compact JSON, since its Accept is unknown."""
    with Wire(server) as wire:
        answer = wire.fetch(b"nonsense\r\n\r\n")
    body = json.loads(answer.body)
    assert (400, "malformed") == (answer.status, body["code"])
    assert list(without_ids(body)) == ["error"]
    assert body["code"] in CODES
