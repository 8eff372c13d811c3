"""Markdown pages: the shipped plugin `pages`, over a folder of documents."""

from __future__ import annotations

import html
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import markdown_it
import mdit_py_plugins
import mdurl
import pytest

import plugincore
from environments import create
from support.server import Launch, Server, serving

PLUGIN = (Path(__file__).parent.parent.parent / "plugins" / "pages.py").read_text()
MISSING = "no such file in the documents folder"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the folder `site`, which has a neighbour `secret.txt`; tests write their documents into it."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "site").mkdir()
    (folder / "secret.txt").write_text("the secret")
    with serving(folder, {"pages": PLUGIN}, "[file_server]\ndocuments = html:site") as running:
        yield running


@pytest.fixture
def site(server: Server) -> Iterator[Path]:
    """Return the documents folder, empty."""
    folder = server.folder / "site"
    yield folder
    shutil.rmtree(folder)
    folder.mkdir()


def body(server: Server, path: str) -> str:
    """Return what a page has between <body> and </body>."""
    answer = server.get(path)
    assert 200 == answer.status_code, answer.text
    found = re.search(r"<body>\n(.*)\n</body>", answer.text, re.DOTALL)
    assert found is not None, answer.text
    return found[1].strip()


def title(server: Server, path: str) -> str:
    """Return the title of a page."""
    found = re.search("<title>(.*?)</title>", server.get(path).text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def test_a_document_becomes_a_whole_page(server: Server, site: Path) -> None:
    """It has a document type, a charset, the first heading as title, and looks decent without a style sheet."""
    (site / "guide.md").write_text("Before.\n\n## Small\n\n# The *big* `guide` & more\n\n# Another\n")
    answer = server.get("/pages/guide.md")
    assert 200 == answer.status_code
    assert "text/html; charset=utf-8" == answer.headers["Content-Type"]
    assert answer.text.startswith("<!DOCTYPE html>\n")
    assert '<meta charset="utf-8">' in answer.text
    assert "The big guide & more" == title(server, "/pages/guide.md")
    assert '<h1 id="another">Another</h1>' in answer.text
    assert "font:" in answer.text
    assert ".highlight .k " in answer.text
    assert "<link" not in answer.text


def test_the_ending_may_be_left_out(server: Server, site: Path) -> None:
    """`guide` is `guide.md`, unless there is a file or folder of just that name."""
    (site / "guide.md").write_text("short")
    assert "<p>short</p>" == body(server, "/pages/guide")
    (site / "long.markdown").write_text("longer")
    assert "<p>longer</p>" == body(server, "/pages/long")
    (site / "both").mkdir()
    (site / "both.md").write_text("the file")
    assert 302 == server.get("/pages/both").status_code
    assert "<p>the file</p>" == body(server, "/pages/both.md")


def test_a_folder_shows_its_index(server: Server, site: Path) -> None:
    """It is `index.md` when there is no index.html; without the slash at its end a path is redirected."""
    (site / "deep").mkdir()
    (site / "index.md").write_text("top")
    (site / "deep" / "index.md").write_text("deep")
    for path, there, text in (("/pages", "/pages/", "top"), ("/pages/deep", "/pages/deep/", "deep")):
        assert 302 == server.get(path).status_code
        answer = server.get(path, follow_redirects=True)
        assert there == answer.url.path
        assert f"<p>{text}</p>" in answer.text
    (site / "deep" / "index.html").write_text("<title>html</title>")
    assert "<title>html</title>" == server.get("/pages/deep/").text
    (site / "empty").mkdir()
    assert 404 == server.get("/pages/empty/").status_code


def test_other_files_are_left_to_the_server(server: Server, site: Path) -> None:
    """They are redirected to the documents' own route, wherever the page stands, behind a proxy too."""
    (site / "a b").mkdir()
    (site / "a b" / "x?y.png").write_bytes(b"PNG")
    answer = server.get("/pages/a%20b/x%3Fy.png")
    assert 302 == answer.status_code
    assert "../../html/a%20b/x%3Fy.png" == answer.headers["Location"]
    assert "/html/a%20b/x%3Fy.png" == answer.next_request.url.raw_path.decode()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "path", ["missing", "missing.md", "guide.md/", "guide.md/x", ".hidden.md", "deep/.git/x.md", "out.md", "out/secret"]
)
def test_what_is_not_there_is_404(server: Server, site: Path, path: str) -> None:
    """So is what is hidden and what a link leads out of the folder to; all look the same."""
    (site / "guide.md").write_text("x")
    (site / ".hidden.md").write_text("x")
    (site / "deep" / ".git").mkdir(parents=True)
    (site / "deep" / ".git" / "x.md").write_text("x")
    (site / "out.md").symlink_to(server.folder / "secret.txt")
    (site / "out").symlink_to(server.folder)
    answer = server.get(f"/pages/{path}")
    assert 404 == answer.status_code
    assert "<h1>There is no such page.</h1>" in answer.text
    assert "text/html; charset=utf-8" == answer.headers["Content-Type"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["..%2fsecret.txt", "%2e%2e/secret.txt", "/etc/passwd", "%2fetc/passwd", "x%00.md"])
