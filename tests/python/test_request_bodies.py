"""Bodies that are compressed, in any charset, or forms of which a part is no text: as much is read as can be."""

from __future__ import annotations

import encodings.aliases
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.errors import without_ids
from support.server import Launch, Server, serving

BODY = """
from plugincore.baseplugin import BasePlugin

def shown(value):
    if isinstance(value, (str, list)):
        return value
    if isinstance(value, bytes):
        return ["bytes", value.decode("latin-1")]
    return ["file", value.name, value.filename, value.content_type, value.file.read().decode("latin-1")]

class Body(BasePlugin):
    async def request_handler(self, **data):
        request = data["request"]
        host = ("log", "request_headers", "request", "subpath", "client_ip")
        try:
            text = await request.text()
        except (UnicodeDecodeError, LookupError) as error:
            text = type(error).__name__
        return 200, {
            "data": {name: value for name, value in data.items() if name not in host},
            "post": [[name, shown(value)] for name, value in (await request.post()).items()],
            "read": (await request.read()).decode("latin-1"),
            "text": text,
            "coding": request.headers.get("Content-Encoding"),
            "length": request.content_length,
        }
"""

LIMIT = 100_000
JSON = b'{"a": "\\u00e9", "b": [1, 2]}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve one plugin twice, once with a key."""
    folder = tmp_path_factory.mktemp("bodies")
    sources = {"body": BODY, "guarded": BODY.replace("class Body", "class Guarded")}
    more = (
        f"[server]\nbody_limit = {LIMIT}\n[auth]\napikey = master\n[plugin_parms]\nguarded=auth_type=plugin&apikey=k\n"
    )
    with serving(folder, sources, ini_more=more) as server:
        yield server


def bare_deflate(data: bytes) -> bytes:
    """Compress without zlib's header, as some clients do."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def post(server: Server, body: bytes, *, path: str = "/body", **headers: str) -> httpx.Response:
    """Post a body; underscores in the names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.post(path, content=body, headers=named)


CODINGS = [
    ("gzip", gzip.compress),
    ("GZip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
]


@pytest.mark.parametrize(("coding", "pack"), CODINGS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_compressed_body_is_read_as_what_it_stands_for(
    server: Server, coding: str, pack: Callable[[bytes], bytes], chunked: bool
) -> None:
    """Variables, `read()` and `text()` have the text; the headers are those that were sent, as with aiohttp."""
    packed = pack(JSON)
    content = (packed[at : at + 1] for at in range(len(packed))) if chunked else packed
    answer = server.post("/body", content=content, headers={"Content-Encoding": coding}).json()
    assert {"a": "é", "b": [1, 2]} == answer["data"]
    assert JSON.decode() == answer["read"] == answer["text"]
    assert (coding, None if chunked else len(packed)) == (answer["coding"], answer["length"])


def test_a_compressed_body_of_a_get_is_read_too(server: Server) -> None:
    """It gives no variables, but `read()` has what it stands for."""
    answer = server.request("GET", "/body", content=gzip.compress(JSON), headers={"Content-Encoding": "gzip"}).json()
    assert ({}, JSON.decode()) == (answer["data"], answer["read"])


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bare_deflate])
def test_the_body_limit_is_for_the_decoded_bytes(server: Server, pack: Callable[[bytes], bytes]) -> None:
    """A body of exactly the limit is served, one of a byte more is not, and a bomb costs next to nothing."""
    coding = "gzip" if pack is gzip.compress else "deflate"
    assert LIMIT == len(post(server, pack(b" " * LIMIT), Content_Encoding=coding).json()["read"])
    for size in (LIMIT + 1, 50_000_000):
        answer = post(server, pack(b" " * size), Content_Encoding=coding)
        expected = (413, {"error": f"the request body is larger than {LIMIT} bytes"})
        assert expected == (answer.status_code, without_ids(answer.json()))


