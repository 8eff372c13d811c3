"""Handlers with type hints: variables are checked before Python is entered, and arrive as what the hints say."""

from __future__ import annotations

import select
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from plugincore.testing import SyncPluginClient
from support.server import Launch, Server, serving

TYPED = """
from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
from annotated_types import Ge, Interval, Len
from msgspec import Meta
from plugincore import Request
from plugincore.baseplugin import BasePlugin
from plugincore.bounds import Bounds

if TYPE_CHECKING:
    from nowhere import Later

def shown(**values):
    return 200, {name: f"{type(value).__name__} {value}" for name, value in values.items()}

class Weather(BasePlugin):
    http_methods = ("GET", "POST", "DELETE")

    async def request_handler(
        self, request: Request, *, city: str, days: Annotated[int, Meta(ge=1, le=14)] = 3, **data
    ) -> tuple[int, dict[str, Any]]:
        free = {name: value for name, value in data.items() if name not in self.given}
        return 200, {"city": city, "days": days, "kind": type(days).__name__, "free": free, "path": request.path}

    given = ("log", "request_headers", "subpath", "client_ip")

class Plain(BasePlugin):
    def request_handler(self, *, days: int = 3, **data: Any) -> tuple:
        return 200, {"days": days}

class Whole(BasePlugin):
    async def handle_request(self, **data):
        return await super().handle_request(**data)

    async def request_handler(self, *, days: int = 3, **data):
        return 200, {"days": days}

class Colour(Enum):
    RED = "red"
    TWO = 2

class Address(TypedDict):
    street: str
    number: NotRequired[int]

@dataclass
class Person:
    name: str
    born: date
    address: Address | None = None
    friends: list[Person] = field(default_factory=list)

    def __post_init__(self):
        if not self.name.strip():
            raise ValueError("a name has letters")

class Item(msgspec.Struct):
    name: str
    price: Annotated[float, Meta(gt=0)] = 1.0

class Order(pydantic.BaseModel):
    items: list[str]
    when: datetime | None = None

    @pydantic.field_validator("items")
    @classmethod
    def none_twice(cls, items):
        if len(set(items)) < len(items):
            raise ValueError("an item stands there twice")
        return items

class Kinds(BasePlugin):
    async def request_handler(
        self,
        *,
        text: str = "",
        whole: int = 0,
        real: float = 0.0,
        flag: bool = False,
        nothing: None = None,
        bare: list = None,
        numbers: list[int] = None,
        pair: tuple[int, str] = None,
        names: set[str] = None,
        sizes: dict[str, int] = None,
        style: Literal["plain", 7] = "plain",
        colour: Colour = Colour.RED,
        key: UUID = None,
        at: datetime = None,
        on: date = None,
        maybe: int | None = None,
        either: int | str = 0,
        few: Annotated[list[int], Len(1, 2)] = None,
        near: Annotated[float, Interval(gt=0, lt=1)] = 0.5,
        sure: Annotated[int, Bounds(ge=1, le=5)] = 1,
        address: Address = None,
        person: Person = None,
        item: Item = None,
        order: Order = None,
        **data,
    ):
        wanted = data["request_headers"].get("x-show")
        return shown(**{name: value for name, value in locals().items() if name == wanted})

class Foreign:
    pass

class Partly(BasePlugin):
    async def request_handler(
        self,
        *,
        days: int = 1,
        later: Later = "",
        foreign: Foreign = "",
        odd: Annotated[str, Meta(pattern="(?<")] = "",
        **data,
    ):
        return 200, {"days": days, "later": later, "foreign": foreign, "odd": odd}
"""

KEYED = """
from plugincore.baseplugin import BasePlugin

class Keyed(BasePlugin):
    async def request_handler(self, *, days: int, **data):
        return 200, {"days": days}
"""

OLD = """
import functools
from typing import Any

from plugincore.baseplugin import BasePlugin

class Old(BasePlugin):
    def request_handler(self, **data: Any) -> tuple:
        return 200, {name: data[name] for name in data if name not in self.given}

    given = ("log", "request", "request_headers", "subpath", "client_ip")

def with_user(handler):
    @functools.wraps(handler)
    def wrapper(self, **data):
        return handler(self, user="ada", **data)
    return wrapper

class Decorated(BasePlugin):
    @with_user
    def request_handler(self, user: str, days: int = 3, **data):
        return 200, {"user": user, "days": days}

class Named(BasePlugin):
    def request_handler(self, days="3", **data):
        return 200, {"days": days}
"""

