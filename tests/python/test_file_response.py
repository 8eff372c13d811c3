"""Files that plugins answer with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from plugincore.responses import FileResponse
from support.server import Server, serving
from support.wait import wait_until

PLUGIN = """
    import gc, os, threading, time
    from pathlib import Path
    from plugincore.baseplugin import BasePlugin
    from plugincore.responses import FileResponse

    SHARED = FileResponse("large.bin")

    class Files(BasePlugin):
        http_methods = ("GET", "POST", "HEAD")

        async def request_handler(self, **data):
            return eval(data["expression"], globals())

    class Plain(BasePlugin):
        def request_handler(self, **data):
            return FileResponse("page.html")

    class Whole(BasePlugin):
        async def handle_request(self, **data):
            return FileResponse(Path("page.html"))

    class Open(BasePlugin):
        def request_handler(self, **data):
            return len(os.listdir("/dev/fd"))
"""

PAGE = "<p>Grüße</p>".encode()
LARGE = bytes(range(256)) * 40_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this module, from a folder with some files."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "page.html").write_bytes(PAGE)
    (folder / "large.bin").write_bytes(LARGE)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    with serving(
        folder, {"files": PLUGIN}, "[cors]\nenabled = bool:true\norigin_url = https://app.example\n"
    ) as running:
        yield running


def made(server: Server, expression: str, method: str = "GET", **headers: str) -> httpx.Response:
    """Return the answer of a handler that makes its result by ``expression``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request(method, "/files", params={"expression": expression}, headers=named)


def test_a_file_is_sent_with_the_type_of_its_name(server: Server) -> None:
    """Short and long, empty ones too; by async and plain handlers and an overloaded `handle_request`."""
    for path in ("/plain", "/whole", "/files?expression=FileResponse('page.html')"):
        answer = server.get(path)
        assert (200, PAGE, "text/html; charset=utf-8") == (
            answer.status_code,
            answer.content,
            answer.headers["content-type"],
        )
    assert LARGE == made(server, "FileResponse('large.bin')").content
    answer = made(server, "FileResponse('empty.txt')")
    assert (200, b"", "0") == (answer.status_code, answer.content, answer.headers["content-length"])


def test_conditions_ranges_and_head_are_answered(server: Server) -> None:
    """As for any file that the server sends: a client that has it, or a part of it, does not get it again."""
    answer = made(server, "FileResponse('large.bin')")
    tag, date = answer.headers["etag"], answer.headers["last-modified"]
    for condition in ({"if_none_match": tag}, {"if_modified_since": date}):
        again = made(server, "FileResponse('large.bin')", **condition)
        assert (304, b"", tag) == (again.status_code, again.content, again.headers["etag"])
    part = made(server, "FileResponse('large.bin')", range="bytes=1000-1999", if_range=tag)
    assert (206, LARGE[1000:2000]) == (part.status_code, part.content)
    assert f"bytes 1000-1999/{len(LARGE)}" == part.headers["content-range"]
    assert 416 == made(server, "FileResponse('large.bin')", range=f"bytes={len(LARGE)}-").status_code
    assert 412 == made(server, "FileResponse('large.bin')", if_match='"other"').status_code
    head = made(server, "FileResponse('large.bin')", "HEAD")
    assert (200, b"", str(len(LARGE))) == (head.status_code, head.content, head.headers["content-length"])


def test_the_plugin_decides_on_status_headers_and_cookies(server: Server) -> None:
    """Another status than 200 sends the whole file; the code of a tuple does not count, its headers do."""
    expression = "FileResponse('page.html', status=404, headers={'X-A': '1'}, content_type='text/x')"
    answer = made(server, f"(200, {expression}, {{'X-A': '2'}})", range="bytes=0-0", origin="https://app.example")
    assert (404, PAGE, "text/x", ["2"], "https://app.example") == (
        answer.status_code,
        answer.content,
        answer.headers["content-type"],
        answer.headers.get_list("x-a"),
        answer.headers["access-control-allow-origin"],
    )
    assert "x-request-id" in answer.headers
    answer = made(server, "[FileResponse('page.html'), None][0]")
    assert 200 == answer.status_code


@pytest.mark.parametrize(
    ("options", "disposition"),
    [
        ("download=True", 'attachment; filename="page.html"'),
        ("download=True, filename='a b.html'", 'attachment; filename="a b.html"'),
        ("filename='shown.html'", 'inline; filename="shown.html"'),
        ("download=True, filename='Grüße 漢.html'", "attachment; filename=\"Gr__e _.html\"; "
         "filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%E6%BC%A2.html"),
        ("download=True, filename='a\"; x=y\\\\\\r\\nX-B: 1'", "attachment; filename=\"a_; x=y___X-B: 1\"; "
         "filename*=UTF-8''a%22%3B%20x%3Dy%5C%0D%0AX-B%3A%201"),
        ("download=True, filename='../../etc/x'", "attachment; filename=\".._.._etc_x\"; "
         "filename*=UTF-8''..%2F..%2Fetc%2Fx"),
        ("download=True, filename='\\udc80'", "attachment; filename=\"_\"; filename*=UTF-8''%3F"),
    ],
)  # fmt: skip
def test_a_download_has_a_name_that_stays_one(server: Server, options: str, disposition: str) -> None:
    """Whatever the name holds, it adds no parameter and no header, and clients get it in full."""
    answer = made(server, f"FileResponse('page.html', {options})")
    assert (200, disposition, PAGE) == (answer.status_code, answer.headers["content-disposition"], answer.content)
    assert "x-b" not in answer.headers


@pytest.mark.parametrize("path", ["missing", "folder", "fifo", "page.html/x", "", "a\\0b", "x" * 5000, "\\udc80"])
def test_what_is_no_file_is_a_404(server: Server, path: str) -> None:
    """Missing, or something else than a file: the client gets a 404 without the path."""
    answer = made(server, f"FileResponse('{path}')")
    assert (404, {"error": "not found"}) == (
        answer.status_code,
        {name: value for name, value in answer.json().items() if name == "error"},
    )


@pytest.mark.parametrize("argument", ["5", "None", "open('page.html')"])
def test_what_is_no_path_is_a_500(server: Server, argument: str) -> None:
    """The exception comes where the response is made."""
    answer = made(server, f"FileResponse({argument})")
    assert (500, "TypeError") == (answer.status_code, answer.json()["type"])


def test_one_response_serves_many_requests_and_leaves_no_file_open(server: Server) -> None:
    """A response is only read; files are closed when the client has them, or has left."""
    before = server.get("/open").json()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: made(server, "SHARED").content, range(64)))
    assert {LARGE} == set(answers)
    for _ in range(50):
        with server.connect() as connection:
            connection.sendall(b"GET /files?expression=SHARED HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(10)
    wait_until(lambda: server.get("/open").json() <= before)


def test_a_path_may_be_anything_that_names_one() -> None:
    """A text or a path; the attribute is text."""
    assert ["/a/b"] * 2 == [FileResponse(path).path for path in ("/a/b", Path("/a/b"))]
