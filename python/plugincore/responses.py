"""Response objects, for handlers that control more than code and body, and an error that they can raise.

A handler returns one of the responses instead of ``(code, body)``; only :class:`HTTPError` can be raised. aiohttp is
not needed.
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

__all__ = ["Event", "EventSource", "FileResponse", "HTTPError", "Headers", "Redirect", "Response", "StreamingResponse"]

#: The default of a parameter for which ``None`` is a value.
_NOT_GIVEN: Any = object()


class Response(Answer):
    """A complete answer: status, headers and body.

    The attributes have the names of aiohttp's ``web.Response``, and a response may be returned for any number of
    requests. At most one of ``body``, ``text`` and ``json`` is given.

    >>> response = Response(json={"id": 7}, status=201, headers={"Location": "/things/7"})
    >>> response.text, response.content_type
    ('{"id": 7}', 'application/json')
    >>> response.headers["Cache-Control"] = "no-store"
    >>> Response(text="Grüße", content_type="text/html").headers["content-type"]
    'text/html; charset=utf-8'

    Args:
        body: Bytes; the default content type is ``application/octet-stream``.
        text: Text, sent in ``charset``; the default content type is ``text/plain``.
        json: A value, written as JSON in the same way as a bare ``dict``.
        status: The status code, 200 to 599.
        headers: A mapping, in which a list as a value repeats the header, or pairs.
        content_type: The content type; an error if ``headers`` contain one too.
        charset: The charset of a text; UTF-8 by default.

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
        """Create a complete answer; a value that JSON or a text that the charset cannot represent is an error."""
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
        """The body; any bytes-like object may be assigned."""
        return self._body

    @body.setter
    def body(self, body: bytes | bytearray | memoryview | None) -> None:
        if body is not None and not isinstance(body, (bytes, bytearray, memoryview)):
            raise TypeError(f"body is bytes, not {type(body).__name__}; a text goes to text=, other values to json=")
        self._body = b"" if body is None else bytes(body)

    @property
    def text(self) -> str:
        """The body as text; an assigned text is encoded in the charset of the content type."""
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
        return _phrase(self.status)

    def __repr__(self) -> str:
        """Show status, content type and size, but not the content."""
        return f"<{type(self).__name__} {self.status} {self.content_type}, {len(self._body)} bytes>"

    def __plugincore_reply__(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return status, headers and body; called by the server."""
        return self._status, self._all_headers(), self._body


class Redirect(Response):
    """A redirect to another URL.

    >>> Redirect("/search?q=Grüße").headers["Location"]
    '/search?q=Gr%C3%BC%C3%9Fe'

    Args:
        url: The target; characters that a URL cannot contain, including line breaks, are percent-encoded.
        status: 302 or 303 (the client requests ``url`` with GET), 307 (it repeats the request there), or 301 and 308,
            the permanent variants.
        headers: More headers.

    """

    def __init__(self, url: str, status: int = 302, *, headers: HeaderItems | None = None) -> None:
        """Create a redirect; the plugin must check a URL that came from a client."""
        if not isinstance(url, str):
            raise TypeError(f"url is a str, not {type(url).__name__}")
        if status not in (301, 302, 303, 307, 308):
            raise ValueError(f"the status {status} does not redirect; take 301, 302, 303, 307 or 308")
        super().__init__(status=status, headers=headers)
        self.headers["Location"] = quote(url, safe="!#$%&'()*+,/:;=?@[]~")


class FileResponse(Answer):
    """An answer with a file, which the server reads and sends without Python.

    Conditional requests, ranges and HEAD are supported. The client gets a 404 if the file does not exist, and a 403 if
    the server may not read it. This is checked when the file is sent, so a handler cannot catch it. One response may be
    returned for any number of requests.

    >>> response = FileResponse("/srv/reports/7.pdf", download=True, filename="Übersicht.pdf")
    >>> print(response.headers["Content-Disposition"])
    attachment; filename="_bersicht.pdf"; filename*=UTF-8''%C3%9Cbersicht.pdf

    Args:
        path: The path of the file. Any file that the server may read is sent: the plugin must check a name that came
            from a client.
        status: The status code; conditions and ranges apply to 200 only.
        headers: A mapping, in which a list as a value repeats the header, or pairs.
        content_type: The content type; by default it is derived from the file's name.
        download: Whether the client should save the file instead of showing it.
        filename: The name under which the client saves it; by default the file's own name.

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
        """Create an answer with the file at ``path``, which is opened when the answer is sent."""
        super().__init__(status=status, headers=headers, content_type=content_type)
        self.path = os.fsdecode(path)
        if download or filename is not None:
            name = os.path.basename(self.path) if filename is None else filename
            self.headers["Content-Disposition"] = _disposition("attachment" if download else "inline", name)

    async def __plugincore_send__(self, request: Request) -> None:
        """Send the file; called by the server."""
        request._send_file(self.path, self.status, self._all_headers())


class HTTPError(Exception):
    """An error that a handler raises, from whatever depth, for its client.

    The client gets the JSON object of all errors of the server, or a problem of RFC 9457 if it accepts that. The log
    has no traceback, because nothing is wrong with the plugin.

    >>> raise HTTPError(404, "no such lamp", code="no_lamp")
    Traceback (most recent call last):
        ...
    plugincore.responses.HTTPError: 404 no such lamp

    Args:
        status: The status code, 400 to 599.
        error: The text for people; by default the usual phrase for the status.
        code: A stable word for programs; by default that phrase as a word, such as ``not_found``.
        headers: A mapping, in which a list as a value repeats the header, or pairs; ``Content-Type`` is not among them.

    """

    def __init__(
        self, status: int, error: str | None = None, *, code: str | None = None, headers: HeaderItems | None = None
    ) -> None:
        """Create an error; a status, code or header that cannot be sent is a ``ValueError`` or ``TypeError``."""
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"status is an int, not {type(status).__name__}")
        if not 400 <= status <= 599:
            raise ValueError(f"the status of an error is from 400 to 599, not {status}")
        if error is not None and not isinstance(error, str):
            raise TypeError(f"error is a str, not {type(error).__name__}")
        if code is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", code):
            raise ValueError(f"code is a word of lower-case letters, digits, '_', '.' and '-', not {code!r}")
        self.status = int(status)
        self.error = _phrase(self.status) or "Error" if error is None else error
        self.code = code
        self.headers = Headers(headers)
        if "Content-Type" in self.headers:
            raise ValueError("the server writes the body of an error, so it sets Content-Type")
        super().__init__(status, self.error)

    def __str__(self) -> str:
        """Return status and text."""
        return f"{self.status} {self.error}"

    def __plugincore_error__(self) -> tuple[int, str, str | None, list[tuple[str, str]]]:
        """Return what the server writes the answer from; called by the server."""
        return self.status, self.error, self.code, list(self.headers.items())


def _phrase(status: int) -> str:
    """Return the usual phrase for a status, empty if there is none."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _disposition(kind: str, name: str) -> str:
    """Return a ``Content-Disposition`` by RFC 6266, with a plain name for clients without ``filename*``."""
    plain = re.sub(r'[^ -~]|["\\\\/%]', "_", name)
    exact = quote(name, safe="!#$&+^`|", errors="replace")
    return f'{kind}; filename="{plain}"' + ("" if plain == name else f"; filename*=UTF-8''{exact}")
