"""What a handler gets: the keyword arguments, the headers and the request object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import httpx
import pytest

from support.server import Launch, Server, serving

ECHO = """
from plugincore.baseplugin import BasePlugin

HOST = ("log", "request_headers", "request", "subpath", "client_ip")

class Echo(BasePlugin):
    http_methods = ("GET", "POST", "PUT", "PATCH", "DELETE")

    async def request_handler(self, **data):
        missing = [key for key in HOST if key not in data]
        variables = {key: value for key, value in data.items() if key not in HOST}
        return 200, {"missing": missing, "variables": variables, "subpath": data["subpath"],
                     "client_ip": data["client_ip"], "method": data["request"].method}
"""

HOSTILE = """
from plugincore.baseplugin import BasePlugin

class Hostile(BasePlugin):
    async def request_handler(this, **data):
        data["log"].debug("the server's log")
        return 200, {"log": type(data["log"]).__name__, "request": data["request"].path,
                     "headers": data["request_headers"]["User-Agent"], "subpath": data["subpath"],
                     "ip": data["client_ip"], "self": data.get("self"), "this": data.get("this"),
                     "other": data.get("other")}
"""

RECEIVERS = """
import functools
from plugincore.baseplugin import BasePlugin

def decorated(handler):
    @functools.wraps(handler)
    async def wrapper(outer, *args, **kwargs):
        return await handler(outer, *args, **kwargs)
    return wrapper

class Decorated(BasePlugin):
    @decorated
    async def request_handler(inner, **data):
        return 200, sorted(data)

class Whole(BasePlugin):
    async def handle_request(whole, **data):
        return await super().handle_request(**data)

    async def request_handler(part, **data):
        return 200, sorted(data)

class Static(BasePlugin):
    @staticmethod
    async def request_handler(name=None, **data):
        return 200, name
"""

SEEN = """
import json
from plugincore.baseplugin import BasePlugin

class Seen(BasePlugin):
    async def request_handler(self, **data):
        request = data["request"]
        return 200, {
            "method": request.method, "path": request.path, "path_qs": request.path_qs,
            "query": [list(pair) for pair in request.query.items()], "first": request.query.get("a"),
            "cookies": request.cookies, "remote": request.remote, "tail": request.match_info.get("tail"),
            "peer": request.transport.get_extra_info("peername"), "type": request.type,
            "content_type": request.content_type, "charset": request.charset, "scheme": request.scheme,
            "host": request.host, "length": request.content_length, "version": request.version,
            "agents": [request.headers[name] for name in ("User-Agent", "user-agent", "USER-AGENT")],
            "custom": request.headers.getall("X-MANY", []), "truth": bool(request),
            "ip": self._get_client_ip(request),
        }

class Headers(BasePlugin):
    async def request_handler(self, **data):
        headers = data["request_headers"]
        ways = [headers["x-custom-auth"], headers["X-Custom-Auth"], headers.get("X-CUSTOM-AUTH")]
        return 200, {"ways": ways, "in": "x-custom-AUTH" in headers, "none": headers.get("nothing"),
                     "dict": isinstance(headers, dict), "text": json.dumps(headers), "repeated": headers["x-many"]}
"""

READER = """
import asyncio
from plugincore.baseplugin import BasePlugin

