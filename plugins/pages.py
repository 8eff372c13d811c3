"""Markdown pages: ``/pages/guide`` shows the document ``guide.md`` as HTML, and ``/pages/`` the index of the folder.

The folder is ``[file_server] documents`` or ``[paths] documents``; the server itself serves the other files in it, and
pages refer to them by relative links. Markdown needs ``pip install 'markdown-it-py[plugins]' pygments``; without
pygments, code is not highlighted. The contents of documents and all settings are described in docs/pages.md.
"""

import asyncio
import hashlib
import html
import logging
import os
import re
import stat
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from plugincore.baseplugin import BasePlugin

MARKDOWN = (".md", ".markdown")
HTML = (".html", ".htm")
#: Maximum size of a page with all included files, in bytes.
PAGE_LIMIT = 4 << 20

MAGIC = re.compile(
    r"@(?:TITLE=(?P<title>[^@\n]*)|INCLUDE=(?P<include>[^@\n]+)|TIME=?(?P<time>\+[^@\n]*)?|FILETIME=(?P<file>[^@\n]+))@"
)
#: A path and its time format, which starts at the first `+` that is followed by a `%` before any other `+`.
FILETIME = re.compile(r"(?P<path>.*?)(?:\+(?P<format>[^+]*%.*))?")

STYLE = """\
:root { color-scheme: light dark; --line: #8885; --soft: #8882; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.6 system-ui, sans-serif; }
h1, h2 { border-bottom: 1px solid var(--line); padding-bottom: .2em; }
h1, h2, h3, h4 { line-height: 1.25; margin: 1.6em 0 .6em; }
code, pre { font: .9em/1.5 ui-monospace, monospace; background: var(--soft); border-radius: 4px; }
code { padding: .1em .3em; overflow-wrap: anywhere; }
pre { padding: .8em 1em; overflow: auto; }
pre code { padding: 0; background: none; font-size: 1em; overflow-wrap: normal; }
table { border-collapse: collapse; display: block; overflow: auto; }
th, td { border: 1px solid var(--line); padding: .3em .7em; }
blockquote { margin: 1em 0; padding-left: 1em; border-left: 4px solid var(--line); }
img { max-width: 100%; }
.magic-error { color: #c00; background: #fee; }
"""


class PageError(Exception):
    """A page cannot be shown: the status, and the reason for the reader."""

    def __init__(self, status: int, reason: str) -> None:
        """Store status and reason."""
        super().__init__(reason)
        self.status = status


class Page(NamedTuple):
    """A finished page; without a modification time, its content may differ for each request."""

    body: str
    modified: float | None


class Converted(NamedTuple):
    """A document as HTML, with unreplaced magic variables, and the HTML of its first heading."""

    body: str
    heading: str