def test_no_path_leaves_the_folder(server: Server, site: Path, path: str) -> None:
    """Dots, second slashes and zero bytes find nothing."""
    (site / "x").write_text("x")
    answer = server.get(f"/pages/{path}")
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text
    assert "the secret" not in answer.text


def test_a_pipe_keeps_nobody_waiting(server: Server, site: Path) -> None:
    """What is no regular file is no page and cannot be included."""
    os.mkfifo(site / "pipe.md")
    assert 404 == server.get("/pages/pipe.md").status_code
    (site / "page.md").write_text("@INCLUDE=pipe.md@ @INCLUDE=.@")
    assert 2 == body(server, "/pages/page").count('class="magic-error"')


def test_what_is_no_regular_file_is_404(server: Server, site: Path) -> None:
    """No redirect leads to a pipe, since the route of the files has none either."""
    os.mkfifo(site / "pipe")
    (site / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        assert 404 == server.get(f"/pages/{name}").status_code


def test_links_inside_of_the_folder_are_followed(server: Server, site: Path) -> None:
    """A symbolic link is fine as long as it stays inside."""
    (site / "real.md").write_text("real")
    (site / "link.md").symlink_to("real.md")
    assert "<p>real</p>" == body(server, "/pages/link")


def test_the_dialect(server: Server, site: Path) -> None:
    """Tables, strikethrough, task lists, footnotes, HTML and coloured code are understood."""
    (site / "x.md").write_text(
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n~~old~~ <b class=c>html</b>\n\n- [x] done\n\nnote[^1]\n\n[^1]: the note\n\n"
        "```python\nclass X: pass\n```\n\n```nosuchlanguage\n<x>\n```\n"
    )
    text = body(server, "/pages/x")
    for piece in (
        "<td>2</td>",
        "<s>old</s>",
        "<b class=c>html</b>",
        'type="checkbox"',
        'class="footnotes"',
        '<pre class="highlight"><code class="language-python"><span class="k">class</span>',
        "&lt;x&gt;",
    ):
        assert piece in text


def test_style_sheets_of_the_folder_replace_ours(launch: Launch) -> None:
    """Under their default names or configured ones, linked relatively to the page."""
    server = launch({"pages": PLUGIN}, ini_more="[file_server]\ndocuments = html:site\nhighlight_css = css/colour.css")
    (server.folder / "site" / "css").mkdir(parents=True)
    assert 0 == server.stop()
    (server.folder / "site" / "css" / "page.md").write_text("x")
    (server.folder / "site" / "css" / "colour.css").write_text("x")
    (server.folder / "site" / "markdown.css").write_text("x")
    server = launch(folder=server.folder, ini=(server.folder / "server.ini").read_text())
    text = server.get("/pages/css/page").text
    assert '<link rel="stylesheet" href="../../html/markdown.css">' in text
    assert '<link rel="stylesheet" href="../../html/css/colour.css">' in text
    assert "<style>" not in text


def test_title(server: Server, site: Path) -> None:
    """It sets the title and leaves no trace; the first one counts, before the heading, before the file's name."""
    (site / "x.md").write_text("# Heading\n\n@TITLE=A <b>& *B*@\n@TITLE=Second@ text\n")
    assert "A <b>& *B*" == title(server, "/pages/x")
    assert "@" not in body(server, "/pages/x")
    (site / "name.md").write_text("@TITLE=@\nno heading")
    assert "name" == title(server, "/pages/name")
    (site / "y.md").write_text("# In @TIME=+%Y@\n")
    assert re.fullmatch(r"In \d{4}", title(server, "/pages/y"))


def test_include_is_verbatim(server: Server, site: Path) -> None:
    """Content is neither Markdown nor looked through for variables again; names start at the page's folder."""
    (site / "sub").mkdir()
    (site / "__part_a__.html").write_text("<i>*top*</i> @TIME@ @INCLUDE=__part_a__.html@")
    (site / "sub" / "part.txt").write_text("*sub*")
    (site / "sub" / "x.md").write_text(
        f"A @INCLUDE=../__part_a__.html@ B\n\n@INCLUDE=part.txt@ @INCLUDE={site}/sub/part.txt@\n"
    )
    assert "<p>A <i>*top*</i> @TIME@ @INCLUDE=__part_a__.html@ B</p>\n<p>*sub* *sub*</p>" == body(
        server, "/pages/sub/x"
    )


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "/etc/passwd",
        "~/secret.txt",
        "~root/.profile",
        "link.txt",
        "folder/secret.txt",
        ".env",
        "missing",
        "zero\0byte",
        "x" * 300,
        "loop",
        "{neighbour}",
    ],
)
@pytest.mark.parametrize("kind", ["INCLUDE", "FILETIME"])
def test_nothing_outside_can_be_included(server: Server, site: Path, kind: str, name: str) -> None:
    """The page shows an error in its text, alike for what is missing, hidden and outside, and shows the rest."""
    name = name.format(neighbour=server.folder / "site-two" / "x")
    (server.folder / "site-two").mkdir(exist_ok=True)
    (server.folder / "site-two" / "x").write_text("the secret")
    (site / "sub").mkdir()
    (site / ".env").write_text("the secret")
    (site / "link.txt").symlink_to(server.folder / "secret.txt")
    (site / "folder").symlink_to("..")
    (site / "loop").symlink_to("loop")
    (site / "x.html").write_text(f"<p>before @{kind}={name}@ after")
    text = server.get("/pages/x.html").text
    assert text.startswith('<p>before <strong class="magic-error">@')
    assert text.endswith(f": {MISSING}</strong> after")
    assert "the secret" not in text
    assert "root:" not in text


