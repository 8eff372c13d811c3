"""API keys: the four ways to show one, their order, and what happens to those without."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import httpx
import pytest

from support.errors import without_ids
from support.server import Launch, Server, serving
from support.wait import wait_until
from support.wire import HOST, Wire, ask, post

ECHO = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, {{"in": self._plugin_id}}
"""

CHECKS = """
from plugincore.baseplugin import BasePlugin

class Checks(BasePlugin):
    def _check_auth(self, data):
        return super()._check_auth(data)

    async def request_handler(self, **data):
        return 200, {"in": self._plugin_id}
"""

UNAUTHORIZED = (403, "application/json; charset=utf-8", '{"error": "unauthorized"}')

INI_MORE = """
[limits]
wrong_keys=none

[auth]
apikey=server-key

[plugin_parms]
common=auth_type=global
own=auth_type=plugin&apikey=own-key
checks=auth_type=plugin&apikey=own-key
odd=auth_type=plugin&apikey=k%C3%A4se+%26%2B%25
"""

KEYS = {"common": "server-key", "own": "own-key"}

MULTIPART = 'multipart/form-data; boundary="b"'


def multipart(name: str, value: str) -> bytes:
    """Return a multipart body of one field."""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--b--\r\n'.encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that only ask questions."""
    plugins = {name: ECHO.format(name=name.title()) for name in ("common", "own", "odd", "free")}
    plugins["checks"] = CHECKS
    with serving(tmp_path_factory.mktemp("authentication"), plugins, INI_MORE) as running:
        yield running


def seen(answer: httpx.Response) -> tuple[int, str, str]:
    """Return what a refusal consists of."""
    return answer.status_code, answer.headers["content-type"], without_ids(answer.text)


WAYS = {
    "bearer": lambda key: {"headers": {"Authorization": f"Bearer {key}"}},
    "bearer in other case": lambda key: {"headers": {"authorization": f"bEARER {key}"}},
    "custom header": lambda key: {"headers": {"X-Custom-Auth": key}},
    "custom header in other case": lambda key: {"headers": {"x-cUSTOM-aUTH": key}},
    "query": lambda key: {"params": {"apikey": key}},
    "JSON body": lambda key: {"json": {"apikey": key}},
    "JSON body of no declared type": lambda key: {"content": json.dumps({"apikey": key})},
    "form body": lambda key: {"data": {"apikey": key}},
    "multipart body": lambda key: {"content": multipart("apikey", key), "headers": {"Content-Type": MULTIPART}},
}


@pytest.mark.parametrize("plugin", ["common", "own"])
@pytest.mark.parametrize("way", WAYS)
def test_each_documented_way_opens_with_the_right_key_and_no_other(server: Server, way: str, plugin: str) -> None:
    """A key may come in a header, in the query or in the body; a wrong one in the same place is refused."""
    right = server.post(f"/{plugin}", **WAYS[way](KEYS[plugin]))
    assert (200, {"in": plugin}) == (right.status_code, right.json())
    for wrong in ("wrong", KEYS[plugin][:-1], KEYS[plugin] + "x", KEYS[plugin].upper()):
        assert UNAUTHORIZED == seen(server.post(f"/{plugin}", **WAYS[way](wrong)))


@pytest.mark.parametrize("way", list(WAYS)[:5])
def test_a_get_request_shows_its_key_in_the_head(server: Server, way: str) -> None:
    """Whatever needs no body works with GET as well."""
    assert 200 == server.get("/own", **WAYS[way]("own-key")).status_code


def test_white_space_around_a_key_in_a_header_does_not_belong_to_it(server: Server) -> None:
    """Headers are trimmed; variables are what they are."""
    for line in ("Authorization: bearer  \t own-key \t", "X-Custom-Auth:\t own-key  "):
        assert 200 == ask(server, b"GET /own" + HOST + line.encode() + b"\r\n\r\n").status
    assert UNAUTHORIZED == seen(server.get("/own?apikey=own-key%20"))


