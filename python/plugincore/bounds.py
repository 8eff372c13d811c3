"""Bounds of parameters, for type hints of handlers.

They stand beside a type in ``typing.Annotated``, where ``Meta`` of msgspec and the bounds of annotated-types may stand
as well.
"""

from __future__ import annotations

from typing import NamedTuple


class Bounds(NamedTuple):
    """What a value has to be besides its type.

    >>> from typing import Annotated
    >>> Days = Annotated[int, Bounds(ge=1, le=14)]

    Attributes:
        gt: A number that the value is greater than.
        ge: The least number.
        lt: A number that the value is less than.
        le: The greatest number.
        multiple_of: A number that the value is a multiple of.
        pattern: A regular expression that a text has a match of.
        min_length: The least number of characters of a text, or of items.
        max_length: The greatest number of them.
        description: What the parameter is, in the words of ``/-/docs``.

    """

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    multiple_of: float | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    description: str | None = None
