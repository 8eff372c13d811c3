"""Responses of plugins, compressed for clients that accept it, and only where that is right."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import pytest
import zstandard

from support.http2 import Http2
from support.plugins import INI
from support.server import Launch, Server, serving
from support.wire import Answer, Wire

ANSWERS = """
import asyncio
from aiohttp import web
from plugincore.baseplugin import BasePlugin
from plugincore.responses import FileResponse, StreamingResponse

TEXT = "all work and no play makes jack a dull boy\\n"
GOES_ON = asyncio.Event()

class Answers(BasePlugin):
    async def request_handler(self, **data):
        kind, size = data.get("subpath") or "json", int(data.get("size") or 5000)
        return await getattr(self, kind)((TEXT * (size // len(TEXT) + 1))[:size], data)

    async def json(self, text, data):
        return 200, {"text": text}

    async def text(self, text, data):
        return 200, text, {"Content-Type": data.get("type") or "text/plain"}

    async def headers(self, text, data):
        return int(data.get("code") or 200), {"text": text}, {data["name"]: data["value"]}

    async def bytes(self, text, data):
        return 200, text.encode()

    async def aiohttp(self, text, data):
        return web.json_response({"text": text}, headers={"ETag": '"strong"'})

    async def packed(self, text, data):
        response = web.Response(text=text)
        response.enable_compression(web.ContentCoding.deflate)
        return response

    async def file(self, text, data):
        return FileResponse(__file__)

    async def stream(self, text, data):
        async def pieces():
            yield "first\\n"
            await GOES_ON.wait()
            yield text
        return StreamingResponse(pieces(), content_type=data.get("type") or "text/plain")

    async def aiostream(self, text, data):
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(data["request"])
        await response.write(b"first\\n")
        await GOES_ON.wait()
        await response.write(text.encode())
        return response

    async def goon(self, text, data):
        GOES_ON.set()
        await asyncio.sleep(0)
        GOES_ON.clear()
        return 200, "gone on"
"""

TEXT = "all work and no play makes jack a dull boy\n"
ALL = "gzip, deflate, br, zstd"


def decode_zstd(data: bytes) -> bytes:
    """Decode a frame that does not say how long it is."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": decode_zstd,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugin as it is by default, and under another name uncompressed."""
    sources = {"answers": ANSWERS, "plain": ANSWERS.replace("class Answers", "class Plain")}
    more = "[cors]\nenabled=true\norigin_url=https://app.example\n[plugin plain]\ncompression=off\n"
    with serving(tmp_path_factory.mktemp("answers"), sources, ini_more=more) as server:
        yield server


def ask(server: Server, target: str, *headers: str, method: str = "GET") -> Answer:
    """Make a request with just these headers, and return the answer as it was sent."""
    head = "".join(f"{line}\r\n" for line in headers)
    with Wire(server) as wire:
        wire.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        return wire.answer(method)


def expected(size: int = 5000) -> bytes:
    """Return the body that the plugin gives as JSON."""
    return json.dumps({"text": (TEXT * (size // len(TEXT) + 1))[:size]}).encode()


@pytest.mark.parametrize("coding", DECODE)
@pytest.mark.parametrize("size", [1024, 5000, 100_000, 3_000_000])
def test_json_is_sent_in_the_coding_that_the_client_accepts(server: Server, coding: str, size: int) -> None:
    """Whether it is sent at once or in pieces."""
    answer = ask(server, f"/answers?size={size}", f"Accept-Encoding: {coding}")
    assert (200, coding, "Accept-Encoding, Origin") == (
        answer.status,
        answer.one("content-encoding"),
        answer.one("vary"),
    )
    assert expected(size) == DECODE[coding](answer.body)
    assert len(answer.body) < size / 4
    assert (size <= 5000) == (answer.one("content-length") is not None)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (ALL, "zstd"),
        ("gzip, br", "gzip"),
        ("*", "zstd"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "br"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("*;q=0, br;q=0.5", "br"),
        ("gzip;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("deflate", None),
        ("", None),
        (None, None),
    ],
)
def test_the_weights_of_the_client_decide(server: Server, accept: str | None, coding: str | None) -> None:
    """Then speed does. What may not be sent at all is sent as it is."""
    answer = ask(server, "/answers", *([] if accept is None else [f"Accept-Encoding: {accept}"]))
    assert (coding, "Accept-Encoding, Origin") == (answer.one("content-encoding"), answer.one("vary"))
    if coding is None:
        assert expected() == answer.body


def test_several_lines_of_accept_encoding_count(server: Server) -> None:
    """As one list."""
    answer = ask(server, "/answers", "Accept-Encoding: gzip;q=0.5", "Accept-Encoding: br")
    assert "br" == answer.one("content-encoding")


def test_each_request_of_a_connection_is_judged_by_its_own_header(server: Server) -> None:
    """One that has what the last one had, another, none, a long one, several lines, and what came before."""
    long = ", ".join(["x"] * 100 + ["gzip"])
    with Wire(server) as wire:
        for lines, coding in [
            (["br"], "br"),
            (["br"], "br"),
            (["gzip"], "gzip"),
            ([], None),
            (["gzip"], "gzip"),
            ([long], "gzip"),
            (["br;q=0", "zstd"], "zstd"),
            (["identity"], None),
            (["br"], "br"),
        ]:
            head = "".join(f"Accept-Encoding: {line}\r\n" for line in lines)
            answer = wire.ask(f"GET /answers HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
            assert coding == answer.one("content-encoding"), lines


def test_little_costs_nothing(server: Server) -> None:
    """Below 1 KiB there is no compression, and nothing varies by it."""
    small, large = (ask(server, f"/answers/text?size={size}", f"Accept-Encoding: {ALL}") for size in (1023, 1024))
    assert (None, "Origin", 1023) == (small.one("content-encoding"), small.one("vary"), len(small.body))
    assert ("zstd", "Accept-Encoding, Origin") == (large.one("content-encoding"), large.one("vary"))


@pytest.mark.parametrize(
    ("target", "compressed"),
    [
        ("/answers/text?type=text/html", True),
        ("/answers/text?type=application/problem%2Bjson", True),
        ("/answers/text?type=image/svg%2Bxml", True),
        ("/answers/text?type=image/png", False),
        ("/answers/text?type=text/event-stream", False),
        ("/answers/bytes", False),
        ("/answers/aiohttp", True),
        ("/answers/file", False),
        ("/answers/headers?name=Cache-Control&value=max-age%3D1,%20no-transform", False),
        ("/answers/headers?name=Content-Encoding&value=x-own", False),
        ("/answers/headers?name=Content-Range&value=bytes%200-1/2", False),
        ("/answers/headers?name=Repr-Digest&value=x", False),
        ("/answers/headers?name=X-Other&value=x&code=206", False),
        ("/answers/headers?name=X-Other&value=x&code=404", True),
        ("/plain", False),
    ],
)
def test_only_text_that_may_be_changed_is_compressed(server: Server, target: str, compressed: bool) -> None:
    """Of any status that has a whole body, and of aiohttp's responses."""
    answer = ask(server, target, "Accept-Encoding: gzip")
    assert compressed == (answer.one("content-encoding") == "gzip")
    if target != "/answers/file":
        assert compressed == ("Accept-Encoding" in (answer.one("vary") or ""))


def test_what_the_plugin_has_compressed_is_left_alone(server: Server) -> None:
    """By aiohttp's own means."""
    answer = ask(server, "/answers/packed", f"Accept-Encoding: {ALL}")
    assert "deflate" == answer.one("content-encoding")
    assert (TEXT * 200)[:5000].encode() == zlib.decompress(answer.body)


def test_an_etag_is_weak_where_it_stands_for_several_bodies(server: Server) -> None:
    """Uncompressed it is that of the plugin."""
    tags = [ask(server, "/answers/aiohttp", f"Accept-Encoding: {coding}").one("etag") for coding in ("br", "identity")]
    assert ['W/"strong"', '"strong"'] == tags


@pytest.mark.parametrize("size", [5000, 100_000])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_head_has_the_headers_of_get(server: Server, size: int, coding: str) -> None:
    """But for the time."""

    def headers(method: str) -> dict[str, list[str]]:
        answer = ask(server, f"/answers?size={size}", f"Accept-Encoding: {coding}", method=method)
        names = ("content-encoding", "content-length", "content-type", "vary", "etag")
        return {name: answer.all(name) for name in names}

    assert headers("GET") == headers("HEAD")


@pytest.mark.parametrize("code", [204, 205, 304])
def test_what_has_no_body_is_untouched(server: Server, code: int) -> None:
    """Also if the plugin gives one."""
    answer = ask(server, f"/answers/headers?name=X-Other&value=x&code={code}", f"Accept-Encoding: {ALL}")
    assert (code, None, "Origin") == (answer.status, answer.one("content-encoding"), answer.one("vary"))


@pytest.mark.parametrize(("known", "tag"), [('W/"a"', 'W/"a"'), ('"a"', '"a"'), ('W/"b"', '"a"')])
def test_a_304_of_a_plugin_has_the_tag_of_the_answer_that_its_client_has(server: Server, known: str, tag: str) -> None:
    """A cache finds that by its own tag only, and the tag of a compressed answer is weak."""
    target = "/answers/headers?name=ETag&value=%22a%22"
    assert 'W/"a"' == ask(server, target, f"Accept-Encoding: {ALL}").one("etag")
    answer = ask(server, f"{target}&code=304", f"Accept-Encoding: {ALL}", f"If-None-Match: {known}")
    assert (304, tag) == (answer.status, answer.one("etag"))


@pytest.mark.parametrize("coding", DECODE)
@pytest.mark.parametrize("kind", ["stream", "aiostream"])
def test_a_piece_of_a_stream_arrives_at_once(server: Server, kind: str, coding: str) -> None:
    """It can be decoded before there is another; the rest follows."""
    decoder = {
        "gzip": zlib.decompressobj(wbits=31),
        "br": Brotli(),
        "zstd": zstandard.ZstdDecompressor().decompressobj(),
    }
    with server.client() as client:
        request = client.build_request("GET", f"/answers/{kind}", headers={"Accept-Encoding": coding})
        response = client.send(request, stream=True)
        assert coding == response.headers["content-encoding"]
        assert "accept-encoding" in response.headers["vary"].lower()
        text, pieces = b"", response.iter_raw()
        while text != b"first\n":
            text += decoder[coding].decompress(next(pieces))
            assert b"first\n".startswith(text)
        assert "gone on" == server.get("/answers/goon").text
        text += b"".join(decoder[coding].decompress(piece) for piece in pieces)
        assert b"first\n" + (TEXT * 200)[:5000].encode() == text


class Brotli:
    """brotli's decoder with the name that the others have."""

    def __init__(self) -> None:
        """Begin."""
        self._decoder = brotli.Decompressor()

    def decompress(self, data: bytes) -> bytes:
        """Decode the next bytes."""
        decoded: bytes = self._decoder.process(data)
        return decoded


def test_a_stream_of_events_is_never_compressed(server: Server) -> None:
    """Whatever sends it."""
    with server.client() as client:
        request = client.build_request(
            "GET", "/answers/stream?type=text/event-stream", headers={"Accept-Encoding": ALL}
        )
        response = client.send(request, stream=True)
        assert ("content-encoding" in response.headers, "Origin") == (False, response.headers["vary"])
        assert b"first\n" == next(response.iter_raw())
        response.close()


def test_http2_has_the_same_answers(server: Server) -> None:
    """At once, in pieces, as a stream, and not at all."""
    with Http2(server) as client:
        for size in (5000, 3_000_000):
            answer = client.ask(f"/answers?size={size}", ("accept-encoding", "br"))
            assert ("br", "Accept-Encoding, Origin") == (answer.headers["content-encoding"], answer.headers["vary"])
            assert expected(size) == brotli.decompress(answer.body)
            head = client.ask(f"/answers?size={size}", ("accept-encoding", "br"), method="HEAD")
            names = ("content-encoding", "content-length", "vary")
            assert [answer.headers.get(name) for name in names] == [head.headers.get(name) for name in names]
        number = client.begin("/answers/stream", ("accept-encoding", "gzip"))
        stream, decoder, text = client.streams[number], zlib.decompressobj(wbits=31), b""
        while not text:
            client.receive()
            text, stream.body = decoder.decompress(stream.body), b""
        assert b"first\n" == text
        assert b"gone on" == client.ask("/answers/goon").body
        assert (TEXT * 200)[:5000].encode() == decoder.decompress(client.answer(number).body)
        small = client.ask("/answers/text?size=1000", ("accept-encoding", ALL))
        assert (False, 1000) == ("content-encoding" in small.headers, len(small.body))


def test_it_can_be_switched_off_and_on_for_one_plugin(launch: Launch) -> None:
    """A reload applies it."""
    sources = {"answers": ANSWERS, "other": ANSWERS.replace("class Answers", "class Other")}
    ini = INI + "\n[server]\ncompression = {}\n[plugin other]\ncompression = {}\n"
    server = launch(sources, ini=ini.format("off", "on"))

    def codings() -> list[str | None]:
        answers = [ask(server, path, "Accept-Encoding: gzip") for path in ("/answers", "/other")]
        assert [answer.one("vary") is None for answer in answers] == [
            answer.one("content-encoding") is None for answer in answers
        ]
        return [answer.one("content-encoding") for answer in answers]

    assert [None, "gzip"] == codings()
    Path(server.folder / "server.ini").write_text(ini.format("on", "off"))
    assert 200 == server.post("/reload/all").status_code
    assert ["gzip", None] == codings()
