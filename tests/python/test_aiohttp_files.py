"""Files, compressed answers and odd bodies that a plugin sends with aiohttp's objects."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from support.server import Server, serving
from support.wait import wait_until

SENT = """
import asyncio
import io
import json
from pathlib import Path
import aiohttp
from aiohttp import web
from plugincore.baseplugin import BasePlugin

FOLDER = Path("files")

async def pieces():
    yield b"one "
    await asyncio.sleep(0)
    yield b"two"

def compressed(response, coding=None):
    response.enable_compression(coding)
    return response

def chunked(response):
    response.enable_chunked_encoding()
    return response

def form():
    data = aiohttp.FormData()
    data.add_field("a", "1")
    data.add_field("f", b"content", filename="f.txt")
    return data

class Sent(BasePlugin):
    http_methods = ("GET", "POST")

    async def request_handler(self, **data):
        made = eval(data["expression"], globals())
        if "raised" in data:
            raise made
        return (500, made) if "code" in data else made

class Prepared(BasePlugin):
    async def request_handler(self, request, **data):
        response = web.FileResponse(FOLDER / "big.bin")
        await response.prepare(request)
        return response

class Plain(BasePlugin):
    def request_handler(self, **data):
        made = eval(data["expression"], globals())
        if "raised" in data:
            raise made
        return made
"""
CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugin of this page, and some files."""
    folder = tmp_path_factory.mktemp("files")
    files = folder / "files"
    files.mkdir(parents=True)
    (files / "big.bin").write_bytes(CONTENT)
    (files / "page.html").write_text("<p>plain")
    (files / "page.html.gz").write_bytes(gzip.compress(b"<p>compressed"))
    (files / "empty.txt").write_bytes(b"")
    with serving(folder, {"sent": SENT}) as running:
        yield running


def sent(server: Server, expression: str, method: str = "GET", **options: object) -> httpx.Response:
    """Return the answer of a handler that makes its result by ``expression``."""
    headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}  # type: ignore[dict-item]
    params = {"expression": expression, **options.pop("params", {})}  # type: ignore[dict-item]
    path = options.pop("path", "/sent")
    return server.request(method, str(path), params=params, headers=headers, **options)


FILE = "web.FileResponse(FOLDER / 'big.bin')"


@pytest.mark.parametrize("path", ["/sent", "/plain"])
def test_a_file_is_sent_with_its_type_length_and_tags(server: Server, path: str) -> None:
    """From an async handler as well as from a plain one; alone or beside a code."""
    for more in [{}, {"code": "1"}]:
        answer = sent(server, FILE, path=path, params=more)
        assert (200, CONTENT) == (answer.status_code, answer.content)
        assert str(len(CONTENT)) == answer.headers["content-length"]
        assert "application/octet-stream" == answer.headers["content-type"]
        assert answer.headers["etag"]
        assert answer.headers["last-modified"]


def test_a_file_may_be_sent_by_the_handler_itself(server: Server) -> None:
    """Its `prepare` looks at the request on another thread."""
    answer = server.get("/prepared")
    assert (200, CONTENT) == (answer.status_code, answer.content)
    part = server.get("/prepared", headers={"Range": "bytes=0-9"})
    assert (206, CONTENT[:10]) == (part.status_code, part.content)


@pytest.mark.parametrize(
    ("asked", "status", "part", "body"),
    [
        ("bytes=0-9", 206, "bytes 0-9/1048576", CONTENT[:10]),
        ("bytes=1000000-", 206, "bytes 1000000-1048575/1048576", CONTENT[1000000:]),
        ("bytes=-5", 206, "bytes 1048571-1048575/1048576", CONTENT[-5:]),
        ("bytes=0-99999999", 206, "bytes 0-1048575/1048576", CONTENT),
        ("bytes=2000000-", 416, "bytes */1048576", b""),
        ("bytes=9-1", 416, "bytes */1048576", b""),
    ],
)
def test_a_range_of_a_file_is_sent(server: Server, asked: str, status: int, part: str, body: bytes) -> None:
    """The part alone, or 416 when there is no such part."""
    answer = sent(server, FILE, headers={"Range": asked})
    assert (status, part, body) == (answer.status_code, answer.headers["content-range"], answer.content)


