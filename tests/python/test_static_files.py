"""Static files: which are served and which never, and that Python has no part in it."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from static_site import FILES, fill, serving_files
from support.errors import without_ids
from support.server import Launch, Server
from support.wire import HOST, Wire


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the files of `static_site` under `/html`."""
    with serving_files(tmp_path_factory.mktemp("static")) as running:
        yield running


def path_of(name: str) -> str:
    """Return the address of a file."""
    return "/html/" + quote(name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_under_its_name(server: Server, name: str) -> None:
    """Blanks, letters of all kinds and signs in names are as good as any; upper and lower case differ."""
    answer = server.get(path_of(name), headers={"Accept-Encoding": "identity"})
    assert (200, FILES[name]) == (answer.status_code, answer.content)
    assert str(len(FILES[name])) == answer.headers["content-length"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("plain.txt", "text/plain; charset=utf-8"),
        ("script.js", "text/javascript; charset=utf-8"),
        ("stale.css", "text/css; charset=utf-8"),
        ("sub/deeper/leaf.json", "application/json"),
        ("%2e%2e", "application/octet-stream"),
    ],
)
def test_the_type_is_that_of_the_name(server: Server, name: str, kind: str) -> None:
    """Browsers get the type, and `nosniff` keeps them from guessing."""
    answer = server.get(path_of(name), headers={"Accept-Encoding": "identity"})
    assert (kind, "nosniff") == (answer.headers["content-type"], answer.headers["x-content-type-options"])


@pytest.mark.parametrize(
    ("path", "content"),
    [("/html/", b"<h1>Welcome</h1>"), ("/html/sub/", b"sub index"), ("/html/sub/?a=1", b"sub index")],
)
def test_a_folder_answers_with_its_index_file(server: Server, path: str, content: bytes) -> None:
    """With a slash at its end, a folder is its index file."""
    assert content == server.get(path).content


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/html", "/html/"),
        ("/html?a=%2F&b", "/html/?a=%2F&b"),
        ("/html/sub", "/html/sub/"),
        ("/html/s%75b?x", "/html/s%75b/?x"),
    ],
)
def test_a_folder_without_its_slash_is_redirected(server: Server, path: str, target: str) -> None:
    """The query is kept, so that relative links on the page lead where they should."""
    answer = server.get(path)
    assert (302, target) == (answer.status_code, answer.headers["location"])


@pytest.mark.parametrize(
    "path",
    [
        "/html/missing",
        "/html/plain.txt/",
        "/html/plain.txt/more",
        "/html/sub/deeper/",  # no index file, and never a list
        "/html/folder.txt/",
        "/html/CASE.txt",
        "/html/.env",
        "/html/.git/config",
        "/html/sub/.hidden",
        "/html/.well-known/.hidden",
        "/html/./plain.txt",
        "/html/sub//page.html",
        "/html/fifo",
        "/html/socket",
        "/html/round",
        "/html/nowhere",
        "/html/out.txt",
        "/html/out-absolute.txt",
        "/html/out-folder/secret.txt",
        "/html/passwd",
        "/html/" + "a" * 300,
        "/html/" + "a/" * 2000 + "b",
        "/html/%252e%252e/secret.txt",
        "/html/..%5csecret.txt",
        "/html/%5c..%5csecret.txt",
        "/htmlx/secret.txt",
        "/HTML/plain.txt",
    ],
)
def test_what_is_no_document_is_not_found(server: Server, path: str) -> None:
    """Hidden and special files, links that lead out and names that cannot be are all the same to a client."""
    with Wire(server) as wire:
        answer = wire.ask(b"GET " + path.encode() + HOST + b"\r\n")
    assert (404, "not found") == (answer.status, answer.error)


@pytest.mark.parametrize(
    "path",
    [
        "/html/../secret.txt",
        "/html/%2e%2e/secret.txt",
        "/html/sub/.%2e/%2e./secret.txt",
        "/html/..%2fsecret.txt",
        "/html//etc/passwd",
        "/html/%2fetc/passwd",
        "/html/plain.txt%00.html",
    ],
)
def test_a_path_that_would_climb_out_is_refused(server: Server, path: str) -> None:
    """However it is written, and without a word about what there is."""
    with Wire(server) as wire:
        answer = wire.ask(b"GET " + path.encode() + HOST + b"\r\n")
    assert 400 == answer.status
    assert b"SECRET" not in answer.body