def test_the_body_of_a_get_request_shows_no_key(server: Server) -> None:
    """The body of a GET is no data, so it cannot hold a key either."""
    assert UNAUTHORIZED == seen(server.request("GET", "/own", json={"apikey": "own-key"}))


def test_no_key_at_all_is_refused_and_an_open_plugin_asks_for_none(server: Server) -> None:
    """A plugin with authentication answers no client without a key, one without answers every client."""
    assert UNAUTHORIZED == seen(server.get("/own"))
    assert UNAUTHORIZED == seen(server.get("/common/below?x=1"))
    assert 200 == server.get("/free", headers={"Authorization": "Bearer whatever"}).status_code


def test_the_servers_key_does_not_open_a_plugin_with_its_own(server: Server) -> None:
    """A key of its own replaces the server's key, and opens nothing else."""
    assert UNAUTHORIZED == seen(server.get("/own?apikey=server-key"))
    assert UNAUTHORIZED == seen(server.get("/common?apikey=own-key"))
    assert UNAUTHORIZED == seen(server.get("/plugins?apikey=own-key"))


R, W, E = "own-key", "wrong", ""


@pytest.mark.parametrize(
    ("bearer", "custom", "query", "body", "status"),
    [
        (R, W, W, W, 200),
        (W, R, R, R, 403),
        (None, R, W, W, 200),
        (None, W, R, R, 403),
        (None, None, R, W, 200),
        (None, None, W, R, 403),
        (None, None, None, R, 200),
        (E, R, W, W, 200),
        (E, E, R, W, 200),
        (E, E, E, R, 200),
        (E, E, E, W, 403),
        (E, E, E, E, 403),
        (E, W, R, R, 403),
    ],
)
def test_only_the_first_key_that_is_not_empty_counts(
    server: Server, bearer: str | None, custom: str | None, query: str | None, body: str | None, status: int
) -> None:
    """The order is Bearer, X-Custom-Auth, query, body; an empty value is as good as none."""
    headers = [f"Authorization: Bearer {bearer}"] if bearer is not None else []
    headers += [f"X-Custom-Auth: {custom}"] if custom is not None else []
    path = "/own" if query is None else f"/own?apikey={query}"
    data = b"" if body is None else json.dumps({"apikey": body}).encode()
    assert status == ask(server, post(path, data, *headers)).status


def test_another_scheme_is_passed_over(server: Server) -> None:
    """The Basic credentials of a proxy in front do not hide the key that follows."""
    headers = {"Authorization": "Basic b3duLWtleTpvd24ta2V5", "X-Custom-Auth": "own-key"}
    assert 200 == server.get("/own", headers=headers).status_code
    for scheme in ("Basic own-key", "own-key", "Bearer", "Bearerown-key", "Token own-key"):
        assert UNAUTHORIZED == seen(server.get("/own", headers={"Authorization": scheme})), scheme


@pytest.mark.parametrize(
    "body", [{"apikey": None}, {"apikey": ["own-key"]}, {"apikey": True}, {"x": {"apikey": R}}, [R]]
)
def test_a_key_in_json_has_to_be_a_text_of_the_outermost_object(server: Server, body: object) -> None:
    """What is no text equals no key."""
    assert UNAUTHORIZED == seen(server.post("/own", json=body))


@pytest.mark.parametrize("path", ["/own", "/checks"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Authorization", "Bearer own-key"), ("Authorization", "Bearer wrong")], 200),
        ([("Authorization", "Bearer wrong"), ("Authorization", "Bearer own-key")], 403),
        ([("Authorization", "Basic eDp5"), ("Authorization", "Bearer own-key")], 403),
        ([("X-Custom-Auth", "own-key"), ("X-Custom-Auth", "wrong")], 200),
        ([("X-Custom-Auth", ""), ("X-Custom-Auth", "own-key")], 403),
    ],
)
def test_the_first_of_a_repeated_header_counts(
    server: Server, path: str, headers: list[tuple[str, str]], status: int
) -> None:
    """It is the same one for the server's own check and for a plugin that overloads `_check_auth`."""
    assert status == server.get(path, headers=headers).status_code


