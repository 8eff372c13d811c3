"""The contents of static files: ranges, conditions, compressed forms, and what many or slow clients get."""

from __future__ import annotations

import os
import random
import re
import resource
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import psutil
import pytest

from static_site import FILES, LONG_AGO, fill, serving_files
from support.server import Launch, Server
from support.wait import wait_until
from support.wire import HOST, Wire, receive_all


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the files of `static_site` under `/html`."""
    with serving_files(tmp_path_factory.mktemp("static")) as running:
        yield running


def test_random_ranges_are_slices_of_the_file(launch: Launch) -> None:
    """Each range gives the bytes that Python's slice gives, whether it is one piece or many."""
    running = launch(ini_more="documents = html")
    chance = random.Random(7)
    content = chance.randbytes(1_000_003)
    fill(running.folder / "html", {"x": content})
    size = len(content)
    with running.client() as client:
        for _ in range(150):
            first = chance.choice([0, 1, chance.randrange(size), size - 1, size, size + 9])
            last = chance.choice([first, first + chance.randrange(300_000), size - 1, size * 2])
            form = chance.choice(["both", "open", "suffix"])
            if form == "both" and last >= first:
                spec, expected = f"{first}-{last}", content[first : last + 1]
            elif form == "suffix":
                spec, expected = f"-{first}", content[-first:] if first else b""
            else:
                spec, expected = f"{first}-", content[first:]
            answer = client.get("/docs/x", headers={"Range": f"bytes={spec}"})
            if not expected:
                assert (416, f"bytes */{size}") == (answer.status_code, answer.headers["content-range"]), spec
                continue
            start = size - len(expected) if form == "suffix" else first
            shown = f"bytes {start}-{start + len(expected) - 1}/{size}"
            assert (206, shown) == (answer.status_code, answer.headers["content-range"]), spec
            assert expected == answer.content, spec


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "{tag}"}, 304),
        ({"If-None-Match": "W/{tag}"}, 304),
        ({"If-None-Match": '"x", {tag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": "{date}"}, 200),
        ({"If-Modified-Since": "{date}"}, 304),
        ({"If-Modified-Since": "{before}"}, 200),
        ({"If-Match": "{tag}"}, 200),
        ({"If-Match": "W/{tag}"}, 412),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": "*"}, 200),
        ({"If-Unmodified-Since": "{date}"}, 200),
        ({"If-Unmodified-Since": "{before}"}, 412),
        ({"If-Match": "{tag}", "If-Unmodified-Since": "{before}"}, 200),
        ({"Range": "bytes=0-1", "If-Range": "{tag}"}, 206),
        ({"Range": "bytes=0-1", "If-Range": "{date}"}, 206),
        ({"Range": "bytes=0-1", "If-Range": "W/{tag}"}, 200),
        ({"Range": "bytes=0-1", "If-Range": "{before}"}, 200),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
        ({"Range": "bytes=0-1,3-4"}, 200),
        ({"Range": "bytes=0-1,99-"}, 206),
        ({"Range": "bytes=4-2"}, 200),
        ({"Range": "lines=0-1"}, 200),
        ({"Range": "bytes=99-", "If-None-Match": "{tag}"}, 304),
    ],
)
def test_conditions_are_those_of_rfc_9110(server: Server, headers: dict[str, str], status: int) -> None:
    """A client that has the file gets 304, one that wants another version 412, one that joins parts no mixture."""
    tag = server.get("/html/plain.txt").headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]+"', tag)
    facts = {"tag": tag, "date": formatdate(LONG_AGO, usegmt=True), "before": formatdate(LONG_AGO - 1, usegmt=True)}
    asked = {name: value.format(**facts) for name, value in headers.items()}
    answer = server.get("/html/plain.txt", headers=asked)
    assert status == answer.status_code
    expected = {200: b"0123456789", 206: b"01", 304: b""}
    assert status == 412 or expected[status] == answer.content
    if status != 412:
        assert (tag, "Accept-Encoding, Origin") == (answer.headers["etag"], answer.headers["vary"])


def test_a_changed_file_has_another_tag(launch: Launch) -> None:
    """Also when its size and date stay as they were."""
    running = launch(ini_more="documents = html")
    fill(running.folder / "html", {"x": b"one"})
    first = running.get("/docs/x")
    fill(running.folder / "html", {"new": b"two"})
    (running.folder / "html/new").rename(running.folder / "html/x")
    second = running.get("/docs/x", headers={"If-None-Match": first.headers["etag"]})
    assert (200, b"two") == (second.status_code, second.content)
    assert first.headers["last-modified"] == second.headers["last-modified"]


def test_dates_that_cannot_be_told_are_left_out(launch: Launch) -> None:
    """A file from before 1970 or from the future is served without a date."""
    running = launch(ini_more="documents = html")
    fill(running.folder / "html", {"old": b"old", "new": b"new"})
    os.utime(running.folder / "html/old", (0, -5))
    os.utime(running.folder / "html/new", (0, 4_000_000_000))
    for name in ("old", "new"):
        answer = running.get(f"/docs/{name}", headers={"If-Modified-Since": formatdate(0, usegmt=True)})
        assert (200, name.encode()) == (answer.status_code, answer.content)
        assert "last-modified" not in answer.headers


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip", "gzip"),
        ("br;q=0.2, gzip;q=0.9", "gzip"),
        ("br;q=0, *", "zstd"),
        ("deflate", None),
        ("identity", None),
        ("gzip;q=0", None),
    ],
)
def test_a_compressed_sibling_is_sent_to_those_who_take_it(server: Server, accept: str, coding: str | None) -> None:
    """The client's weights decide; each form has a tag of its own, and `Vary` informs caches."""
    suffix = {"br": ".br", "zstd": ".zst", "gzip": ".gz", None: ""}[coding]
    with Wire(server) as wire:
        answer = wire.ask(b"GET /html/script.js" + HOST + f"Accept-Encoding: {accept}\r\n\r\n".encode())
        tag = answer.headers["etag"]
        again = b"GET /html/script.js" + HOST + f"Accept-Encoding: {accept}\r\nIf-None-Match: {tag}\r\n\r\n".encode()
        assert 304 == wire.ask(again).status
    assert (200, FILES["script.js" + suffix]) == (answer.status, answer.body)
    assert coding == answer.headers.get("content-encoding")
    assert "text/javascript; charset=utf-8" == answer.headers["content-type"]
    identity = server.get("/html/script.js", headers={"Accept-Encoding": "identity"})
    assert (tag == identity.headers["etag"]) == (coding is None)
    assert "Accept-Encoding, Origin" == identity.headers["vary"]


