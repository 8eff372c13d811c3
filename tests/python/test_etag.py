"""`[plugin x] etag`: JSON has a tag, and a client that knows it gets a 304 instead of the body."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http2 import Http2
from support.plugins import INI
from support.server import Launch, Server, serving
from support.wire import Answer, Wire

STOCK = """
from plugincore.baseplugin import BasePlugin
from plugincore.responses import StreamingResponse

class Stock(BasePlugin):
    async def request_handler(self, **data):
        headers = {"Cache-Control": "max-age=5", "X-Own": "1"}
        match data.get("subpath"):
            case "text":
                return 200, "text", headers
            case "created":
                return 201, {"n": 1}, headers
            case "own":
                return 200, {"n": data["n"]}, {**headers, "ETag": '"own"'}
            case "stream":
                async def pieces():
                    yield '{"n": 1}'
                return StreamingResponse(pieces(), content_type="application/json")
        return 200, {"n": data.get("n"), "text": "a text, " * int(data.get("times") or 1)}, headers
"""

CORS = "[cors]\nenabled=true\norigin_url=https://app.example\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugin with tags, and under another name without."""
    sources = {"stock": STOCK, "plain": STOCK.replace("class Stock", "class Plain")}
    more = CORS + "[plugin stock]\netag = on\n"
    with serving(tmp_path_factory.mktemp("stock"), sources, ini_more=more) as server:
        yield server


def ask(server: Server, target: str, *headers: str, method: str = "GET") -> Answer:
    """Make a request with just these headers."""
    head = "".join(f"{line}\r\n" for line in headers)
    with Wire(server) as wire:
        wire.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: 0\r\n\r\n".encode())
        return wire.answer(method)


def tag(server: Server, target: str, *headers: str, method: str = "GET") -> str | None:
    """Return the tag of an answer."""
    return ask(server, target, *headers, method=method).one("etag")


def test_the_tag_stands_for_the_text(server: Server) -> None:
    """The same for the same text, by GET and HEAD, compressed or not; another for another text."""
    one = tag(server, "/stock?n=1&times=500")
    assert one is not None
    assert one.startswith('W/"')
    assert one == tag(server, "/stock?n=1&times=500", method="HEAD")
    for coding in ("gzip", "br", "zstd"):
        answer = ask(server, "/stock?n=1&times=500", f"Accept-Encoding: {coding}")
        assert (one, coding) == (answer.one("etag"), answer.one("content-encoding"))
    assert one != tag(server, "/stock?n=2&times=500")


def test_a_client_that_has_it_gets_a_304(server: Server) -> None:
    """With what caches need, and without what describes the body."""
    target = "/stock?n=1&times=500"
    full = ask(server, target, "Accept-Encoding: gzip")
    known = full.one("etag")
    for method in ("GET", "HEAD"):
        for sent in (known, f'"other", {known}', str(known).removeprefix("W/"), "*"):
            for coding in ("gzip", "identity"):
                answer = ask(
                    server,
                    target,
                    f"If-None-Match: {sent}",
                    f"Accept-Encoding: {coding}",
                    "Origin: https://app.example",
                    method=method,
                )
                assert (304, b"", known) == (answer.status, answer.body, answer.one("etag"))
                kept = ("cache-control", "x-own", "vary", "access-control-allow-origin")
                expected = ["max-age=5", "1", full.one("vary"), "https://app.example"]
                assert expected == [answer.one(name) for name in kept]
                for name in ("content-type", "content-encoding", "content-length", "transfer-encoding"):
                    assert answer.one(name) is None, name


@pytest.mark.parametrize("sent", ['"other"', 'W/"0-0"', "nonsense", ""])
def test_a_client_that_has_something_else_gets_it(server: Server, sent: str) -> None:
    """The whole body."""
    answer = ask(server, "/stock?n=1", f"If-None-Match: {sent}")
    assert (200, b'{"n": "1", "text": "a text, "}') == (answer.status, answer.body)


def test_several_lines_are_one_list(server: Server) -> None:
    """As with all lists."""
    assert 304 == ask(server, "/stock", 'If-None-Match: "a"', f"If-None-Match: {tag(server, '/stock')}").status


@pytest.mark.parametrize("target", ["/stock/text", "/stock/created", "/stock/stream", "/plain"])
def test_other_answers_have_no_tag(server: Server, target: str) -> None:
    """What is no JSON, no 200, not whole, or of a plugin that does not want it."""
    answer = ask(server, target, "If-None-Match: *")
    assert answer.status in (200, 201)
    assert answer.one("etag") is None
    assert answer.body


def test_a_post_has_no_tag_and_no_condition(server: Server) -> None:
    """The method may change things."""
    answer = ask(server, "/stock", "If-None-Match: *", method="POST")
    assert (200, None) == (answer.status, answer.one("etag"))


def test_a_tag_of_the_plugin_counts_instead(server: Server) -> None:
    """The server compares it, too."""
    assert '"own"' == tag(server, "/stock/own?n=1")
    answer = ask(server, "/stock/own?n=1", 'If-None-Match: "own"')
    assert (304, '"own"') == (answer.status, answer.one("etag"))


def test_http2_has_the_same_answers(server: Server) -> None:
    """A tag, and a 304 for it."""
    with Http2(server) as client:
        known = client.ask("/stock?n=1").headers["etag"]
        assert known == tag(server, "/stock?n=1")
        answer = client.ask("/stock?n=1", ("if-none-match", known))
        assert (304, b"", known) == (answer.status, answer.body, answer.headers["etag"])
        assert not {"content-type", "content-length"} & set(answer.headers)


def test_a_tag_outlives_a_restart_and_a_reload_switches_it_off(launch: Launch) -> None:
    """Clients keep their copies."""
    ini = INI + "\n[plugin stock]\netag = {}\n"
    tags = []
    for _ in range(2):
        server = launch({"stock": STOCK}, ini=ini.format("on"))
        tags.append(tag(server, "/stock"))
    assert tags[0] == tags[1] is not None
    Path(server.folder / "server.ini").write_text(ini.format("off"))
    assert 200 == server.post("/reload/all").status_code
    assert tag(server, "/stock") is None