@pytest.mark.parametrize("name", ["in.txt", "in-absolute.txt"])
def test_a_link_inside_of_the_folder_is_followed(server: Server, name: str) -> None:
    """Whether it names its target from where it stands or from the root."""
    assert b"0123456789" == server.get("/html/" + name).content
    assert b"page" == server.get("/html/in-folder/page.html").content


def test_a_file_without_permission_is_403_and_says_no_more(launch: Launch) -> None:
    """The one case in which a client learns that there is something; needs a user who is not almighty."""
    running = launch(ini_more="documents = html")
    fill(running.folder / "html", {"closed.txt": b"SECRET"})
    (running.folder / "html/closed.txt").chmod(0)
    answer = running.get("/docs/closed.txt")
    if os.geteuid() == 0:
        assert 200 == answer.status_code
    else:
        assert (403, {"error": "the server may not read this file"}) == (answer.status_code, without_ids(answer.json()))


def test_random_paths_find_only_what_is_there(server: Server) -> None:
    """Of paths put together from all that is dangerous, only those that name a document are answered with one."""
    chance = random.Random(42)
    parts = [
        "..",
        ".",
        "",
        "sub",
        "index.html",
        "plain.txt",
        "deeper",
        "leaf.json",
        "%2e%2e",
        "%2f",
        "\\",
        ".env",
        ".git",
    ]
    parts += [
        "config",
        "out-folder",
        "secret.txt",
        "in-folder",
        "%00",
        "%ff",
        "a" * 256,
        "fifo",
        "%5c",
        "..%2f",
        ";",
        "%",
    ]
    contents = set(FILES.values())
    found = 0
    with Wire(server) as wire:
        for _ in range(1500):
            path = "/html" + "".join("/" + chance.choice(parts) for _ in range(chance.randint(1, 5)))
            answer = wire.ask(b"GET " + path.encode() + HOST + b"\r\n")
            assert answer.status in (200, 302, 400, 404), path
            if answer.status == 200:
                assert answer.body in contents, path
                found += 1
    assert found > 20


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_files_are_only_read(server: Server, method: str) -> None:
    """The answer to other methods lists these."""
    answer = server.request(method, "/html/plain.txt", content=b"x")
    assert (405, "GET, HEAD, OPTIONS") == (answer.status_code, answer.headers["allow"])


@pytest.mark.parametrize("name", ["plain.txt", "empty.txt"])
def test_head_is_get_without_the_body(server: Server, name: str) -> None:
    """The same headers, the length included."""
    get, head = server.get(f"/html/{name}"), server.request("HEAD", f"/html/{name}")
    assert b"" == head.content
    assert get.headers.keys() == head.headers.keys()
    for header in get.headers.keys() - {"date", "traceparent"}:
        assert get.headers[header] == head.headers[header]


def test_other_origins_may_read_files_as_cors_allows(server: Server) -> None:
    """Files have the CORS headers of every other route, `Vary` for both reasons, and answer preflights."""
    answer = server.get("/html/plain.txt", headers={"Origin": "https://app.example"})
    assert "https://app.example" == answer.headers["access-control-allow-origin"]
    vary = {word.strip() for word in answer.headers["vary"].split(",")}
    assert {"Accept-Encoding", "Origin"} == vary
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    assert 200 == server.request("OPTIONS", "/html/plain.txt", headers=asks).status_code
    assert (
        403 == server.request("OPTIONS", "/html/x", headers=asks | {"Access-Control-Request-Method": "PUT"}).status_code
    )
    plain = server.request("OPTIONS", "/html/plain.txt")
    assert (204, "GET, HEAD, OPTIONS") == (plain.status_code, plain.headers["allow"])


def test_files_come_while_a_plugin_blocks_python(server: Server) -> None:
    """Nothing on their way needs the interpreter."""
    mark = len(server.lines)
    blocked = threading.Thread(target=server.get, args=("/blocker",))
    blocked.start()
    server.wait_for("blocking", mark)
    try:
        assert b"0123456789" == server.get("/html/plain.txt").content
        assert 404 == server.get("/html/missing").status_code
    finally:
        (server.folder / "release").touch()
        blocked.join()
        (server.folder / "release").unlink()
