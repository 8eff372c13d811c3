"""What every kind of answer has: a status, headers and cookies."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from datetime import UTC, datetime
from email.utils import format_datetime
from http.cookies import SimpleCookie
from typing import TypeAlias, TypeVar

Default = TypeVar("Default")

#: Headers as a handler may give them: a mapping, in which a list repeats the header, or pairs.
HeaderItems: TypeAlias = Mapping[str, str] | Mapping[str, list[str]] | Iterable[tuple[str, str]]

#: What would end a header or one part of a cookie, and begin another that nobody asked for.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)"?', re.IGNORECASE)


class _Pairs(ItemsView[str, str]):
    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self._mapping._pairs()  # type: ignore[attr-defined, no-any-return]


class _Values(ValuesView[str]):
    def __iter__(self) -> Iterator[str]:
        return (value for _, value in self._mapping._pairs())  # type: ignore[attr-defined]


class Headers(MutableMapping[str, str]):
    """The headers of an answer: look-ups ignore case, and a header may be repeated.

    >>> headers = Headers({"Cache-Control": "no-store"})
    >>> headers["cache-control"]
    'no-store'
    >>> headers.add("Vary", "Accept")
    >>> headers.add("Vary", "Cookie")
    >>> headers.getall("vary")
    ['Accept', 'Cookie']

    Values are looked at when the answer is sent: one with a line break makes it a 500.
    """

    def __init__(self, given: HeaderItems | None = None) -> None:
        """Take the headers from a mapping, in which a list repeats the header, or from pairs."""
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
        """Replace a header, all repetitions of it included."""
        self._held[self._key(name)] = [(name, value)]

    def __delitem__(self, name: str) -> None:
        """Remove a header with all its repetitions."""
        del self._held[self._key(name)]

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a header."""
        return isinstance(name, str) and name.lower() in self._held

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names; that of a repeated header comes repeatedly."""
        return (name for name, _ in self._pairs())

    def __len__(self) -> int:
        """Return the number of headers, repetitions included."""
        return sum(map(len, self._held.values()))

    def __repr__(self) -> str:
        """Show all pairs."""
        return f"Headers({list(self._pairs())})"

    def items(self) -> ItemsView[str, str]:
        """Return all pairs of name and value, repetitions included."""
        return _Pairs(self)

    def values(self) -> ValuesView[str]:
        """Return all values, those of repeated headers included."""
        return _Values(self)

    def clear(self) -> None:
        """Remove all headers."""
        self._held.clear()

    def add(self, name: str, value: str) -> None:
        """Add a header, beside those of that name which are there."""
        self._held.setdefault(self._key(name), []).append((name, value))

    def getall(self, name: str, default: Default | None = None) -> list[str] | Default:
        """Return all values of a header; without any the default, or an empty list."""
        pairs = self._held.get(self._key(name))
        if pairs is None:
            return [] if default is None else default
        return [value for _, value in pairs]


class Answer:
    """What all kinds of answers have in common; a plugin makes one of their own classes.

    Attributes:
        headers: The headers, without those that the host sets by itself.
        cookies: The cookies that :meth:`set_cookie` put there.

    """

    def __init__(
        self,
        *,
        status: int = 200,
        headers: HeaderItems | None = None,
        content_type: str | None = None,
        charset: str | None = None,
    ) -> None:
        """Begin an answer; a type given in both ways is an error, because one of them would be ignored."""
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
        """Set the status, as aiohttp's method does; the host says the usual reason, whatever is given."""
        self.status = status

    @property
    def content_type(self) -> str:
        """The content type without its parameters; ``application/octet-stream`` when there is none."""
        return self.headers.get("Content-Type", "application/octet-stream").partition(";")[0].strip()

    @content_type.setter
    def content_type(self, content_type: str) -> None:
        self._set_type(content_type, self.charset)

    @property
    def charset(self) -> str | None:
        """The charset that the content type names, if it does."""
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
        """Have the client keep a cookie; one of that name which was set before is replaced.

        >>> answer = Answer()
        >>> answer.set_cookie("session", "4711", max_age=3600, httponly=True, samesite="Lax")
        >>> answer.cookies["session"].OutputString()
        'session=4711; HttpOnly; Max-Age=3600; Path=/; SameSite=Lax'

        Args:
            name: The name.
            value: The value; what a cookie cannot hold as it is gets quoted as Python's ``http.cookies`` does it.
            max_age: Seconds until the client forgets it.
            expires: When the client forgets it: a ``datetime`` (local time if it has no zone) or the header's text.
            path: The paths that get it; ``None`` leaves that to the client.
            domain: The domain that gets it with all below; the answering host alone without.
            secure: Sent by TLS only.
            httponly: Not shown to scripts.
            samesite: ``Strict``, ``Lax`` or ``None`` (the text), which browsers accept only with ``secure``.
            partitioned: Kept for each embedding site by itself; browsers accept it only with ``secure``.

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
            # http.cookies knows the attribute only from Python 3.14 on.
            self._partitioned.add(name)

    def del_cookie(self, name: str, *, path: str | None = "/", domain: str | None = None) -> None:
        """Have the client forget a cookie; path and domain have to be those that it was set with."""
        self.set_cookie(name, "", max_age=0, expires="Thu, 01 Jan 1970 00:00:00 GMT", path=path, domain=domain)

    def _all_headers(self) -> list[tuple[str, str]]:
        pairs = list(self.headers.items())
        for name, morsel in self.cookies.items():
            partitioned = "; Partitioned" if name in self._partitioned else ""
            pairs.append(("Set-Cookie", morsel.OutputString() + partitioned))
        return pairs
