"""The folder of documents: which files are served, how much of them, and that Python has no part in it."""

from __future__ import annotations

import gzip
import os
import random
import re
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote

import pytest

from conftest import Launch, Server, receive_all, serving
from wire import HOST, Wire, eventually

#: A time that lies well back, so that dates can be compared.
LONG_AGO = 1_000_000_000

#: What the documents' folder holds.
FILES = {
    "index.html": b"<h1>Welcome</h1>",
    "plain.txt": b"0123456789",
    "empty.txt": b"",
    "two words.txt": b"blank",
    "h\u00e4user/\u00fcber \u65e5\u672c.txt": b"unicode",
    "100%.txt": b"percent",
    "%2e%2e": b"escaped dots",
    "a+b&c=d;e.txt": b"signs",
    "back\\slash.txt": b"backslash",
    "Case.txt": b"upper",
    "case.txt": b"lower",
    "sub/index.html": b"sub index",
    "sub/page.html": b"page",
    "sub/deeper/leaf.json": b"{}",
    "script.js": b"let x = 1;" * 100,
    "script.js.gz": gzip.compress(b"let x = 1;" * 100),
    "script.js.br": b"(brotli)",
    "script.js.zst": b"(zstandard)",
    "stale.css": b"new",
    "stale.css.gz": gzip.compress(b"old"),
    ".well-known/security.txt": b"contact",
}

#: What must never be served.
HIDDEN = {
    ".env": b"SECRET",
    ".git/config": b"SECRET",
    "sub/.hidden": b"SECRET",
    ".well-known/.hidden": b"SECRET",
}

SETTINGS = """\
documents = html:html
[file_server]
common_log = access.log
[cors]
enabled = bool:true
origin_url = https://app.example
"""

PLUGINS = {
    "blocker": """
        import os
        import time
        from plugincore.baseplugin import BasePlugin

        class Blocker(BasePlugin):
            def request_handler(self, **data):
                print("blocking", flush=True)
                while not os.path.exists("release"):
                    time.sleep(0.005)
                return {"done": True}
    """,
    "sender": """
        from plugincore.baseplugin import BasePlugin

        class Sending:
            def __init__(self, data):
                self.data = data

            async def __plugincore_send__(self, request):
                path = self.data["path"]
                status = int(self.data.get("status", 200))
                request._send_file(path, status, {"X-Mine": "1"})

        class Sender(BasePlugin):
            async def request_handler(self, **data):
                return Sending(data)
    """,
}