def test_a_bomb_is_never_held(launch: Launch) -> None:
    """A hundred megabytes of nothing, a hundred kilobytes when packed, does not show in the server's memory."""
    server = launch({"body": BODY})
    assert 200 == post(server, gzip.compress(b"x"), Content_Encoding="gzip").status_code
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    peak = Path(f"/proc/{server.process.pid}/status")
    before = peak_memory(peak)
    assert 413 == post(server, bomb, Content_Encoding="gzip").status_code
    assert peak_memory(peak) - before < 20_000


def peak_memory(status: Path) -> int:
    """Return the most memory that a process has had, in kB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("gzip", gzip.compress(JSON)[:-1], id="gzip cut short"),
        pytest.param("gzip", gzip.compress(JSON)[:9], id="gzip cut within its head"),
        pytest.param("gzip", gzip.compress(JSON)[:-8] + b"12345678", id="gzip with a wrong sum"),
        pytest.param("gzip", gzip.compress(JSON) + b"more", id="gzip and more"),
        pytest.param("gzip", JSON, id="no gzip"),
        pytest.param("deflate", zlib.compress(JSON)[:-1], id="zlib cut short"),
        pytest.param("deflate", bare_deflate(JSON)[:-1], id="deflate cut short"),
        pytest.param("deflate", JSON, id="no deflate"),
    ],
)
def test_broken_compression_is_a_400(server: Server, coding: str, body: bytes) -> None:
    """Whatever is wrong with it, nothing of it reaches the plugin."""
    answer = post(server, body, Content_Encoding=coding)
    text = "request body is not valid in its Content-Encoding, or cut short"
    assert (400, {"error": text}) == (answer.status_code, without_ids(answer.json()))


def test_a_key_in_a_compressed_body_counts(server: Server) -> None:
    """A plugin's key, and the server's own."""
    packed = gzip.compress(b'{"apikey": "k", "a": 1}')
    answer = post(server, packed, path="/guarded", Content_Encoding="gzip")
    assert (200, {"apikey": "k", "a": 1}) == (answer.status_code, answer.json()["data"])
    packed = zlib.compress(b"apikey=no")
    kind = "application/x-www-form-urlencoded"
    assert 403 == post(server, packed, path="/guarded", Content_Encoding="deflate", Content_Type=kind).status_code
    packed = gzip.compress(b"apikey=master")
    assert 200 == post(server, packed, path="/plugins", Content_Encoding="gzip", Content_Type=kind).status_code


def multipart(*parts: tuple[str, bytes]) -> bytes:
    """Make a multipart body of (headers, content)."""
    joined = b"".join(b"--b\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return joined + b"--b--\r\n"


def field(name: str, more: str = "") -> str:
    """Make the head of a part."""
    return f'Content-Disposition: form-data; name="{name}"{more}'


MULTIPART = "multipart/form-data; boundary=b"
KEY = (field("apikey"), b"k")


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ((field("x"), b"\xff\x00\xfe"), ["bytes", "\xff\x00\xfe"]),
        ((field("x") + "\r\nContent-Type: application/octet-stream", b"plain"), ["bytes", "plain"]),
        ((field("x") + "\r\nContent-Type: text/plain; charset=klingon", b"q"), ["bytes", "q"]),
        ((field("x") + "\r\nContent-Type: text/plain; charset=latin_1", b"\xe9"), "é"),
        ((field("x") + "\r\nContent-Type: text/plain; charset=", "é".encode()), "é"),
        ((field("x") + "\r\nContent-Type: text/plain; charset=x-sjis", b"\x83n"), "ハ"),
        ((field("x") + "\r\nContent-Transfer-Encoding: base64", b"aGk="), "aGk="),
        (
            (field("x", "; filename*=utf-8''na%C3%AFve.bin"), b"\xff"),
            ["file", "x", "naïve.bin", "application/octet-stream", "\xff"],
        ),
        (
            (field("x", "; filename=\"a;b.txt\"; filename*=''c") + "\r\nContent-Type: text/plain; charset=x", b"f"),
            ["file", "x", "c", "text/plain; charset=x", "f"],
        ),
        ((field("x", '; filename=""') + "\r\nContent-Type: application/octet-stream", b""), ["bytes", ""]),
    ],
)
def test_each_part_of_a_form_stands_for_itself(server: Server, part: tuple[str, bytes], expected: object) -> None:
    """Bytes, a file, or an odd charset keep no other field from being read, nor a key from counting."""
    for parts in ([part, KEY], [KEY, part]):
        answer = post(server, multipart(*parts), path="/guarded", Content_Type=MULTIPART)
        assert 200 == answer.status_code
        posted = dict(answer.json()["post"])
        assert {"x": expected, "apikey": "k"} == posted
        assert "k" == answer.json()["data"]["apikey"]


def test_a_part_with_a_type_of_its_own_is_a_variable_if_it_is_text(server: Server) -> None:
    """JSON in a part is text in `data`, and bytes by `post()` as with aiohttp."""
    part = (field("meta") + "\r\nContent-Type: application/json", b'{"a": 1}')
    answer = post(server, multipart(part, (field("bytes"), b"\xff")), Content_Type=MULTIPART).json()
    assert {"meta": '{"a": 1}'} == answer["data"]
    assert [["meta", ["bytes", '{"a": 1}']], ["bytes", ["bytes", "\xff"]]] == answer["post"]


def test_an_unknown_charset_of_the_whole_form_does_not_count(server: Server) -> None:
    """Each part has headers of its own."""
    answer = post(server, multipart((field("a"), "é".encode())), Content_Type=MULTIPART + "; charset=klingon")
    assert {"a": "é"} == answer.json()["data"]


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        (MULTIPART, b"--b\r\nsecret", "it has no closing boundary"),
        (MULTIPART, multipart(KEY)[:-8] + b"secret", "it has no closing boundary"),
        (MULTIPART, b"--b\r\nsecret\r\n\r\n1\r\n--b--\r\n", "a part's headers are malformed"),
        ("multipart/form-data", multipart(KEY), "its content type has no boundary"),
        ("multipart/form-data; boundary=", multipart(KEY), "its content type has no boundary"),
        ("application/x-www-form-urlencoded; charset=secret", b"a=1", "it declares an unknown charset"),
        (MULTIPART, multipart(*[(field("secret"), b"")] * 1001), "it has more than 1000 parts"),
    ],
)
def test_a_form_that_cannot_be_read_is_reported(server: Server, content_type: str, body: bytes, reason: str) -> None:
    """The request goes on without it; the log warns, naming the address and the reason, and shows nothing of it."""
    seen = len(server.lines)
    answer = post(server, body, path="/body/here?secret=1", Content_Type=content_type)
    assert ({"secret": "1"}, []) == (answer.json()["data"], answer.json()["post"])
    line = server.wait_for("is not read", since=seen)
    assert line.endswith(f"127.0.0.1 - POST /body/here - the form in the body is not read: {reason}")
    assert "WARN" in line
    assert not [line for line in server.lines[seen:] if "secret" in line]


@pytest.mark.parametrize("declared", ["charset=", 'charset=""', "charset = ;x=y", "charset=;boundary=b"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_an_empty_charset_is_none(server: Server, kind: str, declared: str) -> None:
    """The text is UTF-8 then."""
    body = '{"a": "é"}' if kind.endswith("json") else "a=é"
    answer = post(server, body.encode(), Content_Type=f"{kind}; {declared}").json()
    assert ({"a": "é"}, body) == (answer["data"], answer["text"])


#: Python's charsets that the server knows, with a letter that distinguishes them from others.
LETTERS = {
    **dict.fromkeys(["utf_8", "utf_8_sig", "utf_16", "utf_16_le", "utf_16_be", "gb18030", "latin_1"], "é"),
    **dict.fromkeys(["cp1252", "cp1250", "cp1254", "cp1257", "cp1258", "iso8859_15", "iso8859_16"], "€"),
    **dict.fromkeys(["cp1251", "cp866", "koi8_r", "koi8_u", "mac_cyrillic", "iso8859_5"], "я"),
    **dict.fromkeys(["cp1253", "iso8859_7"], "ω"),
    **dict.fromkeys(["cp1255", "iso8859_8"], "ש"),
    **dict.fromkeys(["cp1256", "iso8859_6"], "ش"),
    **dict.fromkeys(["cp932", "shift_jis", "euc_jp", "iso2022_jp"], "ハ"),
    **dict.fromkeys(["cp949", "euc_kr"], "가"),
    **dict.fromkeys(["gb2312", "gbk", "big5", "big5hkscs", "cp950"], "中"),
    **dict.fromkeys(["cp874", "tis_620", "iso8859_11"], "ก"),
    **dict.fromkeys(["iso8859_2", "iso8859_4", "iso8859_10", "iso8859_13"], "š"),
    "iso8859_3": "ħ",
    "iso8859_9": "ğ",
    "iso8859_14": "ŵ",
    "mac_roman": "Ω",
    "ascii": "a",
}
#: What the web calls some of them, and Python does not.
WEB = {"x-sjis": "shift_jis", "windows-31j": "cp932", "x-cp1252": "cp1252", "unicode-1-1-utf-8": "utf_8"}
WEB |= {"dos-874": "cp874", "x-gbk": "gbk", "x-x-big5": "big5", "csiso88596e": "iso8859_6", "ucs-2": "utf_16_le"}


def names_of(codec: str) -> list[str]:
    """Return everything that Python calls a charset."""
    aliases = [alias for alias, name in encodings.aliases.aliases.items() if name == codec]
    return sorted({codec, codec.replace("_", "-").upper(), codec.replace("_", " "), *aliases})


@pytest.mark.parametrize("codec", sorted(LETTERS))
def test_every_name_that_python_has_for_a_charset_is_known(server: Server, codec: str) -> None:
    """In variables as in `text()`, with any separators and in any case."""
    text = f'{{"a": "{LETTERS[codec]}"}}'
    with server.client() as client:
        for name in [*names_of(codec), *(web for web, python in WEB.items() if python == codec)]:
            headers = {"Content-Type": f"application/json; charset={name}"}
            answer = client.post("/body", content=text.encode(codec), headers=headers).json()
            assert ({"a": LETTERS[codec]}, text) == (answer["data"], answer["text"].lstrip("\ufeff")), name


def test_latin_1_is_that_of_python_and_not_that_of_the_web(server: Server) -> None:
    """Its bytes from 0x80 to 0x9F are control characters."""
    for name, expected in (("latin-1", "\x80"), ("iso-8859-1", "\x80"), ("cp1252", "€"), ("windows-1252", "€")):
        answer = post(server, b'{"a": "\x80"}', Content_Type=f"text/plain; charset={name}").json()
        assert {"a": expected} == answer["data"], name


def test_a_form_in_which_bytes_do_not_fit_is_read_all_the_same(server: Server) -> None:
    """What does not fit is replaced, as in UTF-8."""
    kind = "application/x-www-form-urlencoded; charset=shift_jis"
    assert {"a": "1", "b": "\ufffd"} == post(server, b"a=1&b=%FF", Content_Type=kind).json()["data"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_parameter_file_may_begin_with_a_byte_order_mark(launch: Launch, tmp_path: Path, encoding: str) -> None:
    """Editors on Windows write one; the file that `json=` names is read in any encoding that JSON may have."""
    plugin = """
        from plugincore.baseplugin import BasePlugin

        class P(BasePlugin):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.value = kwargs["value"]

            async def request_handler(self, **data):
                return 200, self.value
    """
    parameters = json.dumps({"value": "é"}, ensure_ascii=False).encode(encoding)
    (tmp_path / "p.json").write_bytes(parameters)
    server = launch({"p": plugin}, ini_more=f"[plugin_parms]\np=json={tmp_path}/p.json\n")
    assert "é" == server.get("/p").text