def test_conditions_are_looked_at(server: Server) -> None:
    """Not modified, precondition failed, and a range of what may have changed."""
    fresh = sent(server, FILE).headers
    old = formatdate(0, usegmt=True)
    for headers, status, length in [
        ({"If-None-Match": fresh["etag"]}, 304, 0),
        ({"If-Modified-Since": fresh["last-modified"]}, 304, 0),
        ({"If-None-Match": '"other"'}, 200, len(CONTENT)),
        ({"If-Match": '"other"'}, 412, 0),
        ({"If-Unmodified-Since": old}, 412, 0),
        ({"Range": "bytes=0-9", "If-Range": old}, 200, len(CONTENT)),
        ({"Range": "bytes=0-9", "If-Range": fresh["last-modified"]}, 206, 10),
    ]:
        answer = sent(server, FILE, headers=headers)
        assert (status, length) == (answer.status_code, len(answer.content)), headers


def test_head_precompressed_missing_and_empty_files(server: Server) -> None:
    """All that aiohttp does with files is done."""
    head = sent(server, FILE, "HEAD")
    assert (200, b"", "1048576") == (head.status_code, head.content, head.headers["content-length"])
    page = "web.FileResponse(FOLDER / 'page.html')"
    assert "<p>plain" == sent(server, page).text
    answer = sent(server, page, headers={"Accept-Encoding": "gzip"})
    assert ("gzip", "<p>compressed") == (answer.headers["content-encoding"], answer.text)
    assert "text/html" == answer.headers["content-type"]
    assert b"" == sent(server, "web.FileResponse(FOLDER / 'empty.txt')").content
    assert 404 == sent(server, "web.FileResponse(FOLDER / 'missing')").status_code
    assert 403 == sent(server, "web.FileResponse(FOLDER)").status_code


def test_a_download_that_is_given_up_leaves_no_file_open(server: Server) -> None:
    """The file is closed when the client is gone."""
    (server.folder / "files" / "huge.bin").write_bytes(b"\0" * 50_000_000)
    with server.client() as client:
        for _ in range(5):
            with client.stream(
                "GET", "/sent", params={"expression": "web.FileResponse(FOLDER / 'huge.bin')"}
            ) as answer:
                next(answer.iter_raw())
    opened = "[p for p in Path('/proc/self/fd').iterdir() if p.resolve().name == 'huge.bin']"
    wait_until(lambda: "[]" == sent(server, f"str({opened})").text, "the file stays open")


