"""Responses that plugins build with aiohttp."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from support.server import Server, serving

MADE = """
import array
import asyncio
import datetime
import io
import sys
from aiohttp import web
from plugincore.baseplugin import BasePlugin

def cookies(response):
    when = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    response.set_cookie("a", "1", httponly=True, path="/p", max_age=60, samesite="Strict", secure=True)
    response.set_cookie("b", "q w;", expires=when)
    response.del_cookie("c")
    return response

class Made(BasePlugin):
    async def request_handler(self, **data):
        result = eval(data["expression"], globals())
        if isinstance(result, BaseException) and "raised" in data:
            raise result
        return (int(data["code"]), result) if "code" in data else result

class Whole(BasePlugin):
    async def handle_request(self, **data):
        return web.json_response({"whole": True}, status=202)

class Request(BasePlugin):
    async def request_handler(self, **data):
        return web.Response(text=data["request"].url.path)
"""

HTML = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this page."""
    with serving(tmp_path_factory.mktemp("aiohttp"), {"made": MADE}) as server:
        yield server


def made(server: Server, expression: str, **more: str) -> httpx.Response:
    """Return the answer of a handler that makes its result by ``expression``."""
    return server.post("/made", content=json.dumps({"expression": expression, **more}))


@pytest.mark.parametrize("more", [{}, {"code": "500"}], ids=["bare", "in a tuple"])
@pytest.mark.parametrize(
    ("expression", "status", "content_type", "body"),
    [
        ("web.Response()", 200, None, b""),
        ("web.Response(status=204)", 204, None, b""),
        ("web.Response(text='é')", 200, PLAIN, "é".encode()),
        ("web.Response(text='é', charset='latin-1')", 200, "text/plain; charset=latin-1", b"\xe9"),
        ("web.Response(text='<p>', content_type='text/html', status=404)", 404, HTML, b"<p>"),
        ("web.Response(text='')", 200, PLAIN, b""),
        ("web.Response(body=b'\\x00\\xff')", 200, OCTETS, b"\x00\xff"),
        ("web.Response(body=b'%PDF', content_type='application/pdf')", 200, "application/pdf", b"%PDF"),
        ("web.Response(body=bytearray(b'ab'))", 200, OCTETS, b"ab"),
        ("web.Response(body=memoryview(b'abcd')[1:3])", 200, OCTETS, b"bc"),
        ("web.Response(body='text')", 200, PLAIN, b"text"),
        ("web.Response(body=b'x' * 3_000_000)", 200, OCTETS, b"x" * 3_000_000),
        ("web.Response(text='x' * 3_000_000)", 200, PLAIN, b"x" * 3_000_000),
        ("web.Response(body=bytearray(3_000_000))", 200, OCTETS, bytes(3_000_000)),
        ("web.json_response({'a': [1]})", 200, JSON, b'{"a": [1]}'),
        ("web.json_response([1], status=418)", 418, JSON, b"[1]"),
        ("web.HTTPOk(text='fine')", 200, PLAIN, b"fine"),
        ("web.HTTPNotFound()", 404, PLAIN, b"404: Not Found"),
        ("web.HTTPForbidden(text='{}', content_type='application/json')", 403, JSON, b"{}"),
        ("web.HTTPNoContent()", 204, None, b""),
    ],
)
def test_a_response_goes_out_as_it_is(
    server: Server, more: dict[str, str], expression: str, status: int, content_type: str | None, body: bytes
) -> None:
    """Status, type and body are the response's own; the code beside it in a tuple does not count."""
    answer = made(server, expression, **more)
    assert status == answer.status_code, answer.text
    assert body == answer.content
    if content_type is not None:
        assert content_type == answer.headers["content-type"]


def test_the_responses_headers_go_out_with_their_repetitions(server: Server) -> None:
    """All headers of the response are sent, but the length is ours."""
    headers = "{'X-One': '1', 'Cache-Control': 'no-store', 'Content-Length': '99'}"
    answer = made(server, f"web.Response(text='abc', headers={headers})")
    assert ("1", "no-store", "3", "abc") == (
        answer.headers["x-one"],
        answer.headers["cache-control"],
        answer.headers["content-length"],
        answer.text,
    )


def test_cookies_go_out_with_their_attributes(server: Server) -> None:
    """One Set-Cookie a cookie, as aiohttp writes it; a deleted one expires at once."""
    sent = made(server, "cookies(web.Response(text='x'))").headers.get_list("set-cookie")
    one, two, three = sorted(sent)
    assert {"a=1", "HttpOnly", "Path=/p", "Max-Age=60", "SameSite=Strict", "Secure"} == set(one.split("; "))
    assert 'b="q w\\073"' == two.split("; ")[0]
    assert "2030" in two
    assert three.startswith('c=""; ')
    assert "Max-Age=0" in three


@pytest.mark.parametrize("more", [{}, {"raised": "1"}, {"code": "200"}], ids=["returned", "raised", "in a tuple"])
def test_an_http_exception_is_an_answer(server: Server, more: dict[str, str]) -> None:
    """Aiohttp's way to redirect works raised and returned, and is no failure in the log."""
    since = len(server.lines)
    answer = made(server, "web.HTTPFound('/else?where=1')", **more)
    assert (302, "/else?where=1") == (answer.status_code, answer.headers["location"])
    answer = made(server, "web.HTTPMethodNotAllowed('PUT', ['GET'])", **more)
    assert (405, "GET") == (answer.status_code, answer.headers["allow"])
    assert not [line for line in server.lines[since:] if "Traceback" in line]


def test_head_tells_the_length_of_a_response(server: Server) -> None:
    """HEAD of a plugin that answers with aiohttp has its headers and no body."""
    answer = server.request("HEAD", "/request")
    assert (200, "8", b"") == (answer.status_code, answer.headers["content-length"], answer.content)


def test_an_overloaded_handle_request_may_return_a_response(server: Server) -> None:
    """A plugin that takes over the whole request answers with aiohttp as any other does."""
    answer = server.get("/whole")
    assert (202, {"whole": True}) == (answer.status_code, answer.json())


def test_the_requests_url_is_yarls(server: Server) -> None:
    """Where yarl is installed, `request.url` is one of its objects."""
    assert "/request/a b" == server.get("/request/a%20b").text


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("web.Response(status=99)", "status 99 is not from 200 to 599"),
        ("web.Response(status=101)", "status 101 is not from 200 to 599"),
        ("web.Response(status=600)", "status 600 is not from 200 to 599"),
        ("web.Response", "is not JSON serializable"),
    ],
)
def test_a_response_that_cannot_be_sent_is_a_500_that_says_so(server: Server, expression: str, reason: str) -> None:
    """The message describes the mistake to the author."""
    answer = made(server, expression)
    assert (500, JSON) == (answer.status_code, answer.headers["content-type"])
    assert reason in answer.json()["error"]
    assert reason in server.wait_for(answer.headers["x-request-id"])