def test_an_error_in_a_variable_is_no_way_to_put_in_markup(server: Server, site: Path) -> None:
    """What the page shows of the variable is text."""
    (site / "x.html").write_text("@INCLUDE=<script>alert(1)</script>@")
    assert "<script>" not in server.get("/pages/x.html").text


def test_time_and_filetime(server: Server, site: Path) -> None:
    """With and without a format, in both spellings, with every documented code."""
    (site / "c++.txt").write_text("x")
    moment = time.mktime((2025, 5, 5, 17, 30, 9, 0, 0, -1))
    os.utime(site / "c++.txt", (moment, moment))
    (site / "x.md").write_text(
        "@FILETIME=c++.txt@\n\n@FILETIME=c++.txt+%A %B %d, %Y@\n\n"
        "@FILETIME=c++.txt+%Y|%m|%d|%H|%M|%S|%a|%A|%b|%B|%I|%p@\n\n@FILETIME=c++.txt+%z %c <&@\n"
    )
    local = time.localtime(moment)
    assert [
        "2025-05-05 17:30:09",
        "Monday May 05, 2025",
        "2025|05|05|17|30|09|Mon|Monday|May|May|05|PM",
        time.strftime("%z %c <&", local),
    ] == [html.unescape(text) for text in re.findall("<p>(.*)</p>", body(server, "/pages/x"))]
    (site / "y.md").write_text("@TIME@|@TIME=@|@TIME=+%Y-%m-%d@|@TIME+%Y@|")
    before = time.localtime()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"<p>{stamp}\|{stamp}\|\d{{4}}-\d\d-\d\d\|{before.tm_year}\|</p>", body(server, "/pages/y"))