def test_a_sibling_older_than_its_file_is_not_sent(server: Server) -> None:
    """It is a compressed earlier version."""
    answer = server.get("/html/stale.css", headers={"Accept-Encoding": "gzip"})
    assert (b"new", None) == (answer.content, answer.headers.get("content-encoding"))


def test_many_clients_at_once_get_the_whole_file(launch: Launch) -> None:
    """More downloads than there are threads for reading, each in pieces, end with the same bytes."""
    running = launch(ini_more="documents = html")
    content = random.Random(3).randbytes(700_001)
    fill(running.folder / "html", {"x": content})
    wires = [Wire(running) for _ in range(100)]
    for wire in wires:
        wire.send(b"GET /docs/x" + HOST + b"\r\n")
    for wire in wires:
        with wire:
            assert content == wire.answer().body


def test_a_file_that_is_cut_while_it_is_sent_breaks_the_connection(launch: Launch) -> None:
    """A client never takes a part for the whole."""
    running = launch(ini_more="documents = html")
    size = 64 * 1024 * 1024
    fill(running.folder / "html", {"big": b"x"})
    os.truncate(running.folder / "html/big", size)
    with running.connect() as connection:
        connection.sendall(b"GET /docs/big" + HOST + b"\r\n")
        received = connection.recv(1000)
        assert b"content-length: %d" % size in received
        os.truncate(running.folder / "html/big", 1_000_000)
        assert len(received + receive_all(connection)) < size


def test_a_file_that_is_replaced_or_grows_is_sent_as_it_was(launch: Launch) -> None:
    """What was announced is what comes."""
    running = launch(ini_more="documents = html")
    content = random.Random(1).randbytes(32 * 1024 * 1024)
    fill(running.folder / "html", {"big": content})
    with running.client() as client, client.stream("GET", "/docs/big") as answer:
        pieces = answer.iter_raw()
        received = next(pieces)
        with (running.folder / "html/big").open("ab") as file:
            file.write(b"more")
        fill(running.folder / "html", {"other": b"other"})
        (running.folder / "html/other").rename(running.folder / "html/big")
        assert content == received + b"".join(pieces)
    assert b"other" == running.get("/docs/big").content


def test_slow_clients_cost_little_memory(launch: Launch) -> None:
    """However large a file is, a client that takes nothing holds no more than a few pieces of it."""
    running = launch(ini_more="documents = html")
    fill(running.folder / "html", {"big": b"x"})
    os.truncate(running.folder / "html/big", 1 << 40)  # all holes
    connections = [running.connect() for _ in range(50)]
    for connection in connections:
        connection.sendall(b"GET /docs/big" + HOST + b"\r\n")
    assert all(b"content-length: 1099511627776" in connection.recv(1000) for connection in connections)
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    assert int(found[1]) < 300_000
    for connection in connections:
        connection.close()
    process = psutil.Process(running.process.pid)
    wait_until(lambda: not any(opened.path.endswith("/big") for opened in process.open_files()))
    assert 206 == running.get("/docs/big", headers={"Range": "bytes=1099511627000-"}).status_code


def test_without_descriptors_files_are_503(launch: Launch) -> None:
    """The server lives on, answers with `Retry-After`, and serves when there are descriptors again."""
    running = launch(ini_more="documents = html")
    fill(running.folder / "html", {"x": b"content"})
    with Wire(running) as wire:
        assert wire.still_serves()
        soft, hard = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (3, hard))
        answer = wire.ask(b"GET /docs/x" + HOST + b"\r\n")
        assert (503, "1") == (answer.status, answer.headers["retry-after"])
        assert "html" not in answer.error
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert b"content" == wire.ask(b"GET /docs/x" + HOST + b"\r\n").body


def test_a_plugin_can_answer_with_a_file(server: Server) -> None:
    """By the same code: ranges, conditions, types; the plugin's headers stay."""
    path = str(server.folder / "html/plain.txt")
    answer = server.get("/sender", params={"path": path}, headers={"Range": "bytes=2-4"})
    assert (206, b"234", "1") == (answer.status_code, answer.content, answer.headers["x-mine"])
    assert "text/plain; charset=utf-8" == answer.headers["content-type"]
    tag = answer.headers["etag"]
    assert 304 == server.get("/sender", params={"path": path}, headers={"If-None-Match": tag}).status_code
    answer = server.get("/sender", params={"path": path, "status": 404}, headers={"Range": "bytes=2-4"})
    assert (404, b"0123456789") == (answer.status_code, answer.content)
    for name in ("html/missing", "html/fifo", "html"):
        assert 404 == server.get("/sender", params={"path": str(server.folder / name)}).status_code
