"""A folder of static files, some of which must never be served, and a server for it."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.server import Server, serving

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


@contextmanager
def serving_files(folder: Path) -> Iterator[Server]:
    """Serve the files of this module under `/html`."""
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