def test_code_keeps_its_variables(server: Server, site: Path) -> None:
    """So a document can explain them."""
    (site / "x.md").write_text("`@TIME@`\n\n    @TIME@\n\n```\n@TITLE=no@\n```\n\n```python\n@TIME@\n```\n")
    text = html.unescape(re.sub("<[^>]*>", "", body(server, "/pages/x")))
    assert ["@TIME@", "@TIME@", "@TITLE=no@", "@TIME@"] == text.split()
    assert "x" == title(server, "/pages/x")


def test_what_is_no_variable_stays(server: Server, site: Path) -> None:
    """Mail addresses and half variables are text."""
    (site / "x.html").write_text("a@example.org @TITLE=x\n@ @INCLUDE=@ @NOW@ TIME@")
    assert "a@example.org @TITLE=x\n@ @INCLUDE=@ @NOW@ TIME@" == server.get("/pages/x.html").text


def test_html_documents_have_variables_too(server: Server, site: Path) -> None:
    """They get no envelope."""
    (site / "part.txt").write_text("<b>part</b>")
    (site / "x.html").write_text("<pre>@INCLUDE=part.txt@</pre>@FILETIME=part.txt+%Y@")
    assert re.fullmatch(r"<pre><b>part</b></pre>\d{4}", server.get("/pages/x.html").text)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("Grüße".encode(), "<p>Grüße</p>"),
        ("\ufeff# Grüße".encode(), '<h1 id="grüße">Grüße</h1>'),
        ("Grüße €".encode("cp1252"), "<p>Grüße €</p>"),
        ("Grüße".encode("utf-16"), "<p>Grüße</p>"),
        (b"", ""),
        (b"a\0b", "<p>a\ufffdb</p>"),
        (b"\xff\xfe\x00", "<p>\ufffd</p>"),
        (b"line\r\nline", "<p>line\nline</p>"),
        (b"[x](" * 20000, None),
        (b">" * 100000, None),
        (b"*a_ " * 50000, None),
        (b"@TITLE=" * 50000 + b"<" * 100000, None),
    ],
)
def test_any_bytes_make_a_page(server: Server, site: Path, data: bytes, shown: str | None) -> None:
    """Whatever the encoding, and however the author tries to keep the converter busy."""
    (site / "x.md").write_bytes(data)
    text = body(server, "/pages/x")
    assert shown is None or shown == text


def test_a_document_too_long_is_refused(server: Server, site: Path) -> None:
    """4 MiB is the limit for a page and what it includes, and the reason is reported."""
    with (site / "x.md").open("wb") as file:
        file.truncate((4 << 20) + 1)
    answer = server.get("/pages/x")
    assert (413, True) == (answer.status_code, "longer than 4 MiB" in answer.text)
    with (site / "part").open("wb") as file:
        file.write(b"y" * (3 << 20))
    (site / "z.md").write_text("@INCLUDE=part@ @INCLUDE=part@")
    text = body(server, "/pages/z")
    assert 3 << 20 == text.count("y" * 1024) * 1024
    assert text.endswith("longer than 4 MiB</strong></p>")


def test_a_client_can_ask_whether_a_page_has_changed(server: Server, site: Path) -> None:
    """By tag or by date; a changed page or include is sent again."""
    (site / "part").write_text("one")
    (site / "x.md").write_text("@INCLUDE=part@")
    for file, when in (("part", 1_600_000_000), ("x.md", 1_500_000_000)):
        os.utime(site / file, (when, when))
    first = server.get("/pages/x")
    assert "Sun, 13 Sep 2020 12:26:40 GMT" == first.headers["Last-Modified"]
    assert "no-cache" == first.headers["Cache-Control"]
    tag, date = first.headers["ETag"], first.headers["Last-Modified"]
    assert tag == server.get("/pages/x", headers={"Accept-Encoding": "identity"}).headers["ETag"]
    for asked in (
        {"If-None-Match": tag},
        {"If-None-Match": f'"other", {tag}'},
        {"If-None-Match": tag.removeprefix("W/")},
        {"If-None-Match": "*"},
        {"If-Modified-Since": date},
        {"If-None-Match": tag, "Accept-Encoding": "identity"},
    ):
        answer = server.get("/pages/x", headers=asked)
        assert (304, "", tag) == (answer.status_code, answer.text, answer.headers["ETag"])
    both = {"If-None-Match": '"other"', "If-Modified-Since": date}
    assert 200 == server.get("/pages/x", headers=both).status_code
    (site / "part").write_text("two")
    for asked in ({"If-None-Match": tag}, {"If-Modified-Since": date}):
        answer = server.get("/pages/x", headers=asked)
        assert (200, True) == (answer.status_code, "<p>two</p>" in answer.text)


