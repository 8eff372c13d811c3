"""The addresses below ``/-/api/``: the list of plugins, reloads, draining, and who may use them."""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Callable, Iterator
from urllib.parse import quote

import httpx
import pytest

from support.errors import without_ids
from support.plugins import write_plugins
from support.server import Launch, Server, serving
from support.wait import TIMEOUT, wait_until
from support.wire import ask, post

GREET = """
from plugincore.baseplugin import BasePlugin

class Greet(BasePlugin):
    http_methods = ("GET", "PUT")

    async def request_handler(self, **data):
        if data.get("fail") == "raise":
            raise RuntimeError("on request")
        if data.get("fail") == "status":
            return 502, {"error": "upstream"}
        return 200, {"hello": "world"}
"""

BROKEN = "import plugincore\n\nraise RuntimeError('at import')\n"

TASKS = """
import asyncio
from plugincore.baseplugin import BasePlugin

class Tasks(BasePlugin):
    async def initialize(self, **_):
        self.one = asyncio.create_task(asyncio.Event().wait())

    async def request_handler(self, **data):
        if data.get("more"):
            self.two = asyncio.create_task(asyncio.Event().wait())
        else:
            self.two.cancel()
            await asyncio.sleep(0)
        return 200, {}
"""

GATE = """
import asyncio, builtins, time
from plugincore.baseplugin import BasePlugin

class Gate(BasePlugin):
    async def request_handler(self, **data):
        gate = builtins.__dict__.setdefault("gate", asyncio.Event())  # of all generations
        match data.get("do"):
            case "wait":
                await gate.wait()
            case "open":
                gate.set()
                gate.clear()
            case "block":
                time.sleep(float(data["seconds"]))
        return 200, {}
"""

ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}
KEY = {"Authorization": "Bearer k"}
UNAUTHORIZED = (403, {"error": "unauthorized"})
ADDRESSES = [
    ("GET", "/-/api/plugins"),
    ("POST", "/-/api/reload"),
    ("POST", "/-/api/drain"),
    ("POST", "/-/api/plugins/greet/reload"),
    ("POST", "/-/api/plugins/nobody/reload"),
]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with a key."""
    with serving(tmp_path_factory.mktemp("keyed"), {"greet": GREET}, "[auth]\napikey=k\n") as running:
        yield running


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve without one."""
    with serving(tmp_path_factory.mktemp("keyless"), {"greet": GREET}) as running:
        yield running


def plugins(server: Server) -> dict[str, dict]:
    """Return the statuses by id."""
    answer = server.get("/-/api/plugins")
    assert 200 == answer.status_code, answer.text
    return {status["id"]: status for status in answer.json()["plugins"]}


def test_the_list_names_state_file_routes_and_numbers(launch: Launch) -> None:
    """All of it is known for a plugin that serves."""
    server = launch({"greet": GREET})
    before = datetime.datetime.now(datetime.UTC)
    status = plugins(server)["greet"]
    assert before >= datetime.datetime.fromisoformat(status.pop("loaded_at"))
    status.pop("content_hash")
    assert status == {
        "id": "greet",
        "file": "plugins/greet.py",
        "state": "serving",
        "parked_for": None,
        "generation": 1,
        "previous": False,
        "last_error": None,
        "draining": 0,
        "routes": ["/greet"],
        "methods": ["GET", "HEAD", "PUT", "OPTIONS"],
        "counters": {"requests": 0, "errors": 0, "refused": 0, "in_flight": 0},
        "tasks": 0,
        "stalls": {"count": 0, "seconds": 0.0, "last": None},
    }


def test_requests_and_errors_are_counted_over_reloads(launch: Launch) -> None:
    """A status of 500 or more is an error, whether the handler chose it or raised."""
    server = launch({"greet": GREET})
    for query in ("", "?fail=raise", "?fail=status"):
        server.get(f"/greet{query}")
    server.get("/greet/beyond", headers={"Host": "a b"})
    server.request("DELETE", "/greet")
    assert {"requests": 3, "errors": 2, "refused": 0, "in_flight": 0} == plugins(server)["greet"]["counters"]
    server.get("/reload/greet")
    server.get("/greet")
    status = plugins(server)["greet"]
    assert (2, 4, 2) == (status["generation"], status["counters"]["requests"], status["counters"]["errors"])


def test_background_tasks_are_counted_while_they_live(launch: Launch) -> None:
    """Requests are no background tasks."""
    server = launch({"tasks": TASKS})
    assert 1 == plugins(server)["tasks"]["tasks"]
    server.get("/tasks?more=1")
    assert 2 == plugins(server)["tasks"]["tasks"]
    server.get("/tasks")
    assert 1 == plugins(server)["tasks"]["tasks"]
    server.get("/reload/tasks")
    assert 1 == plugins(server)["tasks"]["tasks"]