SECRET = "a-key-of-enough-letters"
INI_MORE = f"[plugin_parms]\nkeyed = auth_type=plugin&apikey={SECRET}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with typed plugins."""
    plugins = {"typed": TYPED, "keyed": KEYED, "old": OLD}
    with serving(tmp_path_factory.mktemp("typed"), plugins, INI_MORE) as started:
        yield started


def errors(answer: httpx.Response) -> dict[str, str]:
    """Return what a refusal names, after a look at its form."""
    problem = answer.json()
    assert (422, "application/problem+json") == (answer.status_code, answer.headers["Content-Type"])
    assert {"status": 422, "code": "invalid", "request_id": answer.headers["X-Request-Id"]}.items() <= problem.items()
    assert problem["error"] == problem["detail"]
    assert all({"pointer", "detail"} == error.keys() for error in problem["errors"])
    return {error["pointer"]: error["detail"] for error in problem["errors"]}


def test_variables_arrive_as_their_hints_say(server: Server) -> None:
    """From a query, a form, a multipart form and JSON; what has no hint comes as it is."""
    expected = {"city": "7", "days": 5, "kind": "int", "free": {"more": "1"}, "path": "/weather"}
    variables = {"city": "7", "days": "5", "more": "1"}
    assert expected == server.get("/weather", params=variables).json()
    assert expected == server.post("/weather", data=variables).json()
    assert expected == server.post("/weather", files={name: (None, text) for name, text in variables.items()}).json()
    assert expected == server.post("/weather", json={"city": "7", "days": 5, "more": "1"}).json()
    assert expected == server.post("/weather", json={"city": "7", "days": 5.0, "more": "1"}).json()
    assert expected == server.request("DELETE", "/weather", params=variables).json()


def test_what_does_not_fit_is_a_422_with_pointers(server: Server) -> None:
    """In the same form for query, form and JSON, and without the value."""
    expected = {
        "/days": "the value is greater than the maximum of 14",
        "/city": "a value is required",
    }
    assert expected == errors(server.get("/weather", params={"days": "15"}))
    assert expected == errors(server.post("/weather", data={"days": "15"}))
    assert expected == errors(server.post("/weather", json={"days": 15}))
    for text in ("secret", "1.5", "", "1e1", "٣", "0x1", "99999999999999999999"):
        answer = server.get("/weather", params={"city": "Ulm", "days": text})
        assert (200 if text == "" else 422) == answer.status_code, text
        assert "secret" not in answer.text
    assert {"/city": 'the value is not of type "string"'} == errors(server.post("/weather", json={"city": ["Ulm"]}))


def test_an_empty_value_of_a_query_counts_as_absent(server: Server) -> None:
    """The default takes its place, or the body's value, or it is missing."""
    assert 3 == server.get("/weather?city=Ulm&days=").json()["days"]
    assert 9 == server.post("/weather?days=", json={"city": "Ulm", "days": 9}).json()["days"]
    assert {"/city": "a value is required"} == errors(server.get("/weather?city="))


def test_the_query_wins_over_the_body_and_the_first_value_counts(server: Server) -> None:
    """As without hints; a value that loses is not looked at."""
    assert 2 == server.post("/weather?days=2&days=99", json={"city": "Ulm", "days": "many"}).json()["days"]


def test_a_body_that_says_it_is_json_has_to_be_an_object(server: Server) -> None:
    """For handlers with hints; a body of GET is not looked at."""
    headers = {"Content-Type": "application/json"}
    for content in ("[1]", "{", '{"city": "\\ud800"}', "nonsense", '"text"'):
        assert [""] == [*errors(server.post("/weather?city=Ulm", content=content, headers=headers))], content
    assert 200 == server.request("GET", "/weather?city=Ulm", content="{", headers=headers).status_code
    assert 200 == server.post("/weather?city=Ulm", content="nonsense").status_code
    assert {} == server.post("/old", content="[1]", headers=headers).json()