def test_an_edit_that_keeps_size_and_date_is_seen(server: Server, site: Path) -> None:
    """As after `cp -p`: what counts is the content of the document."""
    document = site / "page.md"
    document.write_text("one")
    before = document.stat()
    first = server.get("/pages/page")
    document.write_text("two")
    os.utime(document, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = server.get("/pages/page", headers={"If-None-Match": first.headers["ETag"]})
    assert 200 == second.status_code
    assert "<p>two</p>" in second.text


def test_a_date_that_cannot_be_is_not_told(server: Server, site: Path) -> None:
    """A page from the future, or from before 1970, has an ETag only: HTTP has no such dates."""
    (site / "page.md").write_text("text")
    for year in (1965, 2100):
        moment = (year - 1970) * 365.25 * 86400
        os.utime(site / "page.md", (moment, moment))
        answer = server.get("/pages/page")
        assert 200 == answer.status_code
        assert "ETag" in answer.headers
        assert "Last-Modified" not in answer.headers


@pytest.mark.parametrize("text", ["@TIME@", "@INCLUDE=missing@"])
def test_what_may_change_by_itself_is_not_to_be_kept(server: Server, site: Path, text: str) -> None:
    """Such a page has no validators."""
    (site / "x.md").write_text(text)
    answer = server.get("/pages/x", headers={"If-None-Match": "*"})
    assert (200, "no-store") == (answer.status_code, answer.headers["Cache-Control"])
    assert not {"etag", "last-modified"} & set(answer.headers)


def test_conversions_are_kept_within_bounds(launch: Launch, tmp_path: Path) -> None:
    """A page is converted again when it changed, or when others took its room."""
    site = tmp_path / "site"
    site.mkdir()
    for name in "ab":
        (site / f"{name}.md").write_text(name * 600)
    (site / "huge.md").write_text("h" * 2000)
    server = launch(
        {"pages": PLUGIN},
        ini_more=f"[file_server]\ndocuments = {site}\n[plugin_parms]\npages = cache_limit=1000",
        args=["-v", "DEBUG"],
    )
    for path in ("a", "a", "b", "b", "a", "huge", "huge"):
        assert 200 == server.get(f"/pages/{path}").status_code
    (site / "a.md").write_text("A" * 600)
    assert "AAA" in server.get("/pages/a").text
    assert 0 == server.stop()
    converted = re.findall(r"converting (\w+)\.md", server.log)
    assert ["a", "b", "a", "huge", "huge", "a"] == converted
    assert "markdown_it" not in server.log


def test_access_log(launch: Launch, tmp_path: Path) -> None:
    """`common_log` gets a line for each request, in the Common Log Format."""
    (tmp_path / "x.md").write_text("x")
    server = launch(
        {"pages": PLUGIN},
        ini_more=f"[file_server]\ndocuments = {tmp_path}\ncommon_log = ~/access.log",
        env={"HOME": str(tmp_path)},
    )
    size = len(server.get("/pages/x?apikey=secret").content)
    server.get("/pages/missing")
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert 2 == len(lines)
    assert re.fullmatch(rf'127\.0\.0\.1 - - \[.*\] "GET /pages/x HTTP/1\.1" 200 {size}', lines[0])
    assert '"GET /pages/missing HTTP/1.1" 404 ' in lines[1]


@pytest.mark.parametrize(
    ("setting", "route"),
    [
        ("[file_server]\ndocuments = {site}", "site"),
        ("[file_server]\ndocuments = site", "site"),
        ("[file_server]\ndocuments = a/b:{site}", "a/b"),
        ("[paths]\ndocuments = {site}", "docs"),
        ("[paths]\ndocuments = html:site", "html"),
        ("[file_server]\ndocuments = new:site\n[paths]\ndocuments = old:site", "new"),
    ],
)
def test_the_route_of_other_files(launch: Launch, tmp_path: Path, setting: str, route: str) -> None:
    """It stands before the colon; else it is the folder's name, or `docs` for the older `[paths]`."""
    folder = tmp_path / "place"
    (folder / "site").mkdir(parents=True)
    (folder / "site" / "x.txt").write_text("x")
    setting = setting.format(site=folder / "site")
    base = "[network]\nbindto = 127.0.0.1\nport = 0\n"
    if "[paths]" not in setting:
        setting += "\n[paths]"
    ini = base + setting + "\nplugins = plugins\n"
    server = launch({"pages": PLUGIN}, ini=ini, folder=folder)
    assert f"../{route}/x.txt" == server.get("/pages/x.txt").headers["Location"]


def test_pages_may_share_the_route_of_the_files(launch: Launch, tmp_path: Path) -> None:
    """With the static files' route as its own, the plugin does not redirect in circles."""
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "x.md").write_text("x")
    server = launch(
        {"pages": PLUGIN},
        ini_more=f"[file_server]\ndocuments = html:{tmp_path}\n[plugin_parms]\npages = route_path=html",
    )
    assert 200 == server.get("/html/x.md").status_code
    assert "markdown.css" not in server.get("/html/x.md").text


