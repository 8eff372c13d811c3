"""Complete answers that plugins make with `plugincore.responses`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from plugincore.responses import Headers, Redirect, Response
from support.server import Server, serving

MADE = """
    from datetime import date, datetime, timezone
    from plugincore.baseplugin import BasePlugin
    from plugincore.responses import *

    class Teapot(Response):
        def __init__(self, **kwargs):
            super().__init__(status=418, **kwargs)

    def cookies(response):
        when = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
        response.set_cookie("a", "1", httponly=True, path="/p", max_age=60, samesite="Strict", secure=True)
        response.set_cookie("b", "q w;", expires=when, domain="example.org", path=None)
        response.set_cookie("c", "x", secure=True, partitioned=True)
        response.del_cookie("d")
        return response

    def changed(response):
        response.set_status(202)
        response.text = "changed"
        response.headers["x-a"] = "only"
        response.headers.add("X-A", "second")
        return response

    SHARED = Response(json={"shared": True}, headers={"X-Shared": "1"})

    class Made(BasePlugin):
        http_methods = ("GET", "POST", "HEAD")

        async def request_handler(self, **data):
            return eval(data["expression"], globals(), data)

    class Plain(BasePlugin):
        def request_handler(self, **data):
            return eval(data["expression"], globals(), data)

    class Whole(BasePlugin):
        async def handle_request(self, **data):
            return Response(text="whole", status=203)
"""

GUARDED = """
    from plugincore.baseplugin import BasePlugin
    from plugincore.responses import Response

    class Guarded(BasePlugin):
        def request_handler(self, **data):
            return Response(text="inside", headers={"Access-Control-Allow-Origin": "https://other.example"})
"""

JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
OCTETS = "application/octet-stream"
INI_MORE = """
[cors]
enabled = bool:true
origin_url = https://app.example

[plugin_parms]
guarded = auth_type=plugin&apikey=open-sesame
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this page."""
    with serving(tmp_path_factory.mktemp("responses"), {"made": MADE, "guarded": GUARDED}, INI_MORE) as running:
        yield running


def made(server: Server, expression: str, path: str = "/made") -> httpx.Response:
    """Return the answer of a handler that makes its result by ``expression``."""
    return server.post(path, content=json.dumps({"expression": expression}))


@pytest.mark.parametrize("path", ["/made", "/plain"])
@pytest.mark.parametrize(
    ("expression", "status", "content_type", "body"),
    [
        ("Response()", 200, None, b""),
        ("Response(status=204)", 204, None, b""),
        ("Response(text='x', status=304)", 304, None, b""),
        ("Response(text='é')", 200, PLAIN, "é".encode()),
        ("Response(text='é', charset='latin-1')", 200, "text/plain; charset=latin-1", b"\xe9"),
        ("Response(text='é', headers={'content-type': 'text/x; charset=latin-1'})", 200, None, b"\xe9"),
        ("Response(text='<p>', content_type='text/html')", 200, "text/html; charset=utf-8", b"<p>"),
        ("Response(text='')", 200, PLAIN, b""),
        ("Response(body=b'\\x00\\xff')", 200, OCTETS, b"\x00\xff"),
        ("Response(body=bytearray(b'ab'), content_type='image/png')", 200, "image/png", b"ab"),
        ("Response(body=memoryview(b'abcd')[1:3])", 200, OCTETS, b"bc"),
        ("Response(body=b'x' * 3_000_000)", 200, OCTETS, b"x" * 3_000_000),
        ("Response(json={'a': [1, None]}, status=201)", 201, JSON, b'{"a": [1, null]}'),
        ("Response(json=None)", 200, JSON, b"null"),
        ("Response(json='\\ud800')", 200, JSON, b'"\\ud800"'),
        ("Response(json=[], content_type='application/vnd.api+json')", 200, "application/vnd.api+json", b"[]"),
        ("Teapot(text='short')", 418, PLAIN, b"short"),
        ("(500, Teapot(text='the code does not count'))", 418, PLAIN, b"the code does not count"),
    ],
)
def test_a_response_goes_out_as_it_is(
    server: Server, path: str, expression: str, status: int, content_type: str | None, body: bytes
) -> None:
    """Status, type and body are the response's own, from async and plain handlers, alone and in a tuple."""
    answer = made(server, expression, path)
    assert (status, body) == (answer.status_code, answer.content), answer.text
    if content_type is not None:
        assert content_type == answer.headers["content-type"]


