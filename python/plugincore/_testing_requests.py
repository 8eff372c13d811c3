"""How a test's request is written: its target, its body, its cookies; and what a refused WebSocket raises.

Functions of `plugincore.testing`, which depend on nothing of the server. Caveat: what a client may send, though no
browser would, is left as it is.
"""

from __future__ import annotations

import json as json_module
import mimetypes
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookies import Morsel
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

Pairs = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""Names and values; in a mapping, a list as a value repeats the name."""

File = bytes | str | os.PathLike[str] | tuple[str, bytes | str] | tuple[str, bytes | str, str]
"""A file to upload: its content; the path of a file; or its name, its content and, if it matters, its media type."""


def pairs(given: Pairs | None) -> list[tuple[str, str]]:
    """Return names and values as texts, with a pair for each value of a list."""
    items = given.items() if isinstance(given, Mapping) else given or ()
    return [
        (name, str(one))
        for name, value in items
        for one in (value if isinstance(value, Sequence) and not isinstance(value, str) else [value])
    ]


def target_of(plugin_id: str | None, path: str, query: str | Pairs | None) -> str:
    """Return path and query as a client would send them."""
    if plugin_id is None:
        raise RuntimeError("the client is not open: use it in `with`")
    path, _, own = path.partition("?")
    if path and not path.startswith("/"):
        path = f"/{path}"
    texts = [own, query if isinstance(query, str) else urlencode(pairs(query))]
    text = "&".join(text for text in texts if text)
    # Existing escapes are kept; characters that a client cannot send are escaped.
    escaped = quote(text, safe="%/:?@!$&'()*+,;=~[]{}|^`")
    return f"/{quote(plugin_id)}{quote(path, safe='%/:@!$&()*+,;=~')}" + (f"?{escaped}" if escaped else "")


def body_of(json: Any, data: bytes | str | Pairs | None) -> tuple[bytes, str | None]:
    """Return the body and its content type."""
    if json is not None and data is not None:
        raise ValueError("a request has one body: json or data")
    if json is not None:
        return json_module.dumps(json).encode(), "application/json"
    if data is None:
        return b"", None
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data), None
    if isinstance(data, str):
        return data.encode(), "text/plain; charset=utf-8"
    return urlencode(pairs(data)).encode(), "application/x-www-form-urlencoded"


def multipart(
    json: Any, data: bytes | str | Pairs | None, files: Mapping[str, File | Sequence[File]]
) -> tuple[bytes, str]:
    """Return a form with files and its content type."""
    if json is not None or isinstance(data, (bytes, bytearray, memoryview, str)):
        raise ValueError("files are sent as a form: data holds its other fields, and there is no json")
    boundary = secrets.token_hex(16)
    parts = [(f'name="{_quoted(name)}"', "", value.encode()) for name, value in pairs(data)]
    for name, given in files.items():
        for file in given if isinstance(given, list) else [given]:
            file_name, content, kind = _file(name, file)
            disposition = f'name="{_quoted(name)}"; filename="{_quoted(file_name)}"'
            parts.append((disposition, f"\r\nContent-Type: {kind}", content))
    lines = [
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}{kind}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, kind, content in parts
    ]
    return b"".join(lines) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _file(field_name: str, file: Any) -> tuple[str, bytes, str]:
    """Return name, content and media type of a file."""
    kind = "application/octet-stream"
    if isinstance(file, os.PathLike):
        path = Path(file)
        return path.name, path.read_bytes(), mimetypes.guess_type(path.name)[0] or kind
    name, content, *more = file if isinstance(file, tuple) else (field_name, file)
    content = content.encode() if isinstance(content, str) else bytes(content)
    return name, content, more[0] if more else mimetypes.guess_type(name)[0] or kind


def _quoted(name: str) -> str:
    """Return a name as browsers write it in a form."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def has_ended(cookie: Morsel[str]) -> bool:
    """Whether an answer takes a cookie away."""
    try:
        if cookie["max-age"]:
            return int(cookie["max-age"]) <= 0
        if not cookie["expires"]:
            return False
        end = parsedate_to_datetime(cookie["expires"])
    except ValueError:
        # As in browsers: what cannot be read does not count.
        return False
    return end.replace(tzinfo=end.tzinfo or UTC) <= datetime.now(UTC)


class HandshakeError(ConnectionError):
    """The plugin, or the server before it, has answered the request for a WebSocket with something else.

    Attributes:
        status: The status of the answer.
        body: Its body.

    """

    def __init__(self, status: int, body: bytes) -> None:
        """Note the answer."""
        super().__init__(f"the request for a WebSocket was answered {status}: {body.decode(errors='replace')}")
        self.status = status
        self.body = body
