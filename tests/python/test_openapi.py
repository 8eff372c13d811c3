"""What the server says of its plugins as OpenAPI 3.1: ``/-/openapi.json`` and ``plugincore openapi``."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from support.server import Launch, Server, command, serving
from support.wait import TIMEOUT

PLUGINS = '''
from dataclasses import dataclass
from typing import Any, TypedDict

from plugincore.baseplugin import BasePlugin


@dataclass
class Place:
    city: str
    near: "list[Place] | None" = None


class Weather(TypedDict):
    city: str
    days: int


class Forecast(BasePlugin):
    """Forecasts for places."""

    http_methods = ("GET", "PUT")

    async def request_handler(
        self, *, city: str, days: int = 3, place: Place | None = None, **data
    ) -> tuple[int, Weather]:
        """Tell the weather.

        Of the days to come.
        """
        return 200, {"city": city, "days": days}


class Old(BasePlugin):
    def request_handler(self, **data):
        return 200, {}


class Own(BasePlugin):
    openapi = {"summary": "Mine", "description": None, "post": {"deprecated": True}}

    def request_handler(self, **data):
        """Theirs.

        More.
        """
        return 200, {}


class Described(BasePlugin):
    def describe(self):
        return {"summary": f"of {self._plugin_id}"}

    def request_handler(self, **data):
        return 200, {}


class Raising(BasePlugin):
    def describe(self):
        raise RuntimeError("no description")

    def request_handler(self, **data):
        return 200, {}


class Odd(BasePlugin):
    openapi = {"x": object()}

    def request_handler(self, **data):
        return 200, {}


class Braces(BasePlugin):
    def initialize(self, **kwargs):
        self._plugin_id = "a {x}/b"

    def request_handler(self, **data):
        return 200, {}
'''

KEYED = """
from plugincore.baseplugin import BasePlugin

class Keyed(BasePlugin):
    def request_handler(self, **data):
        return 200, {}
"""

IDS = ["forecast", "old", "own", "described", "raising", "odd", "a {x}/b", "keyed"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with plugins that say more and less of themselves."""
    more = "[plugin_parms]\nkeyed = auth_type=plugin&apikey=a-key-of-enough-letters\n"
    with serving(tmp_path_factory.mktemp("openapi"), {"all": PLUGINS, "keyed": KEYED}, more) as started:
        yield started


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    """Return the description."""
    answer = server.get("/-/openapi.json")
    assert (200, "application/json; charset=utf-8") == (answer.status_code, answer.headers["Content-Type"])
    found: dict[str, Any] = answer.json()
    return found


def test_it_is_openapi(document: dict[str, Any]) -> None:
    """A validator of the specification has nothing against it."""
    OpenAPIV31SpecValidator(document).validate()


def test_every_plugin_appears(document: dict[str, Any]) -> None:
    """With a path, a tag and the methods that it answers."""
    tags = {tag["name"]: tag.get("description") for tag in document["tags"]}
    assert sorted(IDS) == sorted(tags)
    assert "Forecasts for places." == tags["forecast"]
    assert {f"/{quote(name)}" for name in IDS} == document["paths"].keys()
    assert {"get", "put"} == document["paths"]["/forecast"].keys()
    assert {"get", "post"} == document["paths"]["/old"].keys()


def test_a_typed_handler_is_described_by_its_hints(document: dict[str, Any]) -> None:
    """As variables of a query and as a body, with what it returns and its docstring."""
    get, put = (document["paths"]["/forecast"][method] for method in ("get", "put"))
    assert ("Tell the weather.", "Of the days to come.") == (get["summary"], get["description"])
    assert [("city", True), ("days", False), ("place", False)] == [
        (one["name"], one["required"]) for one in get["parameters"]
    ]
    assert {"type": "integer", "default": 3} == get["parameters"][1]["schema"]
    assert {"application/json"} == get["parameters"][2]["content"].keys()
    body = put["requestBody"]["content"]["application/json"]["schema"]
    assert (["city"], True) == (body["required"], put["requestBody"]["required"])
    reference = body["properties"]["place"]["anyOf"][0]["$ref"]
    place = document["components"]["schemas"][reference.removeprefix("#/components/schemas/")]
    assert {"$ref": reference} == place["properties"]["near"]["anyOf"][0]["items"]
    result = get["responses"]["200"]["content"]["application/json"]["schema"]
    assert result["$ref"].startswith("#/components/schemas/forecast.")
    assert {"$ref": "#/components/responses/Invalid"} == get["responses"]["422"]


def test_a_plugin_without_hints_takes_what_comes(document: dict[str, Any]) -> None:
    """Any variables in the query, any body."""
    get, post = (document["paths"]["/old"][method] for method in ("get", "post"))
    (parameter,) = get["parameters"]
    assert {"type": "object", "additionalProperties": {"type": "string"}} == parameter["schema"]
    assert {} == post["requestBody"]["content"]["application/json"]["schema"]
    assert "422" not in get["responses"]