class Documents:
    """The documents folder. Files outside of it and hidden files are neither found nor read."""

    def __init__(self, folder: str) -> None:
        """Resolve the path of the folder, which may be created later."""
        self.root = Path(folder).expanduser().resolve()

    def find(self, name: str, base: Path) -> Path | None:
        """Return the path of `name` relative to the folder `base`, with symbolic links resolved, or None."""
        try:
            path = (base / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a NUL, or too long a name
            return None
        if not path.is_relative_to(self.root):
            return None
        hidden = any(part.startswith(".") for part in path.relative_to(self.root).parts)
        return None if hidden else path

    def read(self, path: Path, limit: int) -> tuple[str, os.stat_result]:
        """Return the text of a file: OSError if it is not a regular file, ValueError if it is too long."""
        with open(path, "rb", opener=careful) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(None, "not a file")
            data = file.read(limit + 1)
        if len(data) > limit:
            message = f"longer than {PAGE_LIMIT >> 20} MiB"
            raise ValueError(message)
        return decode(data), status


def careful(path: str, flags: int) -> int:
    """Open a file without following a symbolic link that was just created, and without waiting for a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def decode(data: bytes) -> str:
    """Return the text of a file: UTF-8, UTF-16 with a byte order mark, or else Windows-1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


class Magic:
    """Replaces the magic variables of one page; replacements are not processed again."""

    def __init__(self, documents: Documents, base: Path, changed: float, budget: int) -> None:
        """Names are relative to `base`; included files may have `budget` bytes in total."""
        self.documents = documents
        self.base = base
        self.budget = budget
        self.title = ""
        self.changed = changed
        self.lasting = True

    def fill(self, text: str) -> str:
        """Return the text with its variables replaced."""
        return MAGIC.sub(self.replace, text)

    def replace(self, match: re.Match[str]) -> str:
        """Return the replacement of one variable, or an error for the reader."""
        try:
            if (title := match["title"]) is not None:
                self.title = self.title or plain(title)
                return ""
            if (name := match["include"]) is not None:
                return self.include(html.unescape(name))
            if (name := match["file"]) is not None:
                return self.filetime(html.unescape(name))
            self.lasting = False
            return clock(datetime.now().astimezone(), html.unescape(match["time"] or "")[1:])
        except (OSError, ValueError) as error:
            # The cause may be removed without a change of any modification time that the page depends on.
            self.lasting = False
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            text = html.escape(html.unescape(match[0]))
            return f'<strong class="magic-error">{text}: {html.escape(reason)}</strong>'

    def include(self, name: str) -> str:
        """Return the content of a file, unchanged."""
        text, status = self.documents.read(self.find(name), self.budget)
        self.budget -= status.st_size
        self.changed = max(self.changed, status.st_mtime)
        return text

    def filetime(self, text: str) -> str:
        """Return the modification time of a file."""
        parts = FILETIME.fullmatch(text)
        assert parts is not None  # it matches every line
        changed = self.find(parts["path"]).stat().st_mtime
        self.changed = max(self.changed, changed)
        return clock(datetime.fromtimestamp(changed).astimezone(), parts["format"] or "")

    def find(self, name: str) -> Path:
        """Return the path; missing and forbidden files give the same error."""
        if (path := self.documents.find(name, self.base)) is None:
            raise FileNotFoundError(None, "no such file in the documents folder")
        return path


def clock(moment: datetime, form: str) -> str:
    """Return a time in a format of `strftime`; the default is the form `2025-05-05 17:30:00`."""
    return html.escape(moment.strftime(form or "%Y-%m-%d %H:%M:%S"))


def plain(markup: str) -> str:
    """Return the text of a piece of HTML."""
    return html.unescape(re.sub(r"<[^<>]*>", "", markup)).strip()


class Converter:
    """Converts Markdown to HTML with markdown-it-py: CommonMark with tables, task lists, footnotes and anchors."""

    def __init__(self) -> None:
        """Create the converter; the libraries are imported here, so that they are needed for documents only."""
        try:
            from markdown_it import MarkdownIt
            from mdit_py_plugins.anchors import anchors_plugin
            from mdit_py_plugins.footnote import footnote_plugin
            from mdit_py_plugins.tasklists import tasklists_plugin
        except ImportError as error:
            message = f"pages: {error}; Markdown needs: pip install 'markdown-it-py[plugins]' pygments"
            raise ImportError(message) from error
        # At DEBUG it logs each rule that it tries on each line.
        logging.getLogger("markdown_it").setLevel(logging.INFO)
        # HTML in Markdown is passed through, as in CommonMark: documents are trusted.
        self.markdown = MarkdownIt("commonmark", {"html": True, "highlight": self.highlight})
        self.markdown.enable(["table", "strikethrough"])
        self.markdown.use(anchors_plugin, max_level=6).use(footnote_plugin).use(tasklists_plugin)
        self.markdown.inline.ruler.before("emphasis", "magic", self.keep_magic)
        rules: dict[str, Any] = self.markdown.renderer.rules  # type: ignore[attr-defined]
        for name in ("code_inline", "code_block", "fence"):
            rules[name] = self.shield(rules[name])
        try:
            from pygments.formatters import HtmlFormatter
        except ImportError:
            self.formatter, self.style = None, ""
        else:
            self.formatter = HtmlFormatter(nowrap=True)
            light, dark = (
                HtmlFormatter(style=style).get_style_defs(".highlight")  # type: ignore[no-untyped-call]
                for style in ("default", "github-dark")
            )
            self.style = (
                f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\npre {{ background: var(--soft); }}\n"
            )

    def convert(self, text: str) -> Converted:
        """Return the HTML of a document."""
        env: dict[str, Any] = {}
        tokens = self.markdown.parse(text, env)
        first = next((n for n, token in enumerate(tokens) if (token.type, token.tag) == ("heading_open", "h1")), None)
        heading = ""
        if first is not None:
            heading = self.markdown.renderer.render([tokens[first + 1]], self.markdown.options, env)
        return Converted(self.markdown.renderer.render(tokens, self.markdown.options, env), heading)

    @staticmethod
    def keep_magic(state: Any, silent: bool) -> bool:
        """Keep a magic variable unchanged: underscores in a file name are not emphasis."""
        match = MAGIC.match(state.src, state.pos)
        if match is None or match.end() > state.posMax:
            return False
        if not silent:
            state.push("html_inline", "", 0).content = html.escape(match[0], quote=False)
        state.pos = match.end()
        return True

    @staticmethod
    def shield(rule: Any) -> Any:
        """Wrap a rule for code, so that magic variables in code are not replaced."""
        return lambda *arguments: rule(*arguments).replace("@", "&#64;")

    def highlight(self, code: str, language: str, attributes: str) -> str:
        """Return highlighted code; for an empty text, the library formats the code."""
        if not language or self.formatter is None:
            return ""
        from pygments import highlight
        from pygments.lexers import get_lexer_by_name
        from pygments.util import ClassNotFound

        try:
            coloured = highlight(code, get_lexer_by_name(language), self.formatter)
        except ClassNotFound:
            return ""
        return f'<pre class="highlight"><code class="language-{html.escape(language)}">{coloured}</code></pre>\n'


class Site:
    """Finds the page of a path. It is used by one thread, so the cache does not need a lock."""

    def __init__(self, config: Any, endpoint: str, cache_limit: int, log: Any) -> None:
        """Read the settings from `[file_server]` or, for older files, `[paths]`; one of them has `documents`."""
        section, older = config.get("file_server", {}), config.get("paths", {})
        place = section if section.get("documents") else older
        setting = str(place["documents"])
        route, colon, folder = setting.partition(":")
        self.documents = Documents((folder if colon else setting).strip())
        if not colon:
            route = "docs" if place is older else self.documents.root.name
        self.files = quote(route.strip(" /"))
        if not self.documents.root.is_dir():
            log.warning(f"documents: {self.documents.root} is not a folder, so there are no pages")
        self.endpoint = endpoint
        self.index = (str(place.get("indexfile") or "index.html"), "index.md")
        self.converter = Converter()
        self.sheets = (
            (str(section.get("markdown_css") or "markdown.css"), STYLE),
            (str(section.get("highlight_css") or "highlight.css"), self.converter.style),
        )
        self.cache: OrderedDict[Path, tuple[bytes, Converted]] = OrderedDict()
        self.cache_limit = cache_limit
        self.log = log

    def answer(self, subpath: str | None) -> Page | str:
        """Return the page of a path, or the URL of a redirect."""
        path = self.locate(subpath or "")
        if path.is_dir():
            if subpath is None or (subpath and not subpath.endswith("/")):
                # With the slash, the page's relative links start inside the folder.
                last = (subpath or self.endpoint).rpartition("/")[2]
                return f"./{quote(last)}/"
            index = next((found for name in self.index if (found := self.documents.find(name, path))), None)
            if index is None:
                raise PageError(404, "There is no such page.")
            path = index
        # All URLs are relative, since a proxy may add a path prefix.
        files = "../" * ((subpath or "").count("/") + self.endpoint.count("/") + 1) + self.files + "/"
        if path.suffix.lower() in MARKDOWN + HTML:
            return self.page(path, files)
        if self.files == quote(self.endpoint) or not path.is_file():
            raise PageError(404, "There is no such page.")
        return files + quote(path.relative_to(self.documents.root).as_posix())

    def locate(self, subpath: str) -> Path:
        """Return the file or folder of a path; the extension of Markdown files may be missing."""
        folder = subpath.endswith("/")
        for ending in ("", *MARKDOWN):
            path = None if subpath.startswith("/") else self.documents.find(subpath + ending, self.documents.root)
            if path is not None and (path.is_dir() or not folder):
                return path
        raise PageError(404, "There is no such page.")

    def page(self, path: Path, files: str) -> Page:
        """Return the page of a document; `files` is the URL of the documents folder."""
        try:
            text, status = self.documents.read(path, PAGE_LIMIT)
        except ValueError as error:
            raise PageError(413, f"This page cannot be shown: it is {error}.") from error
        except OSError as error:
            raise PageError(404, "There is no such page.") from error
        magic = Magic(self.documents, path.parent, status.st_mtime, PAGE_LIMIT - status.st_size)
        if path.suffix.lower() in HTML:
            body = magic.fill(text)
        else:
            converted = self.convert(path, text)
            body = magic.fill(converted.body)
            title = magic.title or plain(magic.fill(converted.heading))
            title = title or os.fsencode(path.stem).decode("utf-8", "replace")
            body = envelope(title, self.head(files), body)
        return Page(body, magic.changed if magic.lasting else None)

    def convert(self, path: Path, text: str) -> Converted:
        """Return a document's HTML; it is cached until the text changes or other documents need the space."""
        stamp = hashlib.sha256(text.encode()).digest()
        known = self.cache.pop(path, None)
        if known is None or known[0] != stamp:
            self.log.debug("converting", path.name)
            known = (stamp, self.converter.convert(text))
        self.cache[path] = known
        while sum(len(kept.body) for _, kept in self.cache.values()) > self.cache_limit:
            self.cache.popitem(last=False)
        return known[1]

    def head(self, files: str) -> str:
        """Return the style sheets: links to those in the folder, or else the built-in ones."""
        sheets = []
        for name, style in self.sheets:
            if self.documents.find(name, self.documents.root):
                sheets.append(f'<link rel="stylesheet" href="{html.escape(files + quote(name))}">')
            else:
                sheets.append(f"<style>\n{style}</style>")
        return "\n".join(sheets)


class Pages(BasePlugin):
    """Serves pages; the server itself serves all other files."""

    http_methods = ("GET",)

    def __init__(self, **kwargs: Any) -> None:
        """Read the settings; a missing documents folder is not an error, but then there are no pages."""
        super().__init__(**kwargs)
        self.access_log = os.path.expanduser(str(self.config.get("file_server", {}).get("common_log") or ""))
        self.worker = ThreadPoolExecutor(1, "pages")
        self.site: Site | None = None
        if any(self.config.get(section, {}).get("documents") for section in ("file_server", "paths")):
            self.site = Site(self.config, self._plugin_id, int(kwargs.get("cache_limit", 16 << 20)), self.log)
        else:
            self.log("there are no pages, since no folder is configured: set [paths] documents")

    def terminate_plugin(self) -> None:
        """Stop the thread after its current work."""
        self.worker.shutdown(wait=False)

    async def request_handler(self, **data: Any) -> tuple[int, str, dict[str, str]]:
        """Return a page, a redirect, or an error as a page."""
        headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache"}
        status, body = 200, ""
        try:
            if self.site is None:
                raise PageError(404, "No documents folder is configured.")
            # Files and Markdown are slow, so they are handled in a thread.
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self.worker, self.site.answer, data["subpath"])
            if isinstance(found, str):
                status, headers["Location"] = 302, found
            else:
                body = found.body
                headers |= validators(found)
                if unchanged(data["request_headers"], headers):
                    status, body = 304, ""
        except PageError as error:
            status, body = error.status, envelope(str(error), f"<style>\n{STYLE}</style>", f"<h1>{error}</h1>")
        if self.access_log:
            request = data["request"]
            protocol = "HTTP/{}.{}".format(*request.version)
            size = len(body.encode())
            self.log.common_log(
                data["client_ip"], request.path, size, request.method, protocol, status, self.access_log
            )
        return status, body, headers


def envelope(title: str, head: str, body: str) -> str:
    """Return a complete HTML page."""
    return f"""<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
{head}
</head>
<body>
{body}
</body>
</html>
"""


def validators(page: Page) -> dict[str, str]:
    """Return the headers with which a client can check whether a page has changed."""
    if page.modified is None:
        return {"Cache-Control": "no-store"}
    # Weak, since the server may compress the page: a 304 then has the tag that the page had.
    headers = {"ETag": f'W/"{hashlib.sha256(page.body.encode()).hexdigest()[:32]}"'}
    # A file may have any date; only a date that a client can compare is sent.
    if 0 <= page.modified <= time.time():
        headers["Last-Modified"] = formatdate(page.modified, usegmt=True)
    return headers


def unchanged(request: dict[str, str], answer: dict[str, str]) -> bool:
    """Return whether the client already has this answer."""
    if "ETag" not in answer:
        return False
    if (tags := request.get("If-None-Match")) is not None:
        own = answer["ETag"].removeprefix("W/")
        return tags.strip() == "*" or own in (tag.strip().removeprefix("W/") for tag in tags.split(","))
    return "Last-Modified" in answer and request.get("If-Modified-Since") == answer["Last-Modified"]
