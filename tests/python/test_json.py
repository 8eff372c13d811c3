"""JSON as a plugin's results and variables is that of the standard library, on whichever Python runs.

The conformance suite compares many more cases, on one version; this is what each version is tried with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugincore._core import encode_json
from plugincore.baseplugin import BasePlugin
from plugincore.testing import SyncPluginClient


class Word(str):
    """A subclass, whose characters lie elsewhere than a `str`'s own."""

    __slots__ = ()


class Number(int):
    """A subclass of the other type that is read in place."""


#: Where the ways to store an int change: digits of 30 bits, and the machine's 64.
EDGES = [
    sign * (2**bits + more)
    for bits in (0, 29, 30, 31, 59, 60, 61, 63, 64, 90)
    for more in (-1, 0, 1)
    for sign in (1, -1)
]
#: Texts around the lengths that are read in one step, of each width of characters.
WIDTHS = [
    letter * length + tail
    for letter in "a\xe9\u20ac\U0001f600"
    for length in (0, 1, 7, 8, 9, 15, 16, 17, 40)
    for tail in ("", '"', "\x7f", "\ud800")
]

texts = st.text() | st.text(st.characters(codec="ascii")) | st.text(st.characters(), min_size=14, max_size=40)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(EDGES)
    | st.floats()
    | texts
    | texts.map(Word)
    | st.integers().map(Number)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(texts | texts.map(Word), inner),
    max_leaves=30,
)


@settings(deadline=None)
@given(values)
def test_a_result_is_written_as_json_dumps_writes_it(value: Any) -> None:
    """Byte for byte, for every type that JSON has, and for subclasses."""
    assert json.dumps(value).encode() == encode_json(value)


@pytest.mark.parametrize("kind", [int, Number])
def test_ints_of_every_size_are_written_exactly(kind: type[int]) -> None:
    """As values and as keys, on both sides of each border in the way that they are stored."""
    edges = [kind(edge) for edge in EDGES]
    assert json.dumps(edges).encode() == encode_json(edges)
    keys = dict.fromkeys(edges)
    assert json.dumps(keys).encode() == encode_json(keys)


@pytest.mark.parametrize("kind", [str, Word])
def test_texts_of_every_width_and_length_are_written_exactly(kind: type[str]) -> None:
    """As values and as keys, with and without characters that need an escape."""
    widths = [kind(text) for text in WIDTHS]
    assert json.dumps(widths).encode() == encode_json(widths)
    keys = dict.fromkeys(widths, 1)
    assert json.dumps(keys).encode() == encode_json(keys)


class Echo(BasePlugin):
    """Keeps what it was sent."""

    seen: Any = None

    def request_handler(self, **data: Any) -> tuple[int, None]:
        """Keep the variable `value`."""
        self.seen = data["value"]
        return 200, None


def same(one: Any, other: Any) -> bool:
    """Compare types and values, with NaN equal to itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@pytest.fixture(scope="module")
def client() -> Iterator[SyncPluginClient]:
    """Run the plugin once for all bodies."""
    with SyncPluginClient(Echo) as client:
        yield client


@settings(deadline=None)
@given(values, st.booleans())
def test_a_body_is_read_as_json_loads_reads_it(client: SyncPluginClient, value: Any, escaped: bool) -> None:
    """With and without escapes; types, order and big ints included. Lone surrogates have no UTF-8: escaped alone."""
    try:
        body = json.dumps({"value": value}, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        body = json.dumps({"value": value}).encode()
    assert 200 == client.post(data=body).status
    assert same(json.loads(body)["value"], client.plugin.seen)