def test_a_file_that_fails_at_the_start_is_listed_with_its_error(launch: Launch) -> None:
    """By its name without the ending, since it has no id; with line and traceback."""
    server = launch({"greet": GREET, "broken": BROKEN})
    status = plugins(server)["broken"]
    assert ("failed", 0, None, []) == (status["state"], status["generation"], status["loaded_at"], status["routes"])
    error = status["last_error"]
    assert ("plugins/broken.py", 3) == (error["file"], error["line"])
    assert error["message"].startswith("RuntimeError: at import")
    assert "Traceback" in error["traceback"]
    assert "serving" == plugins(server)["greet"]["state"]


def test_a_failed_file_can_be_loaded_once_it_is_repaired(launch: Launch) -> None:
    """Until then the reload says why not, and changes nothing."""
    server = launch({"greet": BROKEN})
    answer = server.post("/-/api/plugins/greet/reload")
    assert 500 == answer.status_code
    assert "RuntimeError: at import" in answer.json()["reasons"][0]
    write_plugins(server.folder, {"greet": GREET})
    answer = server.post("/-/api/plugins/greet/reload")
    assert (200, {"reloaded": "greet", "success": True}) == (answer.status_code, answer.json())
    assert ("serving", 1, None) == tuple(plugins(server)["greet"][key] for key in ("state", "generation", "last_error"))
    assert 200 == server.get("/greet").status_code


def test_a_reload_that_fails_leaves_its_error_until_the_next_one_succeeds(launch: Launch) -> None:
    """The plugin serves on meanwhile."""
    server = launch({"greet": GREET})
    write_plugins(server.folder, {"greet": BROKEN})
    assert 500 == server.post("/-/api/plugins/greet/reload").status_code
    status = plugins(server)["greet"]
    assert ("serving", 1, 3) == (status["state"], status["generation"], status["last_error"]["line"])
    write_plugins(server.folder, {"greet": GREET})
    assert 200 == server.post("/-/api/reload").status_code
    status = plugins(server)["greet"]
    assert ("serving", 2, None) == (status["state"], status["generation"], status["last_error"])


def test_a_state_that_is_refused_is_the_last_error(launch: Launch) -> None:
    """As any other reason why a reload has failed."""
    source = GREET + "\n    state_version = 1\n    def export_state(self):\n        return 1\n"
    server = launch({"greet": source + "    def import_state(self, state):\n        raise ValueError('not this')\n"})
    assert 500 == server.post("/-/api/plugins/greet/reload").status_code
    status = plugins(server)["greet"]
    assert ("serving", 1) == (status["state"], status["generation"])
    assert status["last_error"]["message"].startswith("ValueError: not this")
    assert "import_state" in status["last_error"]["traceback"]


def test_a_reload_answers_like_the_older_addresses(keyless: Server) -> None:
    """Only that a failed plugin can be named, too."""
    answer = keyless.post("/-/api/plugins/nobody/reload")
    assert (404, {"error": 'Plugin "nobody" not found'}) == (answer.status_code, without_ids(answer.json()))
    answer = keyless.post("/-/api/reload")
    assert {"status": "All plugins reloaded", "loaded_plugins": ["greet"]} == answer.json()


def in_background(call: Callable[[], object]) -> threading.Thread:
    """Run ``call`` on a thread; that its connection may be cut off is no matter here."""

    def run() -> None:
        with contextlib.suppress(httpx.TransportError):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_the_list_is_answered_while_a_plugin_blocks_python(launch: Launch) -> None:
    """It is made beforehand."""
    server = launch({"gate": GATE})
    blocked = in_background(lambda: server.get("/gate?do=block&seconds=3"))
    wait_until(lambda: 1 == plugins(server)["gate"]["counters"]["in_flight"])
    assert 1 == plugins(server)["gate"]["counters"]["in_flight"]
    assert blocked.is_alive(), "the list waited for the plugin"
    assert 200 == server.post("/-/api/drain").status_code
    assert 503 == server.get("/-/ready").status_code
    assert blocked.is_alive(), "draining waited for the plugin"
    blocked.join()


def test_requests_in_the_older_generation_are_shown_as_draining(launch: Launch) -> None:
    """The new one serves meanwhile."""
    server = launch({"gate": GATE}, ini_more="[server]\nshutdown_timeout = 60\n")
    waiting = [in_background(lambda: server.get("/gate?do=wait")) for _ in range(2)]
    wait_until(lambda: 2 == plugins(server)["gate"]["counters"]["in_flight"])
    reload = in_background(lambda: server.post("/-/api/plugins/gate/reload"))
    wait_until(lambda: 2 == plugins(server)["gate"]["generation"])
    status = plugins(server)["gate"]
    assert ("serving", 2) == (status["state"], status["draining"])
    assert 200 == server.get("/gate?do=open").status_code
    for thread in (*waiting, reload):
        thread.join(TIMEOUT)
    assert 0 == plugins(server)["gate"]["draining"]