def test_who_may_use_a_plugin_is_said(document: dict[str, Any]) -> None:
    """By the ways to send a key, or that none is asked for."""
    assert [] == document["paths"]["/old"]["get"]["security"]
    ways = document["paths"]["/keyed"]["get"]["security"]
    assert [["bearer"], ["header"], ["query"]] == [[*way] for way in ways]
    assert {"bearer", "header", "query"} == document["components"]["securitySchemes"].keys()
    assert "403" in document["paths"]["/keyed"]["get"]["responses"]


def test_a_class_may_describe_itself(server: Server, document: dict[str, Any]) -> None:
    """Members of its own replace generated ones; one that raises costs nobody else anything, and is in the log."""
    own = document["paths"]["/own"]
    assert ("Mine", "Mine") == (own["get"]["summary"], own["post"]["summary"])
    assert "description" not in own["get"]
    assert (None, True) == (own["get"].get("deprecated"), own["post"]["deprecated"])
    assert "of described" == document["paths"]["/described"]["get"]["summary"]
    assert {"get", "post"} == document["paths"]["/raising"].keys()
    assert [
        line
        for line in server.lines
        if "class Raising: its description is not used: RuntimeError: no description" in line
    ]
    assert [line for line in server.lines if "class Odd: its description is not used: TypeError" in line]
    assert 200 == server.get("/raising").status_code


def test_what_a_client_has_is_not_sent_again(server: Server) -> None:
    """By the tag, which changes with the plugins."""
    tag = server.get("/-/openapi.json").headers["ETag"]
    answer = server.get("/-/openapi.json", headers={"If-None-Match": tag})
    assert (304, b"", tag) == (answer.status_code, answer.content, answer.headers["ETag"])
    head = server.request("HEAD", "/-/openapi.json")
    assert (200, tag) == (head.status_code, head.headers["ETag"])
    assert 405 == server.post("/-/openapi.json").status_code


KEYS = "[keys]\nreader = key=a-key-of-enough-letters&scopes=old\n"


def test_with_keys_any_of_them_is_asked_for(launch: Launch) -> None:
    """Whatever it is for, unless the description is public."""
    server = launch({"old": KEYED.replace("Keyed", "Old")}, ini_more=KEYS)
    assert 403 == server.get("/-/openapi.json").status_code
    assert 403 == server.get("/-/openapi.json", headers={"Authorization": "Bearer wrong"}).status_code
    answer = server.get("/-/openapi.json", headers={"Authorization": "Bearer a-key-of-enough-letters"})
    assert 200 == answer.status_code
    public = launch({"old": KEYED.replace("Keyed", "Old")}, ini_more=KEYS + "[openapi]\npublic = true\n")
    assert 200 == public.get("/-/openapi.json").status_code


def test_a_foreign_name_is_refused_unless_it_is_public(launch: Launch) -> None:
    """A page of another site may have had its name point here."""
    server = launch({"old": KEYED})
    assert 403 == server.get("/-/openapi.json", headers={"Host": "evil.example"}).status_code
    public = launch({"old": KEYED}, ini_more="[openapi]\npublic = true\n")
    assert 200 == public.get("/-/openapi.json", headers={"Host": "evil.example"}).status_code


BLOCKING = """
    import time
    from plugincore.baseplugin import BasePlugin

    class Blocking(BasePlugin):
        def request_handler(self, **data):
            time.sleep(3)
            return 200, {}
"""


def test_it_comes_while_python_is_blocked(launch: Launch) -> None:
    """Nothing of it needs the interpreter."""
    server = launch({"blocking": BLOCKING}, ini_more="[server]\nstall_warn = 250ms\n")
    with server.connect() as blocked:
        blocked.sendall(b"GET /blocking HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        server.wait_for("Python is blocked for")
        assert {"/blocking"} == server.get("/-/openapi.json").json()["paths"].keys()
        assert not select.select([blocked], [], [], 0)[0], "it is blocked no more"


def openapi(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in ``folder``."""
    whole = [*command(), "openapi", *arguments]
    return subprocess.run(
        whole, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def test_the_command_prints_it(launch: Launch) -> None:
    """By the control socket, so that no key is needed; without a server it fails."""
    server = launch({"old": KEYED}, ini_more=KEYS + "[server]\ncontrol_socket = control.sock\n")
    ran = openapi(server.folder, "-i", "server.ini")
    assert (0, "") == (ran.returncode, ran.stderr)
    headers = {"Authorization": "Bearer a-key-of-enough-letters"}
    assert server.get("/-/openapi.json", headers=headers).json() == json.loads(ran.stdout)
    server.stop()
    ran = openapi(server.folder, "-i", "server.ini")
    assert (1, "") == (ran.returncode, ran.stdout)
    assert "no server runs" in ran.stderr
