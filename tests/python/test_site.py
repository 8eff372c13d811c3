"""The documentation site builds without a warning, and each of its links leads to something that it has."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from doc_pages import PAGES, PROJECT

pytestmark = pytest.mark.timeout(240)


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site as `make docs` does."""
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", str(PROJECT / "docs")]
    options += ["--doctree-dir", str(target.parent.parent / "doctrees")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )


class Addresses(HTMLParser):
    """What a page links to, and what in it can be linked to."""

    def __init__(self, page: Path) -> None:
        """Read a page."""
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what an element has."""
        for name, value in attrs:
            if value and name == "id":
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a version of the site, beside which there are others."""
    folder = tmp_path_factory.mktemp("site") / "site" / "0.9.0"
    for other in ("0.8.0", "0.10.0"):
        (folder.parent / other / "docs").mkdir(parents=True)
        (folder.parent / other / "docs" / "index.html").touch()
    ended = build(PROJECT, folder)
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    return folder


def test_every_page_of_docs_is_a_page_of_the_site(site: Path) -> None:
    """With a place in the side bar, a search, and colours for the dark."""
    pages = {str(page.relative_to(site).with_suffix(".md")) for page in site.glob("docs/*.html")}
    assert {name for name in PAGES if name.startswith("docs/")} <= pages
    start = (site / "docs" / "index.html").read_text()
    side_bar = start.partition('<div class="sidebar-tree">')[2].partition("</aside>")[0]
    named = set(re.findall('href="([a-z0-9-]+).html"', side_bar))
    assert {Path(name).stem for name in PAGES if name.startswith("docs/")} - {"index"} <= named
    for part in ("Start here", "How to", "Reference", "Explanation"):
        assert f'<span class="caption-text">{part}</span>' in start
    assert 'action="../search.html"' in start
    assert "theme-toggle" in start


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """To a file of the site and, where it names one, to a place in it; nothing is loaded from elsewhere."""
    pages = {page: Addresses(page) for page in site.parent.rglob("*.html")}
    lost = []
    for page, addresses in pages.items():
        for link in addresses.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto", "data"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchors = pages[target].anchors if target in pages else None
            if not target.is_file() or (
                parts.fragment and anchors is not None and unquote(parts.fragment) not in anchors
            ):
                lost.append(f"{page.relative_to(site.parent)}: {link}")
    assert [] == [one for one in lost if not one.endswith(": #")]
    loaded = [link for one in pages.values() for link in one.links if re.search(r"\.(js|css)(\?|$)", link)]
    assert loaded
    assert [] == [link for link in loaded if "://" in link]


def test_the_python_api_comes_from_the_docstrings(site: Path) -> None:
    """Of the modules in Python and of those in Rust."""
    page = Addresses(site / "docs" / "api.html").anchors
    wanted = ["baseplugin.BasePlugin.terminate_plugin", "responses.EventSource", "Request.query", "bounds.Bounds.ge"]
    assert not [name for name in wanted if f"plugincore.{name}" not in page]
    assert "The Content-Length header" in re.sub(r"<[^>]+>", "", (site / "docs" / "api.html").read_text())


def test_versions_lie_beside_each_other_and_are_listed(site: Path) -> None:
    """The newest first, each build of one lists all; the folder of a version leads to its first page."""
    listed = (site.parent / "index.html").read_text()
    assert ["0.10.0", "0.9.0", "0.8.0"] == re.findall('href="(.*?)/docs/index.html"', listed)
    assert "../../index.html" in Addresses(site / "docs" / "start.html").links
    assert "url=docs/index.html" in (site / "index.html").read_text()


def test_a_link_to_nothing_fails_the_build(tmp_path: Path) -> None:
    """Nothing passes because it was not looked at."""
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    (source / "docs" / "index.md").write_text("# Title\n\n[a](missing.md) [b](#nothing)\n")
    ended = build(source, tmp_path / "site" / "1")
    assert 0 != ended.returncode
    assert "missing.md" in ended.stderr
    assert "nothing" in ended.stderr