def test_a_removed_plugin_is_shown_until_its_last_request_has_ended(launch: Launch) -> None:
    """Then it is gone from the list."""
    server = launch(
        {"gate": GATE, "opener": GATE.replace("Gate", "Opener")}, ini_more="[server]\nshutdown_timeout = 60\n"
    )
    waiting = in_background(lambda: server.get("/gate?do=wait"))
    wait_until(lambda: 1 == plugins(server)["gate"]["counters"]["in_flight"])
    (server.plugins / "gate.py").unlink()
    reload = in_background(lambda: server.post("/-/api/reload"))
    wait_until(lambda: "draining" == plugins(server)["gate"]["state"])
    status = plugins(server)["gate"]
    assert (1, 1) == (status["generation"], status["draining"])
    assert 404 == server.get("/gate").status_code
    assert 200 == server.get("/opener?do=open").status_code
    for thread in (waiting, reload):
        thread.join(TIMEOUT)
    assert {"opener"} == set(plugins(server))


def test_draining_fails_the_readiness_and_nothing_else(launch: Launch) -> None:
    """Requests and reloads go on, the readiness does not come back."""
    server = launch({"greet": GREET})
    assert {"status": "draining"} == server.post("/-/api/drain").json()
    assert 503 == server.get("/-/ready").status_code
    assert (200, 200) == (server.get("/greet").status_code, server.get("/-/healthy").status_code)
    assert 200 == server.post("/-/api/reload").status_code
    assert (200, 503) == (server.post("/-/api/drain").status_code, server.get("/-/ready").status_code)
    assert 0 == server.stop()


@pytest.mark.parametrize(("method", "address"), ADDRESSES)
def test_with_a_key_only_those_who_have_it_may_control_the_server(keyed: Server, method: str, address: str) -> None:
    """Others do not even learn which plugins there are."""
    for options in ({}, {"headers": {"Authorization": "Bearer wrong"}}, {"params": {"apikey": "wrong"}}):
        answer = keyed.request(method, address, **options)
        assert UNAUTHORIZED == (answer.status_code, without_ids(answer.json()))
    answer = keyed.request(method, address, headers={**KEY, **ELSEWHERE})
    assert (404 if "nobody" in address else 200) == answer.status_code
    if method == "POST":
        assert 403 != keyed.post(address, json={"apikey": "k"}).status_code


@pytest.mark.parametrize(("method", "address"), ADDRESSES)
@pytest.mark.parametrize(
    "headers",
    [
        ELSEWHERE,
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_without_a_key_neither_strangers_nor_other_sites_may_control_the_server(
    keyless: Server, method: str, address: str, headers: dict[str, str]
) -> None:
    """A page in a browser on the same machine is a stranger."""
    answer = keyless.request(method, address, headers=headers)
    assert 403 == answer.status_code
    assert "apikey in section [auth]" in answer.json()["error"]


@pytest.mark.parametrize(("method", "address"), ADDRESSES)
def test_every_address_has_its_methods(keyless: Server, method: str, address: str) -> None:
    """Nothing is changed by a GET or a HEAD."""
    allow = "GET, HEAD, OPTIONS" if method == "GET" else "POST, OPTIONS"
    for wrong in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"):
        if wrong not in allow:
            answer = keyless.request(wrong, address)
            assert (405, allow) == (answer.status_code, answer.headers["Allow"]), wrong
    answer = keyless.request("OPTIONS", address)
    assert (204, allow) == (answer.status_code, answer.headers["Allow"])


@pytest.mark.parametrize(
    "address",
    [
        "/-/api",
        "/-/api/",
        "/-/api/x",
        "/-/api/plugins/",
        "/-/api/plugins/greet",
        "/-/api/plugins//reload",
        "/-/API/plugins",
    ],
)
def test_other_addresses_do_not_exist(keyless: Server, address: str) -> None:
    """Whatever the method."""
    assert (404, 404) == (keyless.get(address).status_code, keyless.post(address).status_code)


@pytest.mark.parametrize(
    "id_",
    ["../../etc/passwd", "a/b/c", "ä\N{SNOWMAN}", "x" * 8000, "%", "a b", '"\\', "all", "plugins", "reload"],
)
def test_an_odd_id_is_one_that_does_not_exist(keyless: Server, id_: str) -> None:
    """It is named in the answer as it was asked for, unless the path itself is wrong."""
    answer = ask(keyless, post(f"/-/api/plugins/{quote(id_, safe='/')}/reload", b""))
    assert (400 if ".." in id_ else 404) == answer.status, answer.body[:200]
    if answer.status == 404:
        assert f'Plugin "{id_}" not found' == answer.error


def test_an_id_with_slashes_can_be_reloaded(launch: Launch) -> None:
    """Escaped or not; the last segment is the action."""
    server = launch({"greet": GREET}, ini_more="[plugin_parms]\ngreet = route_path=a/b\n")
    for path in ("a/b", "a%2Fb"):
        answer = server.post(f"/-/api/plugins/{path}/reload")
        assert {"reloaded": "a/b", "success": True} == answer.json()
    assert ["/a/b"] == plugins(server)["a/b"]["routes"]


def test_a_body_is_no_trouble(keyless: Server) -> None:
    """A large one is read no further than the limit, and only where a key may be in it."""
    answer = keyless.post("/-/api/reload", content=b"x" * 100_000)
    assert 200 == answer.status_code