@pytest.mark.parametrize("accepted", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize(
    "response", ["web.Response(text='x' * 1000)", "web.HTTPOk(text='x' * 1000)", "web.json_response(text='x' * 1000)"]
)
@pytest.mark.parametrize("path", ["/sent", "/plain"])
def test_compression_follows_what_the_client_accepts(server: Server, accepted: str, response: str, path: str) -> None:
    """Returned or raised, from a plain or an async handler."""
    for more in [{}, {"raised": "1"}] if "HTTPOk" in response else [{}]:
        answer = sent(server, f"compressed({response})", path=path, params=more, headers={"Accept-Encoding": accepted})
        assert (200, "x" * 1000) == (answer.status_code, answer.text)
        if accepted == "identity":
            assert "1000" == answer.headers["content-length"]
        else:
            assert accepted == answer.headers["content-encoding"]
            assert int(answer.headers["content-length"]) < 100
    forced = sent(server, "compressed(web.Response(text='x' * 1000), web.ContentCoding.gzip)")
    assert ("gzip", "x" * 1000) == (forced.headers["content-encoding"], forced.text)


@pytest.mark.parametrize(
    ("expression", "body"),
    [
        ("web.Response(body=pieces())", b"one two"),
        ("web.Response(body=io.BytesIO(b'from a file'))", b"from a file"),
        ("web.Response(body=io.StringIO('text'))", b"text"),
        ("web.Response(body=open(FOLDER / 'page.html', 'rb'))", b"<p>plain"),
        ("chunked(web.Response(text='in chunks'))", b"in chunks"),
        ("web.Response(body=aiohttp.JsonPayload({'a': 1}))", b'{"a": 1}'),
        ("web.Response(body=aiohttp.FormData({'a': '1'})())", b"a=1"),
    ],
)
def test_a_body_may_be_whatever_aiohttp_takes(server: Server, expression: str, body: bytes) -> None:
    """Generators, files and payloads of aiohttp's."""
    answer = sent(server, expression)
    assert (200, body) == (answer.status_code, answer.content), answer.text


def test_a_reason_of_ones_own_reaches_the_client(server: Server) -> None:
    """As it does with aiohttp, whether aiohttp's code sends the answer or ours."""
    for expression in ["web.Response(reason='All Fine')", "compressed(web.Response(reason='All Fine', text='x'))"]:
        assert "All Fine" == sent(server, expression).reason_phrase
    assert "Nope" == sent(server, "web.HTTPNotFound(reason='Nope')", params={"raised": "1"}).reason_phrase


WRONG = """
import asyncio
from aiohttp import web
from plugincore.baseplugin import BasePlugin

PLAIN = web.Response(text="the same")
COMPRESSED = web.Response(text="the same")
COMPRESSED.enable_compression()

class Wrong(BasePlugin):
    shared = web.StreamResponse()
    kept = []
    late = []
    release = asyncio.Event()

    async def request_handler(self, **data):
        return await getattr(self, data["subpath"])(data["request"])

    async def plain(self, request):
        return PLAIN

    async def compressed(self, request):
        return COMPRESSED

    async def first(self, request):
        await self.shared.prepare(request)
        await self.shared.write(b"mine ")
        await self.release.wait()
        return self.shared

    async def second(self, request):
        return self.shared

    async def let_go(self, request):
        self.release.set()
        return "let go"

    async def after_eof(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write_eof(b"whole")
        await response.write(b"more")

    async def twice(self, request):
        response = web.StreamResponse()
        assert await response.prepare(request) is await response.prepare(request)
        await response.write(b"once")
        return response

    async def two(self, request):
        for _ in range(2):
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"x")
        return response

    async def background(self, request):
        async def later():
            response = web.StreamResponse()
            try:
                await response.prepare(request)
            except Exception as error:
                self.log(f"too late: {error!r}")
        asyncio.create_task(later())
        return "answered"

    async def writes_later(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        async def later():
            await asyncio.sleep(0)
            try:
                await response.write(b"late")
            except Exception as error:
                self.log(f"too late: {error!r}")
        asyncio.create_task(later())
        return response

    async def keep(self, request):
        request.app
        self.kept.append(request)
        return "kept"

    async def kept_one(self, request):
        old = self.kept.pop()
        return [old.path, old.rel_url.path, old.task is None]

    async def odd_status(self, request):
        await web.StreamResponse(status=int(request.query["status"])).prepare(request)

    async def raw(self, request):
        request.app
        request.transport.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n")

    async def closes(self, request):
        request.app
        request.transport.close()
        return web.StreamResponse()

    async def alive(self, request):
        return "alive"
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Iterator[Server]:
    """Serve the plugin that does it wrong; few requests may be in it at a time.

    Each test has a server of its own, since the same mistake is logged only so many times a minute.
    """
    with serving(tmp_path, {"wrong": WRONG}, "[limits]\nin_flight = int:8\n") as running:
        yield running


def test_a_plain_response_may_be_shared_by_requests(wrong: Server) -> None:
    """One that is made once serves any number of times; one that aiohttp sends, only once, and then it is an error."""
    for _ in range(3):
        assert "the same" == wrong.get("/wrong/plain").text
    assert "the same" == wrong.get("/wrong/compressed").text
    answer = wrong.get("/wrong/compressed")
    assert 500 == answer.status_code
    assert "make a new one" in answer.json()["message"]


def test_a_response_of_another_request_is_not_touched(wrong: Server) -> None:
    """The request that prepared it goes on; the other gets a 500."""
    with wrong.client() as client, client.stream("GET", "/wrong/first") as answer:
        pieces = answer.iter_raw()
        assert b"mine " == next(pieces)
        assert 500 == wrong.get("/wrong/second").status_code
        assert "let go" == wrong.get("/wrong/let_go").text
        assert b"" == b"".join(pieces)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("after_eof", 200, "Cannot call write"),
        ("twice", 200, None),
        ("two", None, "answered already"),
        ("background", 200, "too late: .*answered already"),
        ("writes_later", 200, "too late: .*Cannot write|too late: .*Cannot call write"),
        ("odd_status?status=99", 500, "not a whole number from 200 to 599"),
        ("odd_status?status=100", 500, "not a whole number from 200 to 599"),
        ("odd_status?status=700", 500, "not a whole number from 200 to 599"),
        ("raw", 500, "before a response has been prepared"),
        ("closes", 500, "closing transport"),
    ],
)
def test_what_is_done_wrong_has_a_clear_outcome(wrong: Server, path: str, status: int | None, said: str | None) -> None:
    """The log names the mistake; other requests are not affected, and no place is lost."""
    for _ in range(10):  # more than may be in flight
        since = len(wrong.lines)
        if status is None:
            with pytest.raises(httpx.RemoteProtocolError):
                wrong.get(f"/wrong/{path}")
        else:
            assert status == wrong.get(f"/wrong/{path}").status_code
        if said is not None:
            wrong.wait_for(said, since)
        assert "alive" == wrong.get("/wrong/alive").text


def test_a_request_may_be_kept(wrong: Server) -> None:
    """What it knows it still knows when its answer is long sent."""
    assert "kept" == wrong.get("/wrong/keep").text
    assert ["/wrong/keep", "/wrong/keep", True] == wrong.get("/wrong/kept_one").json()