def test_without_documents_there_are_no_pages(launch: Launch) -> None:
    """That is no error: the log has a hint, and each page is 404."""
    server = launch({"pages": PLUGIN})
    assert " - INFO - " in server.wait_for("set .paths. documents")
    answer = server.get("/pages/x")
    assert (404, True) == (answer.status_code, "No documents folder is configured." in answer.text)


def test_a_folder_may_come_later(launch: Launch, tmp_path: Path) -> None:
    """It is warned of with its name, and its pages are there as soon as it is."""
    server = launch({"pages": PLUGIN}, ini_more=f"[file_server]\ndocuments = html : {tmp_path}/later")
    assert f"documents: {tmp_path}/later is not a folder" in server.wait_for(" - WARN - .*pages|pages - WARN")
    assert 404 == server.get("/pages/").status_code
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "index.md").write_text("here")
    assert "<p>here</p>" == body(server, "/pages/")


@pytest.mark.parametrize("section", ["paths", "file_server"])
def test_the_index_file_may_have_another_name(launch: Launch, tmp_path: Path, section: str) -> None:
    """`indexfile` counts in the section of `documents`."""
    (tmp_path / "app.html").write_text("the app")
    (tmp_path / "index.html").write_text("not asked for")
    ini = "[network]\nbindto = 127.0.0.1\nport = 0\n"
    ini += {"paths": "[paths]\n", "file_server": "[paths]\nplugins = plugins\n[file_server]\n"}[section]
    ini += f"documents = {tmp_path}\nindexfile = app.html\n"
    ini += {"paths": "plugins = plugins\n", "file_server": ""}[section]
    assert "the app" == launch({"pages": PLUGIN}, ini=ini).get("/pages/").text


def packages(*modules: object) -> list[Path]:
    """Return the folders of imported packages."""
    return [Path(module.__file__).parent for module in modules]  # type: ignore[attr-defined]


def test_a_missing_library_is_told_with_the_remedy(launch: Launch, tmp_path: Path) -> None:
    """The line names the command that installs it."""
    python = create(tmp_path / "bare", *packages(plugincore)) / "bin" / "python"
    server = launch(
        {"pages": PLUGIN},
        ini_more=f"[file_server]\ndocuments = {tmp_path}",
        program=[str(python), "-m", "plugincore"],
    )
    line = server.wait_for(" - ERROR - ")
    assert "No module named 'markdown_it'" in line
    assert "pip install 'markdown-it-py[plugins]' pygments" in line
    assert 404 == server.get("/pages/x").status_code


def test_without_pygments_code_has_no_colours(launch: Launch, tmp_path: Path) -> None:
    """Everything else is as usual."""
    (tmp_path / "x.md").write_text("# Title\n\n```python\nclass X: pass\n```\n")
    libraries = packages(plugincore, markdown_it, mdit_py_plugins, mdurl)
    python = create(tmp_path / "plain", *libraries) / "bin" / "python"
    server = launch(
        {"pages": PLUGIN},
        ini_more=f"[file_server]\ndocuments = {tmp_path}",
        program=[str(python), "-m", "plugincore"],
    )
    assert '<pre><code class="language-python">class X: pass\n</code></pre>' in body(server, "/pages/x")