def test_repeated_variables_count_as_they_do_in_data(server: Server) -> None:
    """The first in a query or form, the last in a JSON object."""
    assert 200 == server.get("/own?apikey=own-key&apikey=wrong").status_code
    assert 403 == server.get("/own?apikey=wrong&apikey=own-key").status_code
    assert 200 == server.post("/own", content='{"apikey": "wrong", "apikey": "own-key"}').status_code
    assert 403 == server.post("/own", content='{"apikey": "own-key", "apikey": "wrong"}').status_code


@pytest.mark.parametrize(
    "shown",
    [
        b"GET /odd" + HOST + b"Authorization: Bearer " + "käse &+%".encode() + b"\r\n\r\n",
        b"GET /odd" + HOST + b"X-Custom-Auth: " + "käse &+%".encode() + b"\r\n\r\n",
        b"GET /odd?apikey=k%C3%A4se+%26%2B%25" + HOST + b"\r\n",
        b"GET /odd?%61pikey=k%c3%a4se%20%26%2b%25" + HOST + b"\r\n",
        post("/odd", b'{"apikey": "k\\u00e4se &+%"}'),
        post("/odd", '{"apikey": "käse &+%"}'.encode("latin-1"), "Content-Type: application/json; charset=latin-1"),
        post("/odd", b"apikey=k%C3%A4se+%26%2B%25", "Content-Type: application/x-www-form-urlencoded"),
        post("/odd", multipart("apikey", "käse &+%"), "Content-Type: " + MULTIPART),
    ],
)
def test_a_key_may_hold_any_character(server: Server, shown: bytes) -> None:
    """Keys beyond ASCII and with signs that mean something in a query are compared after decoding, as UTF-8."""
    assert 200 == ask(server, shown).status


def test_a_refused_upload_can_read_its_refusal(server: Server) -> None:
    """A client that sends a large body with a wrong key, or too large a one, gets its answer and not a reset."""
    body = b"x" * (6 << 20)
    for headers, status in (({"X-Custom-Auth": "wrong"}, 403), ({"X-Custom-Auth": "own-key"}, 413), ({}, 413)):
        answer = server.post("/own", content=body, headers=headers)
        assert (status, "close") == (answer.status_code, answer.headers["connection"])


def test_keys_never_reach_the_log(server: Server) -> None:
    """Neither a right nor a wrong key is ever logged, wherever it was shown; a refusal is, with the client."""
    # Clients of its own, since of each only so many refusals are logged in a minute.
    for key in ("own-key", "wr0ng-one"):
        for number, way in enumerate(WAYS.values()):
            request = way(key)
            request["headers"] = {**request.get("headers", {}), "X-Forwarded-For": f"192.0.2.{number}"}
            server.post("/own", **request)
        server.get(f"/plugins?apikey={key}")
    for number in range(len(WAYS)):
        server.wait_for(rf"192\.0\.2\.{number} - request for own - Not authorized")
    for secret in ("own-key", "server-key", "wr0ng-one", "se &+%"):
        assert secret not in server.log


@pytest.mark.parametrize(("written", "key"), [("int:5", "5"), ("int:007", "7"), ("a:b c", "a:b c")])
def test_the_servers_key_is_compared_as_text(launch: Launch, written: str, key: str) -> None:
    """A typed key is the text of its value, for the server's own addresses and for plugins alike."""
    ini_more = f"[auth]\napikey={written}\n[plugin_parms]\nown=auth_type=global\n"
    server = launch({"own": ECHO.format(name="Own")}, ini_more=ini_more)
    assert (200, 200) == (
        server.get(f"/own?apikey={key}").status_code,
        server.get(f"/plugins?apikey={key}").status_code,
    )
    assert (403, 403) == (server.get("/own?apikey=x").status_code, server.get("/plugins?apikey=x").status_code)


