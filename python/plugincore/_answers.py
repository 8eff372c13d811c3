"""The common part of all answers: status, headers and cookies."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from datetime import UTC, datetime
from email.utils import format_datetime
from http.cookies import SimpleCookie
from typing import TypeAlias, TypeVar

Default = TypeVar("Default")

#: Headers of an answer: a mapping, in which a list as a value repeats the header, or pairs.
HeaderItems: TypeAlias = Mapping[str, str] | Mapping[str, list[str]] | Iterable[tuple[str, str]]

#: Characters that would end a header or a part of a cookie and inject another one.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)"?', re.IGNORECASE)


class _Pairs(ItemsView[str, str]):
    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self._mapping._pairs()  # type: ignore[attr-defined, no-any-return]


class _Values(ValuesView[str]):
    def __iter__(self) -> Iterator[str]:
        return (value for _, value in self._mapping._pairs())  # type: ignore[attr-defined]


class Headers(MutableMapping[str, str]):
    """The headers of an answer: lookups ignore case, and a header may be repeated.

    >>> headers = Headers({"Cache-Control": "no-store"})
    >>> headers["cache-control"]
    'no-store'
    >>> headers.add("Vary", "Accept")
    >>> headers.add("Vary", "Cookie")
    >>> headers.getall("vary")
    ['Accept', 'Cookie']

    Values are checked when the answer is sent: a line break in a value results in a 500.
    """

    def __init__(self, given: HeaderItems | None = None) -> None:
        """Create headers from a mapping, in which a list as a value repeats the header, or from pairs."""
        self._held: dict[str, list[tuple[str, str]]] = {}
        if given is None:
            return
        pairs: Iterable[tuple[str, str | list[str]]] = given.items() if isinstance(given, Mapping) else given
        for name, value in pairs:
            for one in value if isinstance(value, (list, tuple)) else (value,):
                self.add(name, one)

    @staticmethod
    def _key(name: str) -> str:
        if not isinstance(name, str):
            raise TypeError(f"a header's name is text, not {type(name).__name__}")
        return name.lower()

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for pairs in self._held.values():
            yield from pairs

    def __getitem__(self, name: str) -> str:
        """Return the first value of a header."""
        return self._held[self._key(name)][0][1]

    def __setitem__(self, name: str, value: str) -> None:
        """Replace a header and all its repetitions."""
        self._held[self._key(name)] = [(name, value)]

    def __delitem__(self, name: str) -> None:
        """Remove a header with all its repetitions."""
        del self._held[self._key(name)]

    def __contains__(self, name: object) -> bool:
        """Return whether the header exists."""
        return isinstance(name, str) and name.lower() in self._held

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names; the name of a repeated header occurs repeatedly."""
        return (name for name, _ in self._pairs())

    def __len__(self) -> int:
        """Return the number of headers, including repetitions."""
        return sum(map(len, self._held.values()))

    def __repr__(self) -> str:
        """Show all pairs."""
        return f"Headers({list(self._pairs())})"

    def items(self) -> ItemsView[str, str]:
        """Return all pairs of name and value, including repetitions."""
        return _Pairs(self)

    def values(self) -> ValuesView[str]:
        """Return all values, including those of repeated headers."""
        return _Values(self)

    def clear(self) -> None:
        """Remove all headers."""
        self._held.clear()

    def add(self, name: str, value: str) -> None:
        """Add a header, and keep existing headers of the same name."""
        self._held.setdefault(self._key(name), []).append((name, value))

    def getall(self, name: str, default: Default | None = None) -> list[str] | Default:
        """Return all values of a header; if there are none, the default or an empty list."""
        pairs = self._held.get(self._key(name))
        if pairs is None:
            return [] if default is None else default
        return [value for _, value in pairs]