def test_headers_and_cookies_go_out_with_their_repetitions(server: Server) -> None:
    """A list repeats a header; each cookie is a header of its own, with its attributes."""
    answer = made(server, "cookies(Response(text='', headers={'X-A': ['1', '2'], 'Set-Cookie': 'raw=1'}))")
    assert ["1", "2"] == answer.headers.get_list("x-a")
    assert [
        "raw=1",
        "a=1; HttpOnly; Max-Age=60; Path=/p; SameSite=Strict; Secure",
        'b="q w\\073"; Domain=example.org; expires=Wed, 02 Jan 2030 03:04:05 GMT',
        "c=x; Path=/; Secure; Partitioned",
        'd=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/',
    ] == answer.headers.get_list("set-cookie")


def test_headers_in_a_tuple_take_the_place_of_the_responses_own(server: Server) -> None:
    """Nothing is sent twice; what the tuple does not name stays."""
    answer = made(server, "(200, Response(text='x', headers={'X-A': '1', 'X-B': '1'}), {'x-a': ['2', '3']})")
    assert (["2", "3"], ["1"]) == (answer.headers.get_list("x-a"), answer.headers.get_list("x-b"))
    answer = made(server, "(200, Response(json=1), {'Content-Type': 'text/x'})")
    assert ["text/x"] == answer.headers.get_list("content-type")


def test_a_response_can_be_changed_until_it_is_sent(server: Server) -> None:
    """Status, text and headers are the last ones; a JSON answer that becomes text changes its type alone."""
    answer = made(server, "changed(Response(body=b'x', headers={'X-A': '1'}))")
    assert (202, "changed", PLAIN) == (answer.status_code, answer.text, answer.headers["content-type"])
    assert ["only", "second"] == answer.headers.get_list("x-a")


def test_an_overloaded_handle_request_may_return_a_response(server: Server) -> None:
    """It is sent as from `request_handler`."""
    answer = server.get("/whole")
    assert (203, "whole") == (answer.status_code, answer.text)


def test_keys_cors_head_and_request_ids_hold_for_a_response(server: Server) -> None:
    """What the host sees to does not depend on the kind of result."""
    assert 403 == server.get("/guarded").status_code
    answer = server.get("/guarded", headers={"X-Custom-Auth": "open-sesame", "Origin": "https://app.example"})
    assert ("inside", "https://app.example") == (answer.text, answer.headers["access-control-allow-origin"])
    assert "x-request-id" not in answer.headers
    answer = server.request("HEAD", "/made", params={"expression": "Response(text='12345', status=404)"})
    assert (404, "5", b"") == (answer.status_code, answer.headers["content-length"], answer.content)
    assert "x-request-id" in answer.headers


@pytest.mark.parametrize(("status", "length"), [(200, "0"), (404, "0"), (204, None), (205, None), (304, None)])
def test_head_of_an_empty_response_has_a_length_where_get_has_one(
    server: Server, status: int, length: str | None
) -> None:
    """Responses that have no body by their status have no length, either."""
    answer = server.request("HEAD", "/made", params={"expression": f"Response(status={status})"})
    assert (status, length) == (answer.status_code, answer.headers.get("content-length"))