PARAMETERS = {
    "own=auth_type=plugin": "no plugin apikey",
    "own=auth_type=plugin&apikey=": "no plugin apikey",
    "own=auth_type=global": "no apikey in auth",
    "own=auth_type=golbal&apikey=k": "golbal",
}


@pytest.mark.parametrize("line", PARAMETERS)
def test_a_plugin_whose_key_is_missing_is_not_served_open(launch: Launch, line: str) -> None:
    """A mistake in the authentication of a plugin keeps it from being loaded, with the reason; the others serve."""
    plugins = {"own": ECHO.format(name="Own"), "free": ECHO.format(name="Free")}
    server = launch(plugins, ini_more=f"[auth]\napikey=\n[plugin_parms]\n{line}\n")
    assert (404, 200) == (server.get("/own").status_code, server.get("/free").status_code)
    server.wait_for(PARAMETERS[line])


def test_legacy_status_answers_a_plugins_refusal_with_200(launch: Launch) -> None:
    """Clients of pluginserver may look at the body only; the server's own endpoints always answered 403."""
    server = launch({"own": ECHO.format(name="Own")}, ini_more=INI_MORE + "\n[compat]\nlegacy_status=bool:true\n")
    assert (200, *UNAUTHORIZED[1:]) == seen(server.get("/own"))
    assert UNAUTHORIZED == seen(server.get("/plugins"))


CHANGING = """
from plugincore.baseplugin import BasePlugin

class Changing(BasePlugin):
    async def initialize(self, **kwargs):
        self._auth_type, self._apikey = "plugin", "first"

    async def request_handler(self, **data):
        if "set" in data:
            self._auth_type, self._apikey = data["type"] or None, data["set"] or None
        return 200, {"type": self._auth_type, "key": self._apikey}
"""


def test_a_plugin_that_changes_its_key_is_obeyed(launch: Launch) -> None:
    """What a plugin sets in initialize or in a handler counts from the next request on."""
    server = launch({"changing": CHANGING})

    def statuses(*keys: str) -> list[int]:
        return [server.get("/changing", params={"apikey": key}).status_code for key in keys]

    assert [403, 200] == statuses("", "first")
    assert 200 == server.get("/changing?apikey=first&type=plugin&set=second").status_code
    assert [403, 403, 200] == statuses("", "first", "second")
    assert 200 == server.get("/changing?apikey=second&type=plugin&set=").status_code
    assert [403, 403] == statuses("", "second")


def test_a_plugin_may_open_itself(launch: Launch) -> None:
    """Without _auth_type no key is required."""
    server = launch({"changing": CHANGING})
    assert 200 == server.get("/changing?apikey=first&type=&set=first").status_code
    assert {"type": None, "key": "first"} == server.get("/changing").json()


IN_CLASS = """
from plugincore.baseplugin import BasePlugin

class Base(BasePlugin):
    _auth_type = "plugin"
    _apikey = "class-key"

class InClass(Base):
    async def request_handler(self, **data):
        if "set" in data:
            self._apikey = data["set"]
        return 200, {"key": self._apikey}

class Sibling(Base):
    def request_handler(self, **data):
        return 200, {"key": self._apikey}
"""


def test_a_key_in_the_class_is_a_default(launch: Launch) -> None:
    """Authentication that is written into the class body protects, and can be changed by the instance."""
    server = launch({"inclass": IN_CLASS})
    for path in ("/inclass", "/sibling"):
        assert UNAUTHORIZED == seen(server.get(path))
        assert {"key": "class-key"} == server.get(path, params={"apikey": "class-key"}).json()
    assert 200 == server.get("/inclass?apikey=class-key&set=new").status_code
    assert UNAUTHORIZED == seen(server.get("/inclass?apikey=class-key"))
    assert {"key": "new"} == server.get("/inclass?apikey=new").json()
    assert {"key": "class-key"} == server.get("/sibling?apikey=class-key").json()