class Answer:
    """The base class of all answers; plugins use its subclasses.

    Attributes:
        headers: The headers, without those that the server sets.
        cookies: The cookies set by :meth:`set_cookie`.

    """

    def __init__(
        self,
        *,
        status: int = 200,
        headers: HeaderItems | None = None,
        content_type: str | None = None,
        charset: str | None = None,
    ) -> None:
        """Create an answer; a content type in both places is an error, because one of them would be ignored."""
        self.status = status
        self.headers = Headers(headers)
        self.cookies: SimpleCookie = SimpleCookie()
        self._partitioned: set[str] = set()
        if content_type is not None or charset is not None:
            if "Content-Type" in self.headers:
                raise ValueError("the content type is given twice: in headers, and as content_type or charset")
            self._set_type(content_type or "application/octet-stream", charset)

    @property
    def status(self) -> int:
        """The status code, 200 to 599."""
        return self._status

    @status.setter
    def status(self, status: int) -> None:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"a status is a whole number, not {type(status).__name__}")
        if not 200 <= status <= 599:
            raise ValueError(f"the status {status} is not from 200 to 599")
        self._status = int(status)

    def set_status(self, status: int, reason: str | None = None) -> None:
        """Set the status, as aiohttp's method does; `reason` is ignored, the usual phrase is sent."""
        self.status = status

    @property
    def content_type(self) -> str:
        """The content type without its parameters; ``application/octet-stream`` if there is none."""
        return self.headers.get("Content-Type", "application/octet-stream").partition(";")[0].strip()

    @content_type.setter
    def content_type(self, content_type: str) -> None:
        self._set_type(content_type, self.charset)

    @property
    def charset(self) -> str | None:
        """The charset in the content type, or ``None``."""
        found = _CHARSET.search(self.headers.get("Content-Type", ""))
        return found[1] if found else None

    @charset.setter
    def charset(self, charset: str | None) -> None:
        self._set_type(_CHARSET.sub("", self.headers.get("Content-Type", "application/octet-stream")), charset)

    def _set_type(self, content_type: str, charset: str | None) -> None:
        named = charset is None or _CHARSET.search(content_type)
        self.headers["Content-Type"] = content_type if named else f"{content_type}; charset={charset}"

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: int | None = None,
        expires: datetime | str | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: str | None = None,
        partitioned: bool = False,
    ) -> None:
        """Set a cookie; it replaces a cookie of the same name in this answer.

        >>> answer = Answer()
        >>> answer.set_cookie("session", "4711", max_age=3600, httponly=True, samesite="Lax")
        >>> answer.cookies["session"].OutputString()
        'session=4711; HttpOnly; Max-Age=3600; Path=/; SameSite=Lax'

        Args:
            name: The name.
            value: The value; characters that a cookie cannot contain are quoted as by Python's ``http.cookies``.
            max_age: Seconds until the cookie expires.
            expires: When the cookie expires: a ``datetime`` (local time if it has no time zone) or the header's text.
            path: The paths for which it is sent; with ``None`` the client decides.
            domain: The domain, with its subdomains, for which it is sent; by default only the answering host.
            secure: Sent over TLS only.
            httponly: Hidden from scripts.
            samesite: ``Strict``, ``Lax`` or ``None`` (the text), which browsers accept only with ``secure``.
            partitioned: Stored separately for each embedding site; browsers accept it only with ``secure``.

        """
        if samesite is not None and samesite.lower() not in ("strict", "lax", "none"):
            raise ValueError(f"samesite is {samesite!r}; it must be 'Strict', 'Lax' or 'None'")
        if isinstance(expires, datetime):
            expires = format_datetime(expires.astimezone(UTC), usegmt=True)
        given = {"max-age": max_age, "expires": expires, "path": path, "domain": domain, "samesite": samesite}
        for attribute, part in given.items():
            if part is not None and (";" in str(part) or _CONTROL.search(str(part))):
                raise ValueError(f"the {attribute} of cookie {name!r} holds a semicolon or a control character")
        if _CONTROL.search(str(value)):
            raise ValueError(f"the value of cookie {name!r} holds a control character")
        self.cookies[name] = str(value)
        morsel = self.cookies[name]
        for attribute, part in given.items():
            morsel[attribute] = "" if part is None else str(part)
        morsel["secure"], morsel["httponly"] = secure, httponly
        self._partitioned.discard(name)
        if partitioned:
            # http.cookies supports the attribute from Python 3.14 on.
            self._partitioned.add(name)

    def del_cookie(self, name: str, *, path: str | None = "/", domain: str | None = None) -> None:
        """Delete a cookie in the client; path and domain must be those with which it was set."""
        self.set_cookie(name, "", max_age=0, expires="Thu, 01 Jan 1970 00:00:00 GMT", path=path, domain=domain)

    def _all_headers(self) -> list[tuple[str, str]]:
        pairs = list(self.headers.items())
        for name, morsel in self.cookies.items():
            partitioned = "; Partitioned" if name in self._partitioned else ""
            pairs.append(("Set-Cookie", morsel.OutputString() + partitioned))
        return pairs