#: Of each type a value in a query and in JSON, and what the handler sees.
VALUES: list[tuple[str, str | None, Any, str]] = [
    ("text", "7", "7", "str 7"),
    ("whole", "-7", -7, "int -7"),
    ("whole", "9223372036854775807", 9223372036854775807, "int 9223372036854775807"),
    ("whole", None, 10**30, "int 1" + "0" * 30),
    ("real", "1e3", 1000, "float 1000.0"),
    ("flag", "true", True, "bool True"),
    ("flag", "0", False, "bool False"),
    ("nothing", "null", None, "NoneType None"),
    ("bare", "a", ["a"], "list ['a']"),
    ("numbers", "1", [1.0], "list [1]"),
    ("pair", None, [1, "a"], "tuple (1, 'a')"),
    ("names", "a", ["a"], "set {'a'}"),
    ("sizes", '{"a": 1}', {"a": 1}, "dict {'a': 1}"),
    ("style", "7", 7, "int 7"),
    ("colour", "red", "red", "Colour Colour.RED"),
    ("colour", "2", 2, "Colour Colour.TWO"),
    (
        "key",
        "12345678-1234-1234-1234-123456789abc",
        "12345678-1234-1234-1234-123456789abc",
        "UUID 12345678-1234-1234-1234-123456789abc",
    ),
    ("at", "2026-11-30T12:00:00Z", "2026-11-30T12:00:00z", "datetime 2026-11-30 12:00:00+00:00"),
    ("on", "2026-11-30", "2026-11-30", "date 2026-11-30"),
    ("maybe", "1", 1, "int 1"),
    ("maybe", "null", None, "NoneType None"),
    ("either", "1", 1, "int 1"),
    ("either", "a", "a", "str a"),
    ("few", "1", [1], "list [1]"),
    ("sure", "5", 5, "int 5"),
    ("near", "0.25", 0.25, "float 0.25"),
    ("address", '{"street": "x"}', {"street": "x"}, "dict {'street': 'x'}"),
    (
        "person",
        None,
        {"name": "Ada", "born": "1815-12-10", "friends": [{"name": "Bob", "born": "1815-12-11", "more": 1}]},
        "Person Person(name='Ada', born=datetime.date(1815, 12, 10), address=None, friends=[Person(name='Bob',"
        " born=datetime.date(1815, 12, 11), address=None, friends=[])])",
    ),
    ("item", None, {"name": "pen", "price": 2}, "Item Item(name='pen', price=2.0)"),
    ("order", None, {"items": ["pen"]}, "Order items=['pen'] when=None"),
]


@pytest.mark.parametrize(("name", "text", "value", "seen"), VALUES)
def test_each_type_arrives_as_itself(server: Server, name: str, text: str | None, value: Any, seen: str) -> None:
    """Text of queries and values of JSON alike."""
    headers = {"X-Show": name}
    if text is not None and seen:
        assert {name: seen} == server.get("/kinds", params={name: text}, headers=headers).json()
    if value is not None:
        assert {name: seen} == server.post("/kinds", json={name: value}, headers=headers).json()


#: Values that do not fit, and where they do not.
MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"text": 7}, "/text"),
    ({"whole": 1.5}, "/whole"),
    ({"whole": True}, "/whole"),
    ({"real": "1"}, "/real"),
    ({"flag": 1}, "/flag"),
    ({"numbers": [1, "x"]}, "/numbers/1"),
    ({"pair": [1]}, "/pair"),
    ({"names": ["a", "a"]}, "/names"),
    ({"sizes": {"a/b~c": "x"}}, "/sizes/a~1b~0c"),
    ({"style": "loud"}, "/style"),
    ({"colour": "RED"}, "/colour"),
    ({"key": "{12345678-1234-1234-1234-123456789abc}"}, "/key"),
    ({"at": "2026-11-30"}, "/at"),
    ({"at": "2026-11-30T23:59:60Z"}, "/at"),
    ({"on": "2026-02-30"}, "/on"),
    ({"maybe": "x"}, "/maybe"),
    ({"few": [1, 2, 3]}, "/few"),
    ({"near": 1}, "/near"),
    ({"sure": 6}, "/sure"),
    ({"address": {}}, "/address/street"),
    ({"person": {"name": "Ada", "born": "then"}}, "/person/born"),
    ({"person": {"name": " ", "born": "1815-12-10"}}, "/person"),
    ({"person": {"name": "Ada", "born": "1815-12-10", "friends": [{"name": ""}]}}, "/person/friends/0/born"),
    ({"item": {"name": "pen", "price": 0}}, "/item/price"),
    ({"order": {"items": ["pen", "pen"]}}, "/order/items"),
    ({"order": {"items": [1]}}, "/order/items/0"),
]


@pytest.mark.parametrize(("body", "pointer"), MISFITS, ids=[pointer + str(n) for n, (_, pointer) in enumerate(MISFITS)])
def test_what_does_not_fit_a_type_is_found_where_it_is(server: Server, body: dict[str, Any], pointer: str) -> None:
    """By the schema in Rust, or by the class that the value is made into."""
    assert pointer in errors(server.post("/kinds", json=body))


