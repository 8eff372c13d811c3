"""The documentation site: Sphinx reads the same Markdown that a forge shows, so no page has directives of Sphinx.

The source folder is the repository, so that links to files outside of docs lead there. The side bar is made from the
lists of docs/index.md: each heading a caption, each link a page.

Caveat: a page that no list of index.md names is a warning, which fails the build.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PROJECT = Path(__file__).parent.parent
VERSIONS = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>plugincore: versions of the documentation</title>
<body style="font-family: sans-serif; margin: 3em auto; max-width: 40em">
<h1>plugincore</h1>
<p>The documentation of</p>
<ul>
{items}
</ul>
"""

project = "plugincore"
author = "the authors of plugincore"
release = version = tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
# Folders outside of docs are left out before they are walked through.
exclude_patterns = [*(f"{path.name}/**" for path in PROJECT.iterdir() if path.is_dir() and path.name != "docs")]
suppress_warnings = ["misc.highlighting_failure"]  # JSON of answers has … in it
smartquotes = False
default_role = "literal"  # docstrings have `names` as Markdown has them

myst_heading_anchors = 4

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_ivar = True

html_theme = "furo"
templates_path = ["templates"]  # one, with the link to the list of versions in the side bar
html_title = f"plugincore {release}"
html_copy_source = False
html_show_copyright = False


def adapt(app: Sphinx, name: str, source: list[str]) -> None:
    """Take away links to what is no page and no file, and give the first page the side bar."""
    folder = (PROJECT / name).parent

    def leads_nowhere(link: re.Match[str]) -> str:
        target = (folder / link["path"]).resolve()
        return link["text"] if target.is_dir() or target == PROJECT / "README.md" else link[0]

    source[0] = re.sub(r"\[(?P<text>[^\]]+)\]\((?P<path>[^):#]+)(?:#[^)]*)?\)", leads_nowhere, source[0])
    if name == root_doc:
        source[0] += "".join(map(side_bar, re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]))


def side_bar(section: str) -> str:
    """Return a hidden table of contents for a heading and its list."""
    links = re.findall(r"^- \[.*?\]\(([\w./-]+)\.(?:md|rst)\)", section, flags=re.MULTILINE)
    entries = "\n".join(posixpath.normpath(f"/docs/{link}") for link in links)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {section.partition(chr(10))[0]}\n\n{entries}\n```\n"


ATTRIBUTES: dict[str, list[str]] = {}


def put_away(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Keep an attribute's docstring from napoleon, which takes what stands before a colon for a type."""
    if what in ("attribute", "property"):
        ATTRIBUTES[name], lines[:] = lines[:], []


def put_back(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Give the attribute its docstring."""
    lines[:] = ATTRIBUTES.pop(name, lines)


def list_versions(app: Sphinx, exception: Exception | None) -> None:
    """List this version and those that lie beside it on a page, and lead from its folder to its first page."""
    if exception is not None:
        return
    here = Path(app.outdir)
    (here / "index.html").write_text('<!doctype html>\n<meta http-equiv="refresh" content="0; url=docs/index.html">\n')
    found = [folder.name for folder in here.parent.iterdir() if (folder / "docs" / "index.html").is_file()]
    newest_first = sorted(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], reverse=True)
    items = "\n".join(f'<li><a href="{name}/docs/index.html">{name}</a></li>' for name in newest_first)
    (here.parent / "index.html").write_text(VERSIONS.format(items=items))


def setup(app: Sphinx) -> None:
    """Connect all of it to the build."""
    app.connect("source-read", adapt)
    app.connect("autodoc-process-docstring", put_away, priority=400)
    app.connect("autodoc-process-docstring", put_back, priority=600)
    app.connect("build-finished", list_versions)
