"""Request bodies in any of the content codings, and in several: what is decoded, and what is refused instead."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import httpx
import pytest
import zstandard

from support.errors import without_ids
from support.http2 import Http2
from support.server import Launch, Server, serving

READ = """
from plugincore.baseplugin import BasePlugin

class Read(BasePlugin):
    async def request_handler(self, **data):
        text = (await data["request"].read()).decode()
        return 200, {"a": data.get("a"), "length": len(text), "text": text[:100]}
"""

LIMIT = 100_000
LARGE = 200_000
JSON = b'{"a": "\\u00e9", "b": [1, 2]}'
ACCEPTED = "gzip, deflate, br, zstd"

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda body: brotli.compress(body, quality=5),
    "zstd": zstandard.compress,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a plugin with the general limit, and one with a limit of its own."""
    sources = {"read": READ, "roomy": READ.replace("class Read", "class Roomy")}
    more = f"[limits]\nbody_size = {LIMIT}\n[plugin roomy]\nbody_size = {LARGE}\n"
    with serving(tmp_path_factory.mktemp("codings"), sources, ini_more=more) as server:
        yield server


def packed(codings: str, body: bytes) -> bytes:
    """Apply the codings of a list, the first one first."""
    for coding in codings.split(","):
        body = PACK[coding.strip().lower()](body)
    return body


def post(server: Server, body: bytes, coding: str, path: str = "/read") -> httpx.Response:
    """Post a body of this coding."""
    return server.post(path, content=body, headers={"Content-Encoding": coding})


@pytest.mark.parametrize("coding", [*PACK, "BR", "Zstd", "gzip, br", "zstd ,deflate", "br, zstd, gzip"])
@pytest.mark.parametrize("chunked", [False, True])
def test_every_coding_is_decoded_alone_and_in_a_row(server: Server, coding: str, chunked: bool) -> None:
    """Byte by byte, too."""
    body = packed(coding, JSON)
    content = (body[at : at + 1] for at in range(len(body))) if chunked else body
    answer = server.post("/read", content=content, headers={"Content-Encoding": coding})
    assert (200, "é", JSON.decode()) == (answer.status_code, answer.json()["a"], answer.json()["text"])


def test_codings_on_several_lines_are_one_list(server: Server) -> None:
    """The same as with a comma between them; `identity` and empty items are none."""
    headers = [("Content-Encoding", "gzip, identity"), ("Content-Encoding", ""), ("Content-Encoding", "br")]
    assert "é" == server.post("/read", content=packed("gzip,br", JSON), headers=headers).json()["a"]
    for none in ("identity", "", ","):
        assert "é" == post(server, JSON, none).json()["a"], none


@pytest.mark.parametrize("coding", ["compress", "klingon", "gzip, aws-chunked", "gzip gzip", "br, br, br, br"])
def test_what_is_not_known_or_too_much_is_a_415(server: Server, coding: str) -> None:
    """The answer names what is decoded; four codings are one too many."""
    answer = post(server, JSON, coding)
    assert (415, ACCEPTED) == (answer.status_code, answer.headers["Accept-Encoding"])
    assert f"send it as {ACCEPTED}, or as it is" in answer.json()["error"]
    assert 200 == server.get("/read", headers={"Content-Encoding": coding}).status_code, "there is no body"


@pytest.mark.parametrize("coding", [*PACK, "gzip, br", "br, zstd"])
def test_the_limit_is_for_what_is_decoded(server: Server, coding: str) -> None:
    """That of the plugin, if it has one; a bomb costs next to nothing."""
    for path, limit in (("/read", LIMIT), ("/roomy", LARGE)):
        assert limit == post(server, packed(coding, b" " * limit), coding, path).json()["length"]
        for size in (limit + 1, 50_000_000):
            answer = post(server, packed(coding, b" " * size), coding, path)
            expected = (413, {"error": f"the request body is larger than {limit} bytes"})
            assert expected == (answer.status_code, without_ids(answer.json()))


@pytest.mark.parametrize("coding", [*PACK, "gzip, br"])
def test_broken_data_is_a_400(server: Server, coding: str) -> None:
    """Cut short, with more behind it, or not of that coding at all."""
    body = packed(coding, JSON)
    text = "request body is not valid in its Content-Encoding, or cut short"
    for broken in (body[:-1], body + b"more", JSON, body[: len(body) // 2]):
        answer = post(server, broken, coding)
        assert (400, {"error": text}) == (answer.status_code, without_ids(answer.json())), broken


def test_a_window_that_takes_too_much_memory_is_a_400(server: Server) -> None:
    """8 MiB is as much as a sender by HTTP may ask for."""

    def body(log: int) -> bytes:
        parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return packer.compress(JSON) + packer.flush()

    assert [200, 400, 400] == [post(server, body(log), "zstd").status_code for log in (23, 24, 27)]


def test_no_bomb_is_ever_held(launch: Launch) -> None:
    """Hundreds of megabytes of nothing do not show in the server's memory, whatever they are packed in."""
    server = launch({"read": READ})
    for coding in PACK:
        assert 200 == post(server, packed(coding, b"x"), coding).status_code
    status = Path(f"/proc/{server.process.pid}/status")
    before = peak_memory(status)
    for coding in ("br", "zstd", "br, br", "zstd, br", "gzip, gzip, zstd"):
        assert 413 == post(server, packed(coding, bytes(200_000_000)), coding).status_code, coding
    # The name of a file in the head of gzip has no end, and nothing comes of it.
    head = b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 200_000_000
    assert 413 == post(server, brotli.compress(head, quality=5), "gzip, br").status_code
    assert peak_memory(status) - before < 20_000


def peak_memory(status: Path) -> int:
    """Return the most memory that a process has had, in kB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found is not None
    return int(found[1])


def test_http2_has_the_same_answers(server: Server) -> None:
    """Decoded, too large, broken, unknown."""
    bodies = [
        ("zstd, br", packed("zstd,br", JSON), 200),
        ("br", packed("br", bytes(50_000_000)), 413),
        ("zstd", JSON, 400),
        ("klingon", JSON, 415),
    ]
    with Http2(server) as client:
        for coding, body, status in bodies:
            answer = client.ask("/read", ("content-encoding", coding), method="POST", body=body)
            assert status == answer.status, coding
            assert ("accept-encoding" in answer.headers) == (status == 415)