def test_parameters_stand_above_a_key_in_the_class(launch: Launch) -> None:
    """The ini file overrides the class."""
    server = launch({"inclass": IN_CLASS}, ini_more="[plugin_parms]\ninclass=auth_type=plugin&apikey=ini-key\n")
    assert UNAUTHORIZED == seen(server.get("/inclass?apikey=class-key"))
    assert {"key": "ini-key"} == server.get("/inclass?apikey=ini-key").json()


OVERRIDING = """
from plugincore.baseplugin import BasePlugin

class Checks(BasePlugin):
    def _check_auth(self, data):
        return data.get("word") == "sesame" or super()._check_auth(data)

    async def request_handler(self, **data):
        return 200, {"in": "checks"}

class Handles(BasePlugin):
    async def handle_request(self, **data):
        return {"in": "handles"}
"""


def test_a_plugin_that_checks_for_itself_is_asked(launch: Launch) -> None:
    """An overridden _check_auth decides, and may leave the rest to the original one."""
    server = launch({"both": OVERRIDING}, ini_more="[plugin_parms]\nboth=auth_type=plugin&apikey=own-key\n")
    assert UNAUTHORIZED == seen(server.get("/checks"))
    assert UNAUTHORIZED == seen(server.get("/checks?word=other&apikey=wrong"))
    for way in WAYS.values():
        assert {"in": "checks"} == server.post("/checks", **way("own-key")).json()
        assert UNAUTHORIZED == seen(server.post("/checks", **way("wrong")))
    assert {"in": "checks"} == server.get("/checks?word=sesame").json()


def test_a_plugin_that_handles_for_itself_is_still_guarded(launch: Launch) -> None:
    """The key is checked before an overridden handle_request; in pluginserver it was left open."""
    server = launch({"both": OVERRIDING}, ini_more="[plugin_parms]\nboth=auth_type=plugin&apikey=own-key\n")
    assert UNAUTHORIZED == seen(server.get("/handles"))
    assert {"in": "handles"} == server.get("/handles?apikey=own-key").json()


BLOCKING = """
import ctypes, pathlib, time
from plugincore.baseplugin import BasePlugin

class Blocking(BasePlugin):
    def request_handler(self, **data):
        pathlib.Path("blocked").touch()
        release = pathlib.Path("release")
        deadline = time.monotonic() + 15
        while not release.exists() and time.monotonic() < deadline:
            {wait}
        return 200, "released"
"""

#: The event loop stands in each case; the last one does not release the GIL either.
WAITS: Mapping[str, str] = {
    "sleeping": "time.sleep(0.01)",
    "spinning": "any(number < 0 for number in range(10_000))",
    "holding the GIL": "ctypes.PyDLL(None).usleep(200_000)",
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_refusal_never_enters_the_interpreter(launch: Launch, wait: str) -> None:
    """While a plugin blocks Python, keys are refused, and everything else that is native is answered."""
    plugins = {"blocking": BLOCKING.format(wait=WAITS[wait]), "own": ECHO.format(name="Own")}
    server = launch(plugins, ini_more=INI_MORE + "[cors]\nenabled=bool:true\norigin_url=list:https://a.example\n")
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with Wire(server) as blocked:
        blocked.send(b"GET /blocking" + HOST + b"\r\n")
        wait_until((server.folder / "blocked").exists)
        with server.client() as client:
            statuses = [
                client.get("/own").status_code,
                client.get("/own?apikey=wrong").status_code,
                client.post("/own", json={"apikey": "wrong"}).status_code,
                client.get("/nowhere").status_code,
                client.put("/own").status_code,
                client.options("/own", headers=preflight).status_code,
                client.get("/-/healthy").status_code,
                client.get("/plugins?apikey=server-key").status_code,
                client.post("/own?apikey=own-key", content=b"x" * (1 << 20) + b"x").status_code,
            ]
        (server.folder / "release").touch()
        assert (200, b"released") == (blocked.answer().status, b"released")
    assert [403, 403, 403, 404, 405, 200, 200, 200, 413] == statuses
