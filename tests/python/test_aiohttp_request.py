"""`data['request']` beside the request of an aiohttp server: the same request, the same attributes."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.aiohttp_server import aiohttp_serving
from support.server import Launch, Server, serving

#: What both sides run: everything that aiohttp documents for requests, as text.
DESCRIBE = """
import warnings

PLAIN = '''version method url rel_url scheme secure forwarded host remote path_qs path raw_path query_string
    keep_alive body_exists can_read_body has_body content_type charset content_length http_range if_modified_since
    if_unmodified_since if_range if_match if_none_match'''.split()

async def describe(request):
    warnings.simplefilter("ignore")
    said = {}
    for name in PLAIN:
        try:
            said[name] = str(getattr(request, name))
        except Exception as error:
            said[name] = repr(error)
    said["version"] = list(request.version)
    said["query"] = list(request.query.items())
    said["headers"] = sorted((name.lower(), value) for name, value in request.headers.items())
    said["raw_headers"] = sorted((name.lower().decode(), value.decode()) for name, value in request.raw_headers)
    said["cookies"] = dict(request.cookies)
    said["sslcontext"] = request.get_extra_info("sslcontext")
    said["peername"] = request.get_extra_info("peername")[0]
    said["unknown"] = request.get_extra_info("unknown", "default")
    said["tail"] = request.match_info.get("tail")
    said["message"] = [request.message.method, request.message.path, request.message.should_close]
    import asyncio
    said["loop"] = request.loop is asyncio.get_running_loop()
    said["task"] = request.task is not None and not request.task.done()
    request.app["key"] = "of the application"
    said["app"] = [request.app["key"], request.config_dict["key"]]
    request["mine"] = 1
    request.setdefault("other", 2) if hasattr(request, "setdefault") else None
    said["items"] = [request["mine"], "mine" in request, request.get("none", "default")]
    clone = request.clone(method="PUT", rel_url="/else?x=1", host="elsewhere", remote="9.9.9.9", scheme="https")
    said["clone"] = [clone.method, str(clone.url), clone.remote, clone["mine"], clone.path]
    if request.content_type == "multipart/form-data":
        reader = await request.multipart()
        said["parts"] = [[part.name, part.filename, (await part.read()).decode()] async for part in reader]
    elif request.query.get("how") == "content":
        said["chunks"] = [await request.content.readexactly(3), await request.content.readline()]
        said["chunks"] = [chunk.decode() for chunk in said["chunks"]]
        said["rest"] = (await request.content.read()).decode()
        said["at_eof"] = request.content.at_eof()
    else:
        said["body"] = (await request.read()).decode()
        said["post"] = sorted((await request.post()).items())
    return said
"""

PLUGIN = (
    DESCRIBE
    + """
import asyncio
from aiohttp import web
from plugincore.baseplugin import BasePlugin

class Described(BasePlugin):
    http_methods = ("GET", "POST", "PUT")

    async def request_handler(self, **data):
        return await describe(data["request"])

class Shared(BasePlugin):
    async def request_handler(self, **data):
        request = data["request"]
        kinds = [isinstance(request, web.Request), isinstance(request, web.BaseRequest)]
        request["before"] = 1
        request.app  # makes aiohttp's own request, with which the storage is shared
        request["after"] = 2
        return [*kinds, dict(request.items())]

class Threaded(BasePlugin):
    async def request_handler(self, request, **data):
        return await asyncio.to_thread(self.look, request, asyncio.get_running_loop(), asyncio.current_task())

    def look(self, request, loop, task):
        part = request.http_range  # makes aiohttp's own request
        return [part.stop, request.loop is loop, request.task is task, request.clone(method="PUT").method]
"""
)

AIOHTTP = (
    DESCRIBE
    + """
from aiohttp import web

async def answer(request):
    return web.json_response(await describe(request))

def add_routes(app):
    app["key"] = "of the application"
    app.router.add_route("*", "/described", answer)
    app.router.add_route("*", "/described/{tail:.*}", answer)
"""
)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """Run our server, which trusts no proxy, and aiohttp's own, which does not know any."""
    ini = "[server]\ntrusted_proxies = none\n"
    with (
        serving(tmp_path_factory.mktemp("request"), {"described": PLUGIN}, ini) as server,
        aiohttp_serving(AIOHTTP) as port,
    ):
        yield server, port


def asked(port: int, method: str, path: str, headers: dict[str, str], body: bytes) -> dict[str, object]:
    """Ask one of the servers to describe a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body or None, {"Host": "named.example:8080", **headers})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert 200 == answer.status, text
    return dict(json.loads(text))


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\ncontent\r\n--b--\r\n'
)
CONDITIONS = {
    "If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT",
    "If-Unmodified-Since": "nonsense",
    "If-Range": "Sun, 06 Nov 1994 08:49:37 GMT",
    "If-Match": '"a", W/"b"',
    "If-None-Match": "*",
    "Range": "bytes=5-9",
    "Forwarded": 'for=1.2.3.4;proto=https, for="[::1]:80";by=x',
    "Cookie": 'a=1; b="two"; c',
}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/described", {}, b""),
        ("GET", "/described/a%20b/%2F?x=1&y=%C3%A9+1&x=3&empty=", {"Connection": "close"}, b""),
        ("GET", "/described", CONDITIONS, b""),
        ("GET", "/described", {"Range": "bytes=9-5"}, b""),
        ("GET", "/described", {"Range": "lines=1-2"}, b""),
        ("POST", "/described", {"Content-Type": "Application/JSON; Charset=UTF-8"}, b'{"a": 1}'),
        ("POST", "/described", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1&b=x+y&a=2"),
        ("POST", "/described", {"Content-Type": 'multipart/form-data; boundary="b"'}, MULTIPART),
        ("POST", "/described?how=content", {"Content-Type": "text/plain"}, b"abcline\nrest"),
        ("PUT", "/described/", {}, b"x" * 200_000),
        ("POST", "/described", {"Content-Length": "0"}, b""),
    ],
)
def test_the_attributes_are_those_of_aiohttp(
    ports: tuple[Server, int], method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    """Whatever aiohttp documents for its request is there, with the same value."""
    ours, theirs = (asked(port, method, path, headers, body) for port in (ports[0].port, ports[1]))
    assert theirs == ours


def test_the_storage_is_one(ports: tuple[Server, int]) -> None:
    """Items set before and after aiohttp's own request is made are in both, and the object passes for aiohttp's."""
    answer = ports[0].get("/shared")
    assert [True, True, {"before": 1, "after": 2}] == answer.json()


def test_without_aiohttp_the_rest_works(launch: Launch, tmp_path: Path) -> None:
    """The request has what it has natively, and an `AttributeError` for the rest."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "aiohttp.py").write_text("raise ModuleNotFoundError('no aiohttp here')")
    plugin = """
        from plugincore.baseplugin import BasePlugin

        class Bare(BasePlugin):
            async def request_handler(self, **data):
                request = data["request"]
                try:
                    request.app
                except AttributeError as error:
                    return [request.path, str(error), hasattr(request, "_private")]
    """
    paths = [str(tmp_path / "blocked"), *os.environ.get("PYTHONPATH", "").split(":")]
    server = launch({"bare": plugin}, env={"PYTHONPATH": ":".join(paths)})
    assert ["/bare", "the request has no attribute 'app'", False] == server.get("/bare").json()


def test_aiohttps_attributes_are_there_on_any_thread(ports: tuple[Server, int]) -> None:
    """Also when the first to ask for one is a worker thread of the handler's."""
    assert [10, True, True, "PUT"] == ports[0].get("/threaded", headers={"Range": "bytes=0-9"}).json()
