"""Results beyond plain values, for plugins that want a say in how an answer is sent.

A handler returns one of these objects instead of ``(code, body)``; ``raise`` is not for them. None needs aiohttp.
"""

from __future__ import annotations

import http
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from plugincore._answers import Answer, HeaderItems, Headers
from plugincore._core import encode_json
from plugincore._streams import Event, EventSource, StreamingResponse

if TYPE_CHECKING:
    from plugincore._core import Request

__all__ = ["Event", "EventSource", "FileResponse", "Headers", "Redirect", "Response", "StreamingResponse"]

#: Stands for a value that was not given where ``None`` is one.
_NOT_GIVEN: Any = object()


class Response(Answer):
    """A complete answer: status, headers and a body that is there as a whole.

    The attributes have the names of aiohttp's ``web.Response``, and a response may be returned for any number of
    requests. At most one of ``body``, ``text`` and ``json`` is given.

    >>> response = Response(json={"id": 7}, status=201, headers={"Location": "/things/7"})
    >>> response.text, response.content_type
    ('{"id": 7}', 'application/json')
    >>> response.headers["Cache-Control"] = "no-store"
    >>> Response(text="Grüße", content_type="text/html").headers["content-type"]
    'text/html; charset=utf-8'

    Args:
        body: Bytes; ``application/octet-stream`` unless a content type says otherwise.
        text: Text, sent in ``charset``; ``text/plain`` unless a content type says otherwise.
        json: A value, written as JSON in the way a bare ``dict`` is.
        status: The status code, 200 to 599.
        headers: A mapping, in which a list repeats a header, or pairs.
        content_type: The content type; not if ``headers`` hold one.
        charset: The charset of a text; UTF-8 if it is not given.

    """

    def __init__(
        self,
        *,
        body: bytes | bytearray | memoryview | None = None,
        text: str | None = None,
        json: Any = _NOT_GIVEN,
        status: int = 200,
        headers: HeaderItems | None = None,
        content_type: str | None = None,
        charset: str | None = None,
    ) -> None:
        """Make a complete answer; a value that is no JSON, or a text that its charset lacks, is an error here."""
        if (body is not None) + (text is not None) + (json is not _NOT_GIVEN) > 1:
            raise ValueError("only one of body, text and json can be the answer's body")
        super().__init__(status=status, headers=headers, content_type=content_type, charset=charset)
        self._body = b""
        if text is not None:
            self.text = text
        elif json is not _NOT_GIVEN:
            self._body = encode_json(json)
            if "Content-Type" not in self.headers:
                self._set_type("application/json", "utf-8")
        elif body is not None:
            self.body = body

    @property
    def body(self) -> bytes:
        """The body; any bytes may be assigned."""
        return self._body

    @body.setter
    def body(self, body: bytes | bytearray | memoryview | None) -> None:
        if body is not None and not isinstance(body, (bytes, bytearray, memoryview)):
            raise TypeError(f"body is bytes, not {type(body).__name__}; a text goes to text=, other values to json=")
        self._body = b"" if body is None else bytes(body)

    @property
    def text(self) -> str:
        """The body as text; one that is assigned is sent in the charset of the content type."""
        return self._body.decode(self.charset or "utf-8")

    @text.setter
    def text(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"text is a str, not {type(text).__name__}; bytes go to body=, other values to json=")
        charset = self.charset or "utf-8"
        self._body = text.encode(charset)
        is_untyped = self.content_type == "application/octet-stream"
        self._set_type("text/plain" if is_untyped else self.headers["Content-Type"], charset)

    @property
    def content_length(self) -> int:
        """The length of the body in bytes."""
        return len(self._body)

    @property
    def reason(self) -> str:
        """The usual phrase for the status."""
        try:
            return http.HTTPStatus(self.status).phrase
        except ValueError:
            return ""

    def __repr__(self) -> str:
        """Show status, type and size, not the content."""
        return f"<{type(self).__name__} {self.status} {self.content_type}, {len(self._body)} bytes>"

    def __plugincore_reply__(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return what the host sends."""
        return self._status, self._all_headers(), self._body


class Redirect(Response):
    """An answer that sends the client elsewhere.

    >>> Redirect("/search?q=Grüße").headers["Location"]
    '/search?q=Gr%C3%BC%C3%9Fe'

    Args:
        url: Where to; whatever a URL cannot hold, line breaks too, is percent-encoded.
        status: 302 or 303 (ask for ``url`` by GET), 307 (repeat the request there), or, for good, 301 and 308.
        headers: More headers.

    """

    def __init__(self, url: str, status: int = 302, *, headers: HeaderItems | None = None) -> None:
        """Make a redirection; whether a URL that came from a client may be trusted is for the plugin to know."""
        if not isinstance(url, str):
            raise TypeError(f"url is a str, not {type(url).__name__}")
        if status not in (301, 302, 303, 307, 308):
            raise ValueError(f"the status {status} does not redirect; take 301, 302, 303, 307 or 308")
        super().__init__(status=status, headers=headers)
        self.headers["Location"] = quote(url, safe="!#$%&'()*+,/:;=?@[]~")


class FileResponse(Answer):
    """An answer with a file, which the host reads and sends without Python's help.

    Conditional requests, ranges and HEAD are answered by it too. The client gets 404 when there is no such
    file, 403 when it may not be read; both are seen when it is sent, so a handler cannot catch them. One response may
    be returned for any number of requests.

    >>> response = FileResponse("/srv/reports/7.pdf", download=True, filename="Übersicht.pdf")
    >>> print(response.headers["Content-Disposition"])
    attachment; filename="_bersicht.pdf"; filename*=UTF-8''%C3%9Cbersicht.pdf

    Args:
        path: Where the file is. Any file that the server may read is sent: a name that came from a client has to be
            looked at before.
        status: The status code; conditions and ranges count with 200 alone.
        headers: A mapping, in which a list repeats a header, or pairs.
        content_type: The content type; the one that the file's name stands for if it is not given.
        download: Whether the client shall save the file rather than show it.
        filename: The name that it is saved under; the file's own if it is not given.

    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        status: int = 200,
        headers: HeaderItems | None = None,
        content_type: str | None = None,
        download: bool = False,
        filename: str | None = None,
    ) -> None:
        """Make an answer with the file at ``path``; it is opened when the answer is sent."""
        super().__init__(status=status, headers=headers, content_type=content_type)
        self.path = os.fsdecode(path)
        if download or filename is not None:
            name = os.path.basename(self.path) if filename is None else filename
            self.headers["Content-Disposition"] = _disposition("attachment" if download else "inline", name)

    async def __plugincore_send__(self, request: Request) -> None:
        """Have the file sent; called by the host."""
        request._send_file(self.path, self.status, self._all_headers())


def _disposition(kind: str, name: str) -> str:
    """Return a ``Content-Disposition`` by RFC 6266; clients that do not know ``filename*`` get a plain name."""
    plain = re.sub(r'[^ -~]|["\\\\/%]', "_", name)
    exact = quote(name, safe="!#$&+^`|", errors="replace")
    return f'{kind}; filename="{plain}"' + ("" if plain == name else f"; filename*=UTF-8''{exact}")