def fill(folder: Path, files: dict[str, bytes]) -> None:
    """Write `files`, all of them long ago."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (LONG_AGO, LONG_AGO))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the documents of this module under `/html`."""
    folder = tmp_path_factory.mktemp("static")
    html = folder / "html"
    fill(html, FILES | HIDDEN)
    os.utime(html / "stale.css.gz", (LONG_AGO - 1, LONG_AGO - 1))
    fill(folder, {"secret.txt": b"SECRET", "htmlx/secret.txt": b"SECRET"})
    (html / "out.txt").symlink_to("../secret.txt")
    (html / "out-absolute.txt").symlink_to(folder / "secret.txt")
    (html / "out-folder").symlink_to(folder)
    (html / "passwd").symlink_to("/etc/passwd")
    (html / "in.txt").symlink_to("sub/../plain.txt")
    (html / "in-absolute.txt").symlink_to(html / "plain.txt")
    (html / "in-folder").symlink_to("sub")
    (html / "round").symlink_to("round")
    (html / "nowhere").symlink_to("not/there")
    os.mkfifo(html / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        where = os.getcwd()
        os.chdir(html)  # the path of a socket may not be long
        listener.bind("socket")
        os.chdir(where)
    (html / "folder.txt").mkdir()
    with serving(folder, PLUGINS, SETTINGS) as running:
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
    """Browsers are told what it is and not to guess."""
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
        assert (403, {"error": "the server may not read this file"}) == (answer.status_code, answer.json())


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
    """Other methods are told which ones there are."""
    answer = server.request(method, "/html/plain.txt", content=b"x")
    assert (405, "GET, HEAD, OPTIONS") == (answer.status_code, answer.headers["allow"])


def test_head_is_get_without_the_body(server: Server) -> None:
    """The same headers, the length included."""
    get, head = server.get("/html/plain.txt"), server.request("HEAD", "/html/plain.txt")
    assert b"" == head.content
    assert {name: value for name, value in get.headers.items() if name != "date"} == {
        name: value for name, value in head.headers.items() if name != "date"
    }


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
    """The client's weights decide; each form has a tag of its own, and caches are told."""
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


def test_requests_are_noted_in_the_access_log(server: Server) -> None:
    """A line of the Common Log Format each, refusals included, without the query."""
    log = server.folder / "access.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    server.get("/html/plain.txt?token=x")
    server.get("/html/missing%22")
    server.post("/html/plain.txt")
    server.request("HEAD", "/html/plain.txt")
    lines = [re.sub(r"\[.*\]", "[]", line) for line in log.read_text().splitlines()[before:]]
    assert lines == [
        '127.0.0.1 - - [] "GET /html/plain.txt HTTP/1.1" 200 10',
        '127.0.0.1 - - [] "GET /html/missing%22 HTTP/1.1" 404 0',
        '127.0.0.1 - - [] "POST /html/plain.txt HTTP/1.1" 405 0',
        '127.0.0.1 - - [] "HEAD /html/plain.txt HTTP/1.1" 200 0',
    ]


def test_the_access_log_is_opened_anew_at_a_hangup(launch: Launch) -> None:
    """After logrotate has moved it away, lines go to a new file; one that cannot be written costs nobody a file."""
    running = launch(ini_more="documents = html\n[file_server]\ncommon_log = access.log")
    fill(running.folder / "html", {"x": b"content"})
    log = running.folder / "access.log"
    running.get("/docs/x")
    log.rename(running.folder / "access.log.1")
    mark = len(running.lines)
    running.send(signal.SIGHUP)
    running.wait_for("Reloaded all plugins", mark)
    running.get("/docs/x")
    assert 1 == len(log.read_text().splitlines()) == len((running.folder / "access.log.1").read_text().splitlines())
    ini = running.folder / "server.ini"
    ini.write_text(ini.read_text().replace("access.log", "not/there.log"))
    running.get("/reload/all")
    running.wait_for(r"\[file_server\] common_log: cannot append to the log file .*not/there.log")
    assert b"content" == running.get("/docs/x").content


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
    descriptors = Path(f"/proc/{running.process.pid}/fd")
    assert eventually(
        lambda: not any(os.path.islink(fd) and str(fd.resolve()).endswith("/big") for fd in descriptors.iterdir())
    )
    assert 206 == running.get("/docs/big", headers={"Range": "bytes=1099511627000-"}).status_code


def test_without_descriptors_files_are_503(launch: Launch) -> None:
    """The server lives on, says when to come again, and serves when there are descriptors again."""
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


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ("documents = html", "/docs/"),
        ("documents = pages:html", "/pages/"),
        ("documents = a/b:html", "/a/b/"),
        ("documents = docs:${ENV:HOME}/html", "/docs/"),
        ("documents = docs:~/html", "/docs/"),
        ("indexfile = start.htm\ndocuments = html", "/docs/"),
        ("[file_server]\ndocuments = html", "/html/"),
        ("[file_server]\ndocuments = ./html/", "/html/"),
        ("[file_server]\ndocuments = pages:html\nmarkdown_css = x.css\nhighlight_css = y.css", "/pages/"),
        ("documents = elsewhere\n[file_server]\ndocuments = html", "/html/"),
    ],
)
def test_the_sections_of_pluginserver_are_understood(launch: Launch, tmp_path: Path, settings: str, path: str) -> None:
    """Each section has its own default for the request path; relative folders begin where the server was started."""
    folder = tmp_path / "here"
    fill(folder / "html", {"index.html": b"start", "start.htm": b"start"})
    running = launch(ini_more=settings, folder=folder, env={"HOME": str(folder)})
    assert b"start" == running.get(path).content
    running.wait_for(rf"Serving http://.*{path} from ")
    assert "is not known" not in running.log
    assert ("is not served" in running.log) == ("elsewhere" in settings)