def test_repeated_variables_are_an_array(server: Server) -> None:
    """If that is what the hint says."""
    answer = server.get("/kinds?numbers=1&numbers=2&numbers=", headers={"X-Show": "numbers"})
    assert {"numbers": "list [1, 2]"} == answer.json()
    assert ["/numbers/1"] == [*errors(server.get("/kinds?numbers=1&numbers=x"))]


def test_a_hint_without_a_schema_leaves_its_parameter_alone(server: Server) -> None:
    """The log names it; the other parameters are checked."""
    variables = {"days": "2", "later": "a", "foreign": "b", "odd": "c"}
    assert {**variables, "days": 2} == server.get("/partly", params=variables).json()
    assert ["/days"] == [*errors(server.get("/partly", params={**variables, "days": "x"}))]
    for name, reason in (("later", "'Later' is not defined"), ("foreign", "Foreign has no JSON schema"), ("odd", "")):
        (line,) = [line for line in server.lines if f"class Partly: parameter {name} takes what comes" in line]
        assert reason in line
        assert "typed.py" in line
        assert "WARNING" in line or "WARN" in line


def test_handlers_without_hints_for_their_parameters_are_as_before(server: Server) -> None:
    """Also those whose `**data` or result has a hint; text stays text, and everything comes in."""
    assert {"days": "many", "empty": ""} == server.get("/old?days=many&empty=").json()
    assert {"days": "many"} == server.get("/named?days=many").json()
    assert {"user": "ada", "days": "7"} == server.get("/decorated?days=7").json()
    assert {"days": ""} == server.get("/named?days=").json()


def test_plugins_that_take_requests_into_their_own_hands_get_what_comes(server: Server) -> None:
    """Hints are not used behind a `handle_request` of the plugin's own."""
    assert {"days": "7"} == server.get("/whole?days=7").json()


def test_plain_handlers_have_types_too(server: Server) -> None:
    """A `def` is called with the same objects."""
    assert {"days": 7} == server.get("/plain?days=7").json()
    assert {"days": 3} == server.get("/plain").json()


def test_who_has_no_key_does_not_learn_what_a_plugin_takes(server: Server) -> None:
    """The key is asked for before variables are looked at."""
    assert 403 == server.get("/keyed?days=x").status_code
    assert 403 == server.post("/keyed", json={"days": "x"}).status_code
    assert ["/days"] == [*errors(server.get(f"/keyed?days=x&apikey={SECRET}"))]
    assert ["/days"] == [*errors(server.post("/keyed", json={"days": "x", "apikey": SECRET}))]
    assert {"days": 1} == server.post("/keyed", json={"days": 1, "apikey": SECRET}).json()


BLOCKING = """
    import time
    from plugincore.baseplugin import BasePlugin

    class Blocking(BasePlugin):
        def request_handler(self, *, seconds: float, **data):
            time.sleep(seconds)
            return 200, {}
"""


def test_a_422_needs_no_python(launch: Launch) -> None:
    """It comes while a handler blocks the interpreter."""
    server = launch({"blocking": BLOCKING}, ini_more="[server]\nstall_warn = 250ms\n")
    with server.client() as client, server.connect() as blocked:
        blocked.sendall(b"GET /blocking?seconds=3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        server.wait_for("Python is blocked for")
        assert ["/seconds"] == [*errors(client.get("/blocking?seconds=x"))]
        assert not select.select([blocked], [], [], 0)[0], "it is blocked no more"


def test_a_reload_changes_what_is_taken(launch: Launch) -> None:
    """With the version that answers."""
    server = launch({"keyed": KEYED})
    assert ["/days"] == [*errors(server.get("/keyed?days=x"))]
    (server.plugins / "keyed.py").write_text(KEYED.replace("int", "str"))
    assert 200 == server.get("/reload/keyed").status_code
    assert {"days": "x"} == server.get("/keyed?days=x").json()
    (server.plugins / "keyed.py").write_text(KEYED.replace("days: int", "days"))
    assert 200 == server.get("/reload/keyed").status_code
    assert {"days": ""} == server.get("/keyed?days=").json()


def test_the_test_client_checks_as_the_server_does(tmp_path: Path) -> None:
    """In `plugincore.testing` the same code runs."""
    file = tmp_path / "keyed.py"
    file.write_text(textwrap.dedent(KEYED))
    with SyncPluginClient(file) as client:
        assert {"days": 5} == client.get(query={"days": "5"}).json()
        answer = client.get(query={"days": "x"})
        assert (422, "/days") == (answer.status, answer.json()["errors"][0]["pointer"])