class Reader(BasePlugin):
    http_methods = ("GET", "POST", "PUT")

    async def request_handler(self, **data):
        request = data["request"]
        task = asyncio.create_task(request.read())
        read = await asyncio.wait_for(request.read(), 5)
        text, posted = await asyncio.gather(request.text(), request.post())
        try:
            value = await request.json()
        except ValueError as error:
            value = type(error).__name__
        fields = [[name, v if isinstance(v, str) else
                   [v.name, v.filename, v.content_type, v.file.read().decode("latin-1")]]
                  for name, v in posted.items()]
        return 200, {"same": read == await task == await request.read(), "size": len(read), "text": text[:100],
                     "json": value, "fields": fields, "data": data.get("a")}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this page."""
    sources = {"echo": ECHO, "hostile": HOSTILE, "receivers": RECEIVERS, "seen": SEEN, "reader": READER}
    with serving(tmp_path_factory.mktemp("requests"), sources) as server:
        yield server


def variables(answer: httpx.Response) -> Mapping[str, object]:
    """Return the client's variables as the handler saw them."""
    assert 200 == answer.status_code, answer.text
    assert [] == answer.json()["missing"]
    return answer.json()["variables"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("a=1&b=2&a=3", {"a": "1", "b": "2"}),
        ("a=&b&=c", {"a": "", "b": "", "": "c"}),
        ("a=x+y%2B%C3%A9&b=%zz;c", {"a": "x y+é", "b": "%zz;c"}),
        ("a-b=1&class=2&a%20b=3&%F0%9F%98%80=4", {"a-b": "1", "class": "2", "a b": "3", "😀": "4"}),
        ("a=%ff", {"a": "\ufffd"}),
    ],
)
def test_query_variables_are_keyword_arguments(server: Server, query: str, expected: dict[str, str]) -> None:
    """Each variable of the query is a key of `data`, decoded once; the first of a repeated name counts."""
    assert expected == variables(server.get(f"/echo?{query}"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": {"b": [1, 2.5, null, true, "\\u00e9"]}}', {"a": {"b": [1, 2.5, None, True, "é"]}}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"n": 123456789012345678901234567890, "m": -9223372036854775809}', None),
        (b' \r\n\t{"a": "\\ud83d\\ude00"}\n', {"a": "😀"}),
        (b"{}", {}),
        (b"", {}),
        (b"[1, 2]", {}),
        (b'[["a", 1]]', {}),
        (b'["ab"]', {}),
        (b'"text"', {}),
        (b"5", {}),
        (b"null", {}),
        (b'{"a": 1', {}),
        (b'{"a": 1} trailing', {}),
        (b"{'a': 1}", {}),
        (b'{"a": 1,}', {}),
        (b'{"a": 01}', {}),
        (b'{"a": "\n"}', {}),
        (b'{"a": "\xff"}', {}),
        (b'\xef\xbb\xbf{"a": 1}', {}),
        (b'{"a": ' + b"9" * 5000 + b"}", {}),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", {}),
        (b'{"a": ' + b"[" * 500_000, {}),
        (b'{"a": ' + b'{"a":' * 100_000, {}),
    ],
)
def test_a_json_object_gives_variables_and_anything_else_none(
    server: Server, body: bytes, expected: dict[str, object] | None
) -> None:
    """A body that is no valid JSON object is ignored, however broken, and the request goes on."""
    answer = server.post("/echo?q=1", content=body, headers={"Content-Type": "application/json"})
    assert {**(json.loads(body) if expected is None else expected), "q": "1"} == variables(answer)


def test_nan_and_infinity_are_numbers(server: Server) -> None:
    """What Python's json module reads as a number is one here, too."""
    answer = server.post("/echo", content=b'{"a": NaN, "b": [Infinity, -Infinity, 1e999]}')
    assert '"variables": {"a": NaN, "b": [Infinity, -Infinity, Infinity]}' in answer.text


def test_lone_surrogates_pass_through_json(server: Server) -> None:
    """Half of a surrogate pair is legal in JSON text, as key and as value."""
    answer = server.post("/echo", content=b'{"a": "\\ud800", "\\udfff": 1}')
    assert '"variables": {"a": "\\ud800", "\\udfff": 1}' in answer.text


def test_a_deeply_nested_body_reaches_the_handler(server: Server) -> None:
    """Nesting that the answer can express again is no problem on the way in."""
    answer = server.post("/echo", content=b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}")
    assert "[" * 900 + "]" * 900 in answer.text


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense", "", "a/b; charset"],
)
def test_a_json_object_counts_whatever_the_content_type_says(server: Server, content_type: str | None) -> None:
    """`curl -d '{…}'` declares a form; the object is read all the same."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert {"a": [1]} == variables(server.post("/echo", content=b'{"a": [1]}', headers=headers))


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "utf-8", '"UTF-8"', "windows-1252"])
def test_the_declared_charset_of_a_body_is_honoured(server: Server, charset: str) -> None:
    """JSON in another charset is read in the charset that it declares."""
    body = '{"a": "é"}'.encode(charset.strip('"'))
    headers = {"Content-Type": f"application/json; charset={charset}"}
    assert {"a": "é"} == variables(server.post("/echo", content=body, headers=headers))


def test_an_unknown_charset_makes_no_variables(server: Server) -> None:
    """A body that cannot be read is ignored."""
    headers = {"Content-Type": "application/json; charset=klingon"}
    assert {} == variables(server.post("/echo", content=b'{"a": 1}', headers=headers))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"a=1&b=x+y&a=2&c=%C3%A9", {"a": "1", "b": "x y", "c": "é"}),
        (b"{a}=1", {"{a}": "1"}),
        (b"word", {"word": ""}),
        (b"", {}),
    ],
)
def test_a_form_gives_variables(server: Server, body: bytes, expected: dict[str, str]) -> None:
    """The variables of a form are keys of `data`, the first of a repeated name counts."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert expected == variables(server.post("/echo", content=body, headers=headers))


def test_the_plain_fields_of_a_multipart_form_are_variables(server: Server) -> None:
    """Files are not variables; they come by `request.post()`."""
    answer = server.post("/echo", data={"a": "1", "b": "é"}, files={"f": ("x.txt", b"content")})
    assert {"a": "1", "b": "é"} == variables(answer)