def test_a_missing_folder_is_told_and_served_once_it_is_there(launch: Launch) -> None:
    """The server comes up without it; file and line are named."""
    running = launch(ini_more="documents = html:later")
    assert re.search(r"server\.ini:\d+: \[paths\] documents: .*later cannot be read: No such file", running.log)
    assert 404 == running.get("/html/x").status_code
    fill(running.folder / "later", {"x": b"there"})
    assert b"there" == running.get("/html/x").content


def test_secrets_among_the_documents_are_told(launch: Launch) -> None:
    """The ini file holds keys and plugins are source: a folder with either in it is served, with a warning for each."""
    running = launch(ini_more="documents = html:.")
    for secret in (r"the ini file there, which is server\.ini", "the plugins' folder there, which is plugins"):
        assert re.search(rf"WARN - .*server\.ini:\d+: \[paths\] documents: everybody can read {secret}", running.log)


@pytest.mark.parametrize("plugins", ["elsewhere", "html/.plugins"])
def test_documents_without_secrets_are_not_warned_of(launch: Launch, tmp_path: Path, plugins: str) -> None:
    """What is hidden is no secret that anybody could read."""
    fill(tmp_path / "here", {f"{plugins}/x.txt": b"", "html/index.html": b""})
    ini = f"[network]\nport = 0\n[paths]\nplugins = {plugins}\ndocuments = html:html\n"
    assert "everybody can read" not in launch(ini=ini, folder=tmp_path / "here").log


def test_a_request_path_of_the_server_is_not_served(launch: Launch) -> None:
    """`/plugins` and `/reload` stay what they are."""
    running = launch(ini_more="documents = plugins:plugins")
    assert re.search(r"server\.ini:\d+: \[paths\] documents: is not served", running.log)
    assert {"loaded_plugins": []} == running.get("/plugins").json()


def test_a_plugin_with_the_same_id_answers_instead(launch: Launch) -> None:
    """Whoever has pluginserver's file-serving plugin in the folder keeps it, with its paths checked as before."""
    plugin = """
        from pathlib import Path
        from plugincore.baseplugin import BasePlugin

        class FileServe(BasePlugin):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self._plugin_id, _, folder = self.config.paths.documents.partition(":")
                self.folder = Path(folder)

            def request_handler(self, **data):
                return "plugin: " + (self.folder / (data["subpath"] or "index.html")).read_text()
    """
    running = launch({"fileserve": plugin}, ini_more="documents = html:html")
    fill(running.folder / "html", {"x": b"content"})
    assert "plugin: content" == running.get("/html/x").text
    running.wait_for(r"server\.ini:\d+: \[paths\] documents: the plugin in .*fileserve\.py has the id .*html")
    with Wire(running) as wire:
        assert 400 == wire.ask(b"GET /html/%2e%2e/server.ini" + HOST + b"\r\n").status
    assert {"loaded_plugins": ["html"]} == running.get("/plugins").json()
    (running.plugins / "fileserve.py").unlink()
    assert 200 == running.get("/reload/all").status_code
    assert "content" == running.get("/html/x").text
    assert {"loaded_plugins": []} == running.get("/plugins").json()


def test_a_reload_reads_the_setting_again(launch: Launch) -> None:
    """Folder and request path change while the server serves."""
    running = launch(ini_more="documents = one:one")
    fill(running.folder, {"one/x": b"1", "two/x": b"2"})
    assert b"1" == running.get("/one/x").content
    ini = running.folder / "server.ini"
    ini.write_text(ini.read_text().replace("one:one", "two:two"))
    assert 200 == running.get("/reload/all").status_code
    assert (404, b"2") == (running.get("/one/x").status_code, running.get("/two/x").content)
    ini.write_text(ini.read_text().replace("documents = two:two", ""))
    assert 200 == running.get("/reload/all").status_code
    assert 404 == running.get("/two/x").status_code


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
