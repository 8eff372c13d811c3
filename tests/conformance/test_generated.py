"""Generated cases: requests and results that nobody has thought of."""

from __future__ import annotations

import json
import string
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.case import Case, get, post, post_json, run
from conformance.conftest import Lines
from conformance.ledger import LEDGER
from conformance.observe import open_echoes

pytestmark = pytest.mark.timeout(3600)


def judge(lines: Lines, request: bytes, world: str = "open") -> tuple[dict[str, Any], dict[str, Any]]:
    """Send a request to both servers and enter what is seen."""
    case = Case("generated", (request,), world)
    original, ours = (line.exchange(request) for line in lines(world))
    open_echoes(original, ours)
    LEDGER.judge("generated", case, original, ours)
    return original, ours


ESCAPES = st.integers(0, 255).map(lambda byte: f"%{byte:02x}") | st.integers(0, 255).map(lambda byte: f"%{byte:02X}")
ENCODED = st.characters(exclude_categories=["Cs"]).map(lambda letter: quote(letter, safe=""))
PLAIN = st.sampled_from(string.ascii_letters + string.digits + "-._~!$&'()*,;=:@+")
PIECES = st.one_of(PLAIN, PLAIN, ESCAPES, ENCODED, st.sampled_from(["/", "%", "%4", "%zz", "%2F", "..", ".", "%252e"]))
PATHS = st.lists(PIECES, max_size=12).map("".join)


@given(path=PATHS, start=st.sampled_from(["/echo/", "/echo/", "/echo", "/", "/deep/er/"]))
def test_paths(lines: Lines, path: str, start: str) -> None:
    """Any path, escaped in any way, reaches the same plugin with the same subpath."""
    judge(lines, get(start + path))


QUERY_PIECES = st.one_of(
    PLAIN, ESCAPES, ENCODED, st.sampled_from(["&", "&", "=", "=", "a", "b", "+", "?", "/", "%", "%4", "[", "]", ";"])
)
QUERIES = st.lists(QUERY_PIECES, max_size=15).map("".join)


@given(query=QUERIES)
def test_queries(lines: Lines, query: str) -> None:
    """Any query becomes the same variables."""
    judge(lines, get(f"/echo?{query}"))


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.integers(min_value=2**60, max_value=2**90)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=6), JSON, max_size=4)
TYPES = st.sampled_from(
    [
        None,
        "application/json",
        "Application/JSON; charset=utf-8",
        "text/plain",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json; charset=nonsense",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/octet-stream",
        "nonsense",
        "",
    ]
)
FORMS = st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=4).map(
    lambda pairs: "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs).encode()
)
MULTIPART = st.lists(st.tuples(st.text(string.ascii_letters, max_size=4), st.text(max_size=6)), max_size=3).map(
    lambda parts: (
        b"".join(
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in parts
        )
        + b"--x--\r\n"
    )
)


def damaged(body: bytes, at: int, byte: int) -> bytes:
    """Return a body with another byte somewhere."""
    return body[: at % (len(body) + 1)] + bytes([byte]) + body[at % (len(body) + 1) + 1 :]


DUMPED = st.builds(
    lambda value, ascii_only, charset: json.dumps(value, ensure_ascii=ascii_only).encode(charset, "replace"),
    OBJECTS | JSON,
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8", "utf-8", "latin-1", "utf-16"]),
)
DAMAGED = st.builds(damaged, DUMPED, st.integers(0, 200), st.integers(0, 255))
BODIES = st.one_of(DUMPED, DUMPED, DAMAGED, FORMS, MULTIPART, st.binary(max_size=30))


@given(body=BODIES, kind=TYPES, method=st.sampled_from(["POST", "POST", "POST", "GET"]), chunks=st.booleans())
def test_bodies(lines: Lines, body: bytes, kind: str | None, method: str, chunks: bool) -> None:
    """Any body, of any declared type, whole or in chunks, becomes the same variables."""
    types = [] if kind is None else [f"Content-Type: {kind}"]
    if chunks:
        framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:5], body[5:]) if piece)
        request = get("/echo?q=1", "Transfer-Encoding: chunked", *types, method=method) + framed + b"0\r\n\r\n"
    else:
        request = post("/echo?q=1", body, *types, method=method)
    judge(lines, request)


