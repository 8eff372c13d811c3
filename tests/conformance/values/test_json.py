"""JSON: what a plugin returns against ``json.dumps``, and what it gets against ``json.loads``.

pluginserver calls these two of the standard library, so they stand for it here.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.difference import Observation
from conformance.ledger import LEDGER
from conformance.server import OURS, Server
from conformance.values import exotic
from conformance.values.json_cases import BODIES, RESULTS
from conformance.values.sides import Case
from conformance.world import WORLDS


class Mirror:
    """A connection to a server of ours with the plugin ``mirror``."""

    def __init__(self, server: Server) -> None:
        """Take a server that runs."""
        self.server = server
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send a body; return status and body of the answer."""
        self._connection.request("POST", f"/mirror/{path}", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """Serve the plugin."""
    folder = tmp_path_factory.mktemp("mirror")
    shutil.copytree(WORLDS / "mirror", folder, dirs_exist_ok=True)
    search = [str(WORLDS.parent.parent), *filter(None, [OURS.environment.get("PYTHONPATH")])]
    server = Server(replace(OURS, environment={**OURS.environment, "PYTHONPATH": os.pathsep.join(search)}), folder)
    assert server.start(), "\n".join(server.lines)
    connection = Mirror(server)
    yield connection
    connection.close()
    alive = server.alive
    server.end()
    assert alive, "\n".join(server.lines[-50:])


def dumped(value: Any) -> Observation:
    """Return what ``json.dumps`` makes of a value in a list."""
    try:
        return {"json": json.dumps([value])}
    except (TypeError, ValueError, RecursionError, LookupError):
        return {"json": "refused"}


def answered(status: int, body: bytes) -> Observation:
    """Return what our answer says."""
    if status == 200:
        return {"json": body.decode("ascii")}
    assert json.loads(body)["error"].startswith("the plugin's answer cannot be sent: ")
    return {"json": "refused" if status == 500 else f"status {status}"}


@pytest.mark.parametrize("source", RESULTS)
def test_fixed_results(mirror: Mirror, source: str) -> None:
    """A result is byte for byte what ``json.dumps`` writes, and refused when that refuses."""
    case = Case("result", source)
    ours = answered(*mirror.post("source", json.dumps({"value": source}).encode()))
    LEDGER.judge("fixed", case, dumped(exotic.evaluate(source)), ours)


TEXTS = st.text(st.characters(codec=None)) | st.text(st.sampled_from('\x00\x1f"\\/a\x7f\x80é\u2028\ud800\udc00𝄞'))
NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.floats(width=32),
    st.builds(lambda digits, power: float(f"{digits}e{power}"), st.integers(1, 10**17), st.integers(-340, 310)),
    st.sampled_from([*exotic.Colour]),
    st.integers().map(exotic.Whole),
    st.floats().map(exotic.Real),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, TEXTS.map(exotic.Text), st.sampled_from([*exotic.Word]))
KEYS = st.one_of(TEXTS, SCALARS)
REFUSED = st.sampled_from(
    [b"x", {1}, 1j, exotic.Plain.A, object, exotic.Missing(a=1), exotic.Odd(a=1), exotic.Jsonable()]
)


def containers(inner: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return lists, tuples and dicts of what ``inner`` gives, and their subclasses."""
    rows, tables = st.lists(inner, max_size=5), st.dictionaries(keys, inner, max_size=5)
    return st.one_of(
        rows,
        tables,
        rows.map(tuple),
        rows.map(exotic.Row),
        rows.map(exotic.Doubled),
        rows.map(exotic.Pair),
        st.builds(exotic.Point, inner, inner),
        tables.map(exotic.Table),
        tables.map(exotic.Renamed),
    )


VALUES = st.recursive(SCALARS, lambda inner: containers(inner, KEYS), max_leaves=25)
WRONG = st.recursive(
    SCALARS | REFUSED, lambda inner: containers(inner, KEYS | st.sampled_from([b"", (1,)])), max_leaves=8
)


@pytest.mark.timeout(1200)
@given(value=st.one_of(VALUES, VALUES, VALUES, WRONG))
def test_generated_results(mirror: Mirror, value: Any) -> None:
    """Any value is written as ``json.dumps`` writes it, or refused as there."""
    packed = base64.b64encode(pickle.dumps(value)).decode()
    ours = answered(*mirror.post("pickle", json.dumps({"value": packed}).encode()))
    LEDGER.judge("generated", Case("result", repr(value)), dumped(value), ours)


#: What belongs to the host and is not taken from a body.
HOST = ("self", "request", "request_headers", "log", "subpath", "client_ip")


def loaded(body: bytes) -> Observation:
    """Return what becomes of a body that ``json.loads`` reads: the items of an object, and nothing else."""
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        value = None
    seen = [(key, item) for key, item in value.items() if key not in HOST] if isinstance(value, dict) else []
    return {"seen": repr(seen).encode("ascii", "backslashreplace").decode()}


def handed_over(status: int, body: bytes) -> Observation:
    """Return what our handler got."""
    return {"seen": body.decode() if status == 200 else f"status {status}"}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
def test_fixed_bodies(mirror: Mirror, body: str | bytes) -> None:
    """A body becomes variables when ``json.loads`` makes a dict of it, the same ones, and none otherwise."""
    sent = body if isinstance(body, bytes) else body.encode()
    LEDGER.judge("fixed", Case("body", repr(sent)[:200]), loaded(sent), handed_over(*mirror.post("seen", sent)))


TOKENS = st.one_of(
    st.sampled_from(
        ["{", "}", "[", "]", ",", ":", '"', '"a"', '"b"', '"a": ', " ", "\n", "\\", "\\u", "d834", "\\udd1e"]
    ),
    st.sampled_from(
        ["true", "false", "null", "NaN", "Infinity", "-Infinity", "-", "0", "1", "1.5", "e5", ".", "/", "\x00"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    NUMBERS.map(lambda number: json.dumps(number)),
)


@pytest.mark.timeout(1200)
@given(body=st.lists(TOKENS, max_size=12).map(lambda tokens: '{"a": ' + "".join(tokens) + "}"))
def test_generated_bodies(mirror: Mirror, body: str) -> None:
    """A body put together at random is read, or ignored, as ``json.loads`` does."""
    sent = body.encode()
    LEDGER.judge("generated", Case("body", body), loaded(sent), handed_over(*mirror.post("seen", sent)))


@pytest.mark.timeout(1200)
@given(
    value=st.dictionaries(TEXTS, VALUES, max_size=6), escaped=st.booleans(), indent=st.sampled_from([None, 0, 1, "\t"])
)
def test_valid_bodies(mirror: Mirror, value: dict[str, Any], escaped: bool, indent: int | str | None) -> None:
    """What ``json.dumps`` writes arrives as ``json.loads`` reads it."""
    sent = json.dumps(value, ensure_ascii=escaped, indent=indent).encode(errors="surrogatepass")
    LEDGER.judge("generated", Case("body", repr(sent)), loaded(sent), handed_over(*mirror.post("seen", sent)))


@pytest.mark.timeout(1200)
@given(body=st.binary(max_size=30).map(lambda middle: b'{"a": "' + middle + b'"}') | st.binary(max_size=30))
def test_any_bytes(mirror: Mirror, body: bytes) -> None:
    """Bytes that are no text are ignored."""
    LEDGER.judge("generated", Case("body", repr(body)), loaded(body), handed_over(*mirror.post("seen", body)))