@pytest.mark.parametrize("body", ['{"a": "body", "b": "body"}', "a=body&b=body"])
def test_the_query_wins_over_the_body(server: Server, body: str) -> None:
    """A variable that comes both ways has the value of the query."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = server.post("/echo?a=query", content=body, headers=headers)
    assert {"a": "query", "b": "body"} == variables(answer)


NAMES = ("log", "request", "request_headers", "subpath", "client_ip", "self", "this")


@pytest.mark.parametrize(
    "sent",
    [
        {"params": dict.fromkeys(NAMES, "forged")},
        {"content": json.dumps({name: {"User-Agent": "forged"} for name in NAMES})},
        {"data": dict.fromkeys(NAMES, "forged")},
        {"data": dict.fromkeys(NAMES, "forged"), "files": {"f": b""}},
    ],
    ids=["query", "json", "form", "multipart"],
)
def test_the_hosts_keys_always_win(server: Server, sent: dict[str, object]) -> None:
    """No client can replace an object of the host, nor break the call by naming the handler's own parameter."""
    answer = server.post("/hostile", headers={"User-Agent": "true"}, **sent)
    seen = {"log": "LogJam", "request": "/hostile", "headers": "true", "subpath": None, "ip": "127.0.0.1"}
    assert {**seen, "self": None, "this": None, "other": None} == answer.json()


@pytest.mark.parametrize(
    ("plugin", "names"), [("decorated", ("self", "outer", "inner")), ("whole", ("self", "whole", "part"))]
)
def test_names_of_receivers_are_dropped_through_decorators_and_overloads(
    server: Server, plugin: str, names: tuple[str, ...]
) -> None:
    """A variable that is called like any `self` on the way to the handler cannot break the call."""
    answer = server.get(f"/{plugin}", params={**dict.fromkeys(names, "x"), "kept": "1"})
    assert ["client_ip", "kept", "log", "request", "request_headers", "subpath"] == answer.json()


def test_the_first_parameter_of_a_static_handler_is_a_variable(server: Server) -> None:
    """A function without a receiver gets every variable."""
    assert "you" == server.get("/static?name=you").text