def test_legacy_status_leaves_the_status_of_a_response(
    launch: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Who builds a response chooses its status on purpose."""
    server = launch({"made": MADE}, ini_more="[compat]\nlegacy_status = bool:true\n")
    assert 418 == made(server, "Teapot()").status_code
    assert 418 == made(server, "(200, Teapot())").status_code


def test_one_response_serves_many_requests_at_once(server: Server) -> None:
    """A response is only read, so a module may keep one."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: made(server, "SHARED"), range(64)))
    assert {(200, '{"shared": true}', "1")} == {(a.status_code, a.text, a.headers["x-shared"]) for a in answers}


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("Response(headers={'X-A': 'a\\r\\nX-B: b'})", "x-a has a line break"),
        ("Response(headers={'X-A\\r\\nX-B': 'b'})", "is not a header name"),
        ("Response(headers={'X-A': '\\ud800'})", "surrogates"),
        ("Response(headers={'X-A': None})", "must be text, bytes or a number"),
        ("Response(headers={1: '1'})", "a header's name is text, not int"),
        ("Response(headers=5)", "not iterable"),
        ("Response(headers={f'X-{n}': '' for n in range(40_000)})", "more than 1000 headers"),
        ("Response(text='\\ud800')", "surrogates"),
        ("Response(text='é', charset='ascii')", "ascii"),
        ("Response(text='é', charset='no-such')", "unknown encoding: no-such"),
        ("Response(text='é', content_type='text/x\\r\\nX-B: b')", "content-type has a line break"),
        ("Response(text=b'x')", "text is a str, not bytes"),
        ("Response(body='x')", "body is bytes, not str"),
        ("Response(body=b'', text='')", "only one of body, text and json"),
        ("Response(content_type='a/b', headers={'Content-Type': 'c/d'})", "given twice"),
        ("Response(json=1j)", "Object of type complex is not JSON serializable"),
        ("Response(json=(deep := [], deep.append(deep))[0])", "contains itself"),
        ("Response(status=99)", "from 200 to 599"),
        ("Response(status=600)", "from 200 to 599"),
        ("Response(status=10**100)", "from 200 to 599"),
        ("Response(status='200')", "a whole number, not str"),
        ("Response(status=True)", "a whole number, not bool"),
        ("Response().set_cookie('a b', '1')", "Illegal key"),
        ("Response().set_cookie('a', '1', path='/; Domain=evil.example')", "holds a semicolon"),
        ("Response().set_cookie('a', '1\\r\\nX: y')", "holds a control character"),
        ("Response().set_cookie('a', '1', samesite='Sometimes')", "'Strict', 'Lax' or 'None'"),
        ("Redirect(5)", "url is a str, not int"),
        ("Redirect('/', 200)", "does not redirect"),
        ("type('Odd', (), {'__plugincore_reply__': lambda self: 5})()", "cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_a_clear_500(server: Server, expression: str, hint: str) -> None:
    """The answer describes the mistake, nothing is smuggled into it, and the server serves on."""
    answer = made(server, expression)
    assert 500 == answer.status_code
    assert hint in answer.text
    assert "x-b" not in answer.headers
    assert "1" == made(server, "1").text


def test_the_place_of_what_is_no_json_is_told_to_the_log_alone(server: Server) -> None:
    """The place names keys of the plugin's data."""
    since = len(server.lines)
    answer = made(server, "Response(json={'secret_key': 1j})")
    assert "complex is not JSON serializable" in answer.text
    assert "secret_key" not in answer.text
    server.wait_for("TypeError: Object of type complex", since)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/there?a=1&b=%20#x", "/there?a=1&b=%20#x"),
        ("https://[::1]:80/~u/", "https://[::1]:80/~u/"),
        ("/Grüße 漢", "/Gr%C3%BC%C3%9Fe%20%E6%BC%A2"),
        ("/x\r\nSet-Cookie: a=1", "/x%0D%0ASet-Cookie:%20a=1"),
    ],
)
def test_a_redirect_sends_the_client_to_a_url_that_is_one(server: Server, url: str, location: str) -> None:
    """What a URL cannot hold is percent-encoded, line breaks too, so that a URL cannot add headers."""
    for status in (301, 302, 303, 307, 308):
        answer = made(server, f"Redirect({url!r}, {status}, headers={{'X-A': '1'}})")
        assert (status, location, "1") == (answer.status_code, answer.headers["location"], answer.headers["x-a"])
        assert "set-cookie" not in answer.headers


def test_headers_are_a_mapping_in_any_case() -> None:
    """Everything that a mapping offers works, and repetitions are kept where pairs are wanted."""
    headers = Headers([("A", "1"), ("a", "2"), ("B", "3")])
    assert ["A", "a", "B"] == list(headers)
    assert [("A", "1"), ("a", "2"), ("B", "3")] == list(headers.items()) == list(Headers(headers).items())
    assert (["1", "2", "3"], 3, "1", ["1", "2"]) == (
        list(headers.values()),
        len(headers),
        headers["a"],
        headers.getall("A"),
    )
    assert (True, False, False) == ("b" in headers, "c" in headers, 5 in headers)
    assert ("x", [], "x") == (headers.get("c", "x"), headers.getall("c"), headers.getall("c", "x"))
    headers.update({"a": "4"})
    headers.setdefault("B", "5")
    assert "Headers([('a', '4'), ('B', '3')])" == repr(headers)
    assert "3" == headers.pop("b")
    del headers["A"]
    assert 0 == len(headers)
    headers["A"] = "1"
    headers.clear()
    with pytest.raises(KeyError):
        headers["A"]


def test_a_response_has_the_attributes_of_aiohttps() -> None:
    """Code that touches what `super().handle_request()` returned goes on working."""
    response = Response(json={"a": 1})
    assert (200, "OK", 8) == (response.status, response.reason, response.content_length)
    assert ("application/json", "utf-8", '{"a": 1}', b'{"a": 1}') == (
        response.content_type,
        response.charset,
        response.text,
        response.body,
    )
    response.charset = "latin-1"
    response.content_type = "text/x"
    assert "text/x; charset=latin-1" == response.headers["Content-Type"]
    response.text = "é"
    assert b"\xe9" == response.body
    response.body = None
    assert (b"", "") == (response.body, Response(status=299).reason)
    assert "<Redirect 302 application/octet-stream, 0 bytes>" == repr(Redirect("/"))