TOKENS = st.text(string.ascii_letters + string.digits + "-_!", min_size=1, max_size=12)
NAMES = TOKENS.map(lambda name: f"X-{name}") | st.sampled_from(
    [
        "Accept",
        "accept-language",
        "USER-AGENT",
        "Referer",
        "If-None-Match",
        "X-Custom-Auth",
        "Range",
    ]
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
LONG = st.integers(1, 7000).map(lambda length: "v" * length)


@given(headers=st.lists(st.tuples(NAMES, VALUES | TOKENS | LONG), max_size=5))
def test_headers(lines: Lines, headers: list[tuple[str, str]]) -> None:
    """Any headers, repeated, in any case, with bytes beyond ASCII, reach the plugin alike."""
    judge(lines, get("/echo", *(f"{name}: {value}" for name, value in headers)))


COOKIE_VALUES = st.text(string.ascii_letters + string.digits + "!#$%&'()*+-./:<=>?@[]^_`{|}~", max_size=8)


@given(cookies=st.lists(st.tuples(TOKENS, COOKIE_VALUES | COOKIE_VALUES.map(lambda value: f'"{value}"')), max_size=5))
def test_cookies(lines: Lines, cookies: list[tuple[str, str]]) -> None:
    """Any cookies, quoted or not, reach the plugin alike."""
    judge(lines, get("/echo", "Cookie: " + "; ".join(f"{name}={value}" for name, value in cookies)))


KEYS = st.sampled_from(["the global key", "own key&", "wrong", "", " the global key ", "The Global Key"])
SCHEMES = st.sampled_from(["Bearer", "Bearer", "bearer", "Basic", "Token"])


@given(
    plugin=st.sampled_from(["globalkey", "ownkey", "openly", "capitals", "plugins", "typedkey"]),
    bearer=st.none() | st.tuples(SCHEMES, KEYS),
    custom=st.none() | st.tuples(st.sampled_from(["X-Custom-Auth", "x-custom-auth"]), KEYS),
    query=st.none() | KEYS,
    body=st.none() | KEYS | st.none() | st.integers(),
    kind=st.sampled_from(["json", "form"]),
    swapped=st.booleans(),
)
def test_credentials(
    lines: Lines,
    plugin: str,
    bearer: tuple[str, str] | None,
    custom: tuple[str, str] | None,
    query: str | None,
    body: str | int | None,
    kind: str,
    swapped: bool,
) -> None:
    """Keys shown in any combination and order let in or not alike."""
    headers = [] if bearer is None else [f"Authorization: {bearer[0]} {bearer[1]}"]
    headers += [] if custom is None else [f"{custom[0]}: {custom[1]}"]
    if swapped:
        headers.reverse()
    target = f"/{plugin}" if query is None else f"/{plugin}?apikey={quote(query)}"
    if body is None:
        request = get(target, *headers)
    elif kind == "json":
        request = post_json(target, {"apikey": body}, *headers)
    else:
        form = f"apikey={quote(str(body))}"
        request = post(target, form, "Content-Type: application/x-www-form-urlencoded", *headers)
    judge(lines, request, "keys")


CODES = st.sampled_from([200, 200, 200, 201, 299, 400, 404, 418, 500, 503, 599])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12)
)
VALUES_OF_PLUGINS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(), st.none(), st.booleans()), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(code=CODES, value=VALUES_OF_PLUGINS)
def test_results(lines: Lines, code: int, value: object) -> None:
    """Any value of a handler becomes the text that `json.dumps` makes of it, with the handler's code."""
    _, ours = judge(lines, run(f"return {code}, {value!r}"))
    expected = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()
    assert (code, expected) == (ours["status"], ours["body"])


ODD_RESULTS = st.sampled_from(
    ["b'x'", "{1}", "object", "Decimal('1')", "{'a': b'x'}", "{'a': {1}}", "{(1,): 2}", "Point(1, 2)", "UserDict()"]
)
ERRORS = st.sampled_from(["ValueError", "KeyError", "OSError", "RuntimeError", "AssertionError", "UnicodeError"])


@given(
    source=st.one_of(
        ODD_RESULTS.map(lambda text: f"return 200, {text}"),
        st.tuples(ERRORS, st.text(st.characters(exclude_categories=["Cs"]), max_size=10)).map(
            lambda error: f"raise {error[0]}({error[1]!r})"
        ),
        st.tuples(st.integers(200, 599), st.text(max_size=10)).map(
            lambda made: f"return 200, web.Response(text={made[1]!r}, status={made[0]})"
        ),
        st.tuples(TOKENS, TOKENS).map(
            lambda cookie: f"r = web.json_response([])\nr.set_cookie({cookie[0]!r}, {cookie[1]!r})\nreturn 200, r"
        ),
    )
)
def test_odd_results(lines: Lines, source: str) -> None:
    """Values that are no JSON, failures, and aiohttp's responses of any status end alike, or as listed."""
    judge(lines, run(source))


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
ADDRESSES = st.sampled_from(["/alive", "/globalkey", "/plugins", "/nobody", "/alive/x", "/reload/nobody", "/"])
ORIGINS = st.sampled_from(["https://home.example", "http://192.168.1.10:8080", "https://evil.example", "null"])
ASKED = st.lists(
    st.sampled_from(["content-type", "Authorization", "accept", "X-Requested-With", "x-odd", "x-custom-auth"]),
    max_size=3,
    unique=True,
)


@given(
    method=METHODS,
    address=ADDRESSES,
    origin=st.none() | ORIGINS,
    wanted=st.none() | METHODS,
    asked=ASKED,
)
def test_origins(
    lines: Lines, method: str, address: str, origin: str | None, wanted: str | None, asked: list[str]
) -> None:
    """Scripts of any origin are told alike what they may do."""
    headers = [] if origin is None else [f"Origin: {origin}"]
    headers += [] if wanted is None else [f"Access-Control-Request-Method: {wanted}"]
    headers += [f"Access-Control-Request-Headers: {','.join(asked)}"] if asked else []
    judge(lines, get(address, *headers, method=method), "cors")
