"""Values that plugins may return and that are not quite JSON's own; for the tests and for their plugin ``mirror``."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import types
import uuid
from typing import Any


class Colour(enum.IntEnum):
    """Numbers with names."""

    RED = 1
    BIG = 2**70


class Word(str, enum.Enum):
    """Texts with names."""

    YES = "yes"
    ODD = "ö\n"


class Plain(enum.Enum):
    """Names that are neither numbers nor texts."""

    A = 1


Point = collections.namedtuple("Point", "x y")


class Text(str):
    """A text with another face."""

    def __str__(self) -> str:
        """Show something else."""
        return "other"

    def __repr__(self) -> str:
        """Show something else."""
        return "other"


class Whole(int):
    """A number with another face."""

    def __repr__(self) -> str:
        """Show something else."""
        return "other"

    __str__ = __repr__


class Real(float):
    """A number with another face."""

    def __repr__(self) -> str:
        """Show something else."""
        return "other"

    __str__ = __repr__


class Row(list[Any]):
    """A list."""


class Doubled(list[Any]):
    """A list that iterates over something else."""

    def __iter__(self) -> Any:
        """Give each item twice."""
        return iter([item for item in list.__getitem__(self, slice(None)) for _ in (0, 1)])

    def __reduce__(self) -> Any:
        """Pickle what is inside."""
        return Doubled, (list.__getitem__(self, slice(None)),)


class Pair(tuple[Any, ...]):
    """A tuple."""


class Table(dict[Any, Any]):
    """A dict."""


class _Pickled(dict[Any, Any]):
    """A dict that is pickled with what is inside, whatever its ``items`` say."""

    def __reduce__(self) -> Any:
        """Tell what is inside."""
        return type(self), (dict(dict.items(self)),)


class Renamed(_Pickled):
    """A dict whose ``items`` say something else."""

    def items(self) -> Any:
        """Give other names."""
        return [(f"new {key}", value) for key, value in dict.items(self)]


class Missing(_Pickled):
    """A dict whose ``items`` raise."""

    def items(self) -> Any:
        """Raise."""
        raise LookupError("no items")


class Odd(_Pickled):
    """A dict whose ``items`` are no pairs."""

    def items(self) -> Any:
        """Give what are no pairs."""
        return [1, 2]


class Jsonable:
    """Something with a method that other encoders ask for, and ``json.dumps`` does not."""

    def __json__(self) -> str:
        """Give what is not asked for."""
        return "{}"


def nested(depth: int, kind: str = "list") -> Any:
    """Return lists or dicts within each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"k": value}
    return value


def itself(kind: str) -> Any:
    """Return a list or dict that contains itself."""
    items: list[Any] = []
    table: dict[str, Any] = {}
    items.append(items)
    table["k"] = table
    return items if kind == "list" else table


def evaluate(source: str) -> Any:
    """Return the value of an expression over the names of this module."""
    modules = {module.__name__: module for module in (collections, datetime, decimal, enum, fractions, types, uuid)}
    return eval(source, {**globals(), **modules})