@pytest.mark.parametrize(
    ("path", "subpath"),
    [
        ("/echo", None),
        ("/echo/", ""),
        ("/echo/a/b", "a/b"),
        ("/echo/a/", "a/"),
        ("/echo/a%20b%2Fc/%C3%A9;v=1", "a b/c/é;v=1"),
        ("/echo/%252F", "%2F"),
        ("/echo/50%", "50%"),
        ("/echo?subpath=x", None),
    ],
)
def test_the_subpath_is_what_follows_the_route_decoded_once(server: Server, path: str, subpath: str | None) -> None:
    """Nothing after the route is None, a trailing slash alone is empty."""
    assert subpath == json.loads(server.get(path).text)["subpath"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_plugin_opts_into_further_methods(server: Server, method: str) -> None:
    """`http_methods` names what a plugin answers; the bodies of all but GET give variables."""
    answer = server.request(method, "/echo?q=1", content=b'{"a": 1}')
    expected: dict[str, object] = {"q": "1"} if method == "GET" else {"a": 1, "q": "1"}
    assert (method, expected) == (answer.json()["method"], variables(answer))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_without_opting_in_other_methods_are_refused(server: Server, method: str) -> None:
    """Existing plugins never see a method that pluginserver would not have given them."""
    answer = server.request(method, "/seen")
    assert (405, "GET, HEAD, POST, OPTIONS") == (answer.status_code, answer.headers["allow"])


@pytest.mark.parametrize("path", ["/echo?a=1", "/hostile/x"])
def test_head_is_get_without_the_body(server: Server, path: str) -> None:
    """HEAD runs the handler and has the length that GET would have."""
    with server.client() as client:
        head = client.head(path)
        assert b"" == head.content
        get = client.get(path)
    assert 200 == head.status_code
    # The method is in the answer of `echo`, and longer by one letter.
    longer = 1 if path.startswith("/echo") else 0
    assert len(get.content) + longer == int(head.headers["content-length"])
    assert get.headers["content-type"] == head.headers["content-type"]


def test_the_request_has_the_attributes_that_plugins_use(server: Server) -> None:
    """The names and meanings are those of aiohttp's request; `type` is the content type."""
    with server.connect() as connection:
        connection.sendall(
            b"POST /seen/x%20y?a=1&b=%C3%A9&a=2 HTTP/1.1\r\nHost: example.org:81\r\nuser-agent: me\r\n"
            b'Cookie: a=1; b="q w"\r\nCookie: c=3\r\nx-many: one\r\nX-MANY: two\r\n'
            b"Content-Type: Text/Plain; charset=latin-1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
        )
        peer = list(connection.getsockname())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert {
        "method": "POST",
        "path": "/seen/x y",
        "path_qs": "/seen/x%20y?a=1&b=%C3%A9&a=2",
        "query": [["a", "1"], ["b", "é"], ["a", "2"]],
        "first": "1",
        "cookies": {"a": "1", "b": "q w", "c": "3"},
        "remote": "127.0.0.1",
        "tail": "x y",
        "peer": peer,
        "type": "text/plain",
        "content_type": "text/plain",
        "charset": "latin-1",
        "scheme": "http",
        "host": "example.org:81",
        "length": 3,
        "version": [1, 1],
        "agents": ["me", "me", "me"],
        "custom": ["one", "two"],
        "truth": True,
        "ip": "127.0.0.1",
    } == json.loads(answer.partition(b"\r\n\r\n")[2])


def test_request_headers_is_a_dict_in_any_case(server: Server) -> None:
    """Look-ups ignore case, though it is a dict to `isinstance` and to json; the first of a repeated header counts."""
    headers = [("x-CUSTOM-auth", "k"), ("X-Many", "one"), ("x-many", "two")]
    seen = server.get("/headers", headers=headers).json()
    assert {"ways": ["k", "k", "k"], "in": True, "none": None, "dict": True, "repeated": "one"} == {
        key: value for key, value in seen.items() if key != "text"
    }
    assert {"X-Custom-Auth": "k", "X-Many": "one"}.items() <= json.loads(seen["text"]).items()


def test_the_body_is_read_by_coroutines_in_every_way(server: Server) -> None:
    """`read`, `text`, `json` and `post` can be awaited, made tasks, timed, gathered, and called again."""
    seen = server.post("/reader", content=b'{"a": "x"}').json()
    assert {"same": True, "size": 10, "text": '{"a": "x"}', "json": {"a": "x"}, "fields": [], "data": "x"} == seen


def test_the_body_of_a_get_is_readable_but_gives_no_variables(server: Server) -> None:
    """A GET with a body is odd but legal; what it carries is there for the handler."""
    seen = server.request("GET", "/reader", content=b'{"a": "x"}').json()
    assert ('{"a": "x"}', {"a": "x"}, None) == (seen["text"], seen["json"], seen["data"])


def test_a_body_that_is_no_json_raises_where_it_is_awaited(server: Server) -> None:
    """`request.json()` raises what `json.loads` raises."""
    assert "JSONDecodeError" == server.post("/reader", content=b"nonsense").json()["json"]


def test_files_come_by_post_with_name_type_and_content(server: Server) -> None:
    """An uploaded file has what aiohttp's FileField has; plain fields are text, in the order sent."""
    files = {"f": ("a b.bin", b"\x00\xff\r\n--", "image/png"), "g": ("é.txt", b"")}
    seen = server.post("/reader", data={"a": "1"}, files=files)
    assert 500 == seen.status_code  # the handler's `text()`: the body is no UTF-8
    files["f"] = ("a b.bin", b"\x00\x7f\r\n--", "image/png")
    seen = server.post("/reader", data={"a": "1"}, files=files).json()
    fields = [
        ["a", "1"],
        ["f", ["f", "a b.bin", "image/png", "\x00\x7f\r\n--"]],
        ["g", ["g", "é.txt", "text/plain", ""]],
    ]
    assert ("1", fields) == (seen["data"], seen["fields"])


def test_an_urlencoded_form_comes_by_post_with_all_values(server: Server) -> None:
    """`request.post()` keeps repeated names."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    seen = server.post("/reader", content=b"a=1&a=2", headers=headers).json()
    assert ("1", [["a", "1"], ["a", "2"]]) == (seen["data"], seen["fields"])


def test_a_chunked_body_is_a_body(server: Server) -> None:
    """How the body was transferred makes no difference."""
    assert {"a": 1, "b": 2} == variables(server.post("/echo", content=iter([b'{"a": 1', b', "b": 2}'])))


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        ("", "203.0.113.7", "203.0.113.7"),
        ("", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("", "nonsense", "unknown"),
        ("trusted_proxies = none", "203.0.113.7", "127.0.0.1"),
        ("trusted_proxies = 127.0.0.1 203.0.113.0/24", "198.51.100.1, 203.0.113.7", "198.51.100.1"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    launch: Launch, proxies: str, forwarded: str, expected: str
) -> None:
    """`client_ip` is what the nearest proxies vouch for; loopback is trusted unless the ini file excludes it."""
    server = launch({"echo": ECHO, "seen": SEEN}, ini_more=f"[server]\n{proxies}\n" if proxies else "")
    headers = {"X-Forwarded-For": forwarded}
    assert expected == server.get("/echo?client_ip=10.0.0.1", headers=headers).json()["client_ip"]
    seen = server.get("/seen", headers=headers).json()
    assert (expected, expected, "127.0.0.1") == (seen["ip"], seen["remote"], seen["peer"][0])
