"""`plugincore.testing`: what a client shows of a plugin is what the server would show."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from plugincore.baseplugin import BasePlugin
from plugincore.configfile import Config
from plugincore.responses import StreamingResponse
from plugincore.testing import PluginClient, SyncPluginClient
from plugincore.testing_pytest import OpenClient
from support.errors import without_ids
from support.server import Launch

ROOT = Path(__file__).parent.parent.parent
pytest_plugins = ["plugincore.testing_pytest"]


class Mirror(BasePlugin):
    """Answers with what it was asked."""

    http_methods = ("GET", "POST", "PUT", "PATCH", "DELETE")

    async def request_handler(self, **data: Any) -> tuple[int, Any]:
        """Show the variables and some of the request."""
        request, headers = data.pop("request"), data.pop("request_headers")
        data.pop("log")
        return 200, {
            **data,
            "method": request.method,
            "path": request.path_qs,
            "body": (await request.read()).decode(),
            "type": request.content_type,
            "cookies": dict(request.cookies),
            "headers": {name: value for name, value in headers.items() if name.startswith("X-")},
        }


class Raises(BasePlugin):
    """Fails at each request."""

    async def request_handler(self, **data: Any) -> None:
        """Raise the requested exception."""
        raise LookupError("no", data["subpath"])


class Life(BasePlugin):
    """Notes what happens to it."""

    def __init__(self, **kwargs: Any) -> None:
        """Begin the list."""
        super().__init__(**kwargs)
        self.kwargs = kwargs
        self.events = ["init"]

    async def initialize(self, **kwargs: Any) -> None:
        """Start a task that never ends."""
        assert kwargs == self.kwargs
        self.events.append("initialize")
        self.task = asyncio.create_task(asyncio.Event().wait())

    def request_handler(self, **data: Any) -> list[str]:
        """Answer without waiting."""
        self.events.append("request")
        return self.events

    async def terminate_plugin(self) -> None:
        """Note the end."""
        self.events.append("terminate")


def test_requests_reach_the_plugin_as_from_the_network(plugin_client: OpenClient) -> None:
    """Path, query, headers, cookies and address are in the places that the documentation names."""
    client = plugin_client(Mirror, client_ip="192.0.2.7", headers={"X-Own": "client", "X-Also": "1"})
    answer = client.get(
        "/a b/c%2Fd?x=1", query={"y": ["2", "3"], "ü": "&"}, headers={"x-own": "request"}, cookies={"k": "v"}
    )
    assert (200, "application/json", True) == (answer.status, answer.content_type, answer.ok)
    shown = answer.json()
    assert {"x": "1", "y": "2", "ü": "&"} == {name: shown[name] for name in "xyü"}
    assert ("a b/c/d", "192.0.2.7", "GET") == (shown["subpath"], shown["client_ip"], shown["method"])
    assert "/mirror/a%20b/c%2Fd?x=1&y=2&y=3&%C3%BC=%26" == shown["path"]
    assert ({"X-Own": "request", "X-Also": "1"}, {"k": "v"}) == (shown["headers"], shown["cookies"])
    assert [None, "", "a/"] == [client.get(path).json()["subpath"] for path in ("", "/", "a/")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"json": {"n": 1, "é": [None]}}, {"n": 1, "é": [None], "type": "application/json"}),
        ({"data": {"n": 1, "m": ["a", "b"]}}, {"n": "1", "m": "a", "type": "application/x-www-form-urlencoded"}),
        ({"data": "tête"}, {"body": "tête", "type": "text/plain"}),
        ({"data": b'{"n": 2}'}, {"n": 2, "body": '{"n": 2}'}),
        ({"data": "{}", "headers": {"content-type": "text/x"}}, {"type": "text/x"}),
    ],
    ids=["json", "form", "text", "bytes", "own type"],
)
def test_bodies_of_all_kinds_can_be_sent(plugin_client: OpenClient, options: dict[str, Any], expected: object) -> None:
    """JSON and forms become variables; the content type is the one that fits unless the test names another."""
    client = plugin_client(Mirror)
    for method in (client.post, client.put, client.patch, client.delete):
        shown = method(**options).json()
        assert expected == {name: shown[name] for name in expected}  # type: ignore[attr-defined]


def test_a_request_has_one_body(plugin_client: OpenClient) -> None:
    """Two bodies are a mistake of the test, and reported as one."""
    with pytest.raises(ValueError, match="json or data"):
        plugin_client(Mirror).post(json=1, data="x")


def test_the_life_of_a_plugin_is_that_in_the_server() -> None:
    """It is initialised before the first request and terminated at the end, then its tasks are ended."""
    with SyncPluginClient(Life) as client:
        plugin = client.plugin
        assert ["init", "initialize", "request"] == client.get().json()
        assert not plugin.task.done()
    assert ["init", "initialize", "request", "terminate"] == plugin.events
    assert plugin.task.cancelled()
    for use in (client.get, lambda: client.plugin):
        with pytest.raises(RuntimeError, match="with"):
            use()
    with client:
        assert client.plugin is not plugin


def test_a_client_for_tests_that_run_on_a_loop() -> None:
    """Requests are awaited, and several can run at once; the test's own tasks do not become the plugin's."""

    async def check() -> None:
        async with PluginClient(Life) as client:
            mine = asyncio.create_task(asyncio.Event().wait())
            await asyncio.gather(*(client.get() for _ in range(20)))
            assert 20 == client.plugin.events.count("request")
        assert client._rehearsal.instance is None
        assert not mine.done()
        mine.cancel()

    asyncio.run(check())


def test_two_plugins_can_be_tested_at_once(plugin_client: OpenClient) -> None:
    """Clients share nothing, on one loop or on several."""

    async def check() -> None:
        async with PluginClient(Life) as one, PluginClient(Life) as other, PluginClient(Mirror) as third:
            await one.get()
            assert (200, ["init", "initialize", "request"]) == ((await third.get()).status, (await other.get()).json())

    asyncio.run(check())
    first, second = plugin_client(Life), plugin_client(Mirror)
    assert [200, 200, 200] == [client.get().status for client in (first, second, first)]


def test_a_plugin_gets_its_configuration_and_parameters(plugin_client: OpenClient, tmp_path: Path) -> None:
    """As in the server: a `Config`, parameters as text, and typed ones where a JSON file would give them."""
    sections = {"shop": {"size": 3}, "plugin_parms": {"test_testing": "colour=red&size=1"}}
    plugin = plugin_client(Life, config=sections, params={"size": 7}).plugin
    assert ("red", 7, 3) == (plugin.kwargs["colour"], plugin.kwargs["size"], plugin.config.shop.size)
    assert plugin.config.shop.top_config is plugin.config
    assert (str(Path(__file__).parent), "INFO") == (plugin.config.paths.plugins, plugin.config.logging.level)
    assert {"a": "1", "b": "x y"} == {k: plugin_client(Life, params="a=1&b=x+y").plugin.kwargs[k] for k in "ab"}
    ini = tmp_path / "server.ini"
    ini.write_text("[paths]\nplugins = elsewhere\n[network]\nport = int:1\n[shop]\nprice = float:2.5\n")
    config = plugin_client(Life, config=ini).plugin.config
    assert (2.5, "elsewhere") == (config.shop.price, config.paths.plugins)
    mine = Config(items={"one": 1})
    assert plugin_client(Life, config=mine).plugin.config is mine
    with pytest.raises(FileNotFoundError, match=r"none\.ini"):
        PluginClient(Life, config=tmp_path / "none.ini")


def test_keys_are_asked_for_as_by_the_server(plugin_client: OpenClient) -> None:
    """The native check is the server's; an overloaded one is asked."""
    keyed = {"auth_type": "plugin", "apikey": "sesame"}
    client = plugin_client(Mirror, params=keyed)
    refused = client.get()
    assert (403, {"error": "unauthorized"}) == (refused.status, without_ids(refused.json()))
    assert 200 == client.get(headers={"Authorization": "Bearer sesame"}).status
    assert 200 == client.post(json={"apikey": "sesame"}).status
    shared = plugin_client(Mirror, config={"auth": {"apikey": "shared"}}, params="auth_type=global")
    assert [403, 200] == [shared.get(query={"apikey": key}).status for key in ("sesame", "shared")]

    class Asked(Mirror):
        def _check_auth(self, data: dict[str, Any]) -> bool:
            return data.get("who") == "me"

    client = plugin_client(Asked)
    assert [403, 200] == [client.get(query={"who": who}).status for who in ("you", "me")]


def test_the_server_s_settings_count(plugin_client: OpenClient) -> None:
    """Limits, CORS and compatibility are read from the configuration; a wrong value is reported."""
    config = {
        "server": {"body_limit": 10},
        "cors": {"enabled": True, "origin_url": ["https://a.example"]},
        "compat": {"legacy_status": True},
    }
    client = plugin_client(Raises, config=config)
    assert 413 == client.post(data="x" * 11).status
    answer = client.get(headers={"Origin": "https://a.example"})
    assert (200, "https://a.example") == (answer.status, answer.headers["Access-Control-Allow-Origin"])
    assert 204 == client.options().status
    assert 405 == client.delete().status
    with pytest.raises(ValueError, match=r"\[server\] body_limit"):
        PluginClient(Mirror, config={"server": {"body_limit": "much"}})


def test_a_failing_handler_answers_500_and_shows_its_exception(plugin_client: OpenClient) -> None:
    """The client sees the server's answer; the test may look behind it, or have it raised."""
    answer = plugin_client(Raises).get("/x")
    assert (500, "exception", "LookupError") == (answer.status, answer.json()["status"], answer.json()["type"])
    assert ("no", "x") == getattr(answer.exception, "args", None)
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"]
    with pytest.raises(LookupError, match="no"):
        plugin_client(Raises, raise_plugin_exceptions=True).get()
    assert plugin_client(Mirror).get().exception is None


@pytest.mark.parametrize("moment", ["__init__", "initialize", "terminate_plugin"])
def test_what_the_life_cycle_raises_comes_out(moment: str) -> None:
    """The test sees the plugin's own exception, and the client can be thrown away afterwards."""

    def fail(self: object, **kwargs: Any) -> None:
        raise ArithmeticError(moment)

    client = SyncPluginClient(type("Broken", (Life,), {moment: fail}))
    entered = False
    with pytest.raises(ArithmeticError, match=moment), client:
        entered = True
    assert entered == (moment == "terminate_plugin")
    with pytest.raises(RuntimeError, match="with"):
        client.get()


FILE = """
    import beside
    from plugincore.baseplugin import BasePlugin

    class First(BasePlugin):
        def request_handler(self, **data):
            return 200, {"file": __name__, "first": beside.NAME, "size": self.args["size"]}
"""
SECOND = """
    class Second(BasePlugin):
        async def request_handler(self, **data):
            return 201, "second"
"""


def test_a_file_is_run_as_by_the_server(plugin_client: OpenClient, tmp_path: Path) -> None:
    """Helpers beside it are found, its name is its stem, its parameters are those of its section; all is undone."""
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n")
    file = tmp_path / "rehearsed.py"
    file.write_text(textwrap.dedent(FILE))
    path = list(sys.path)
    with SyncPluginClient(file, config={"plugin_parms": {"rehearsed": "size=4"}}) as client:
        assert {"file": "rehearsed", "first": "beside", "size": "4"} == client.get().json()
        assert "rehearsed" in sys.modules
    assert path == sys.path
    assert "rehearsed" not in sys.modules
    file.write_text(textwrap.dedent(FILE) + textwrap.dedent(SECOND))
    with pytest.raises(ValueError, match=r"rehearsed\.py defines First, Second; say which is meant with class_name"):
        plugin_client(file)
    assert (201, "second", "text/html") == (
        (answer := plugin_client(file, class_name="Second").get()).status,
        answer.text,
        answer.content_type,
    )


@pytest.mark.parametrize(
    ("source", "error"), [("def (:", SyntaxError), ("import nowhere_at_all", ImportError), ("x = 1", ValueError)]
)
def test_a_file_that_does_not_load_raises(tmp_path: Path, source: str, error: type[Exception]) -> None:
    """What is wrong with it comes out as what it is."""
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(error), SyncPluginClient(tmp_path / "bad.py"):
        pass


def test_only_plugins_can_be_tested() -> None:
    """A class that is not a plugin is refused before anything runs."""
    with pytest.raises(TypeError, match="dict is not derived from BasePlugin"):
        PluginClient(dict)  # type: ignore[arg-type]


def test_an_answer_can_be_looked_at(plugin_client: OpenClient) -> None:
    """Status, repeated headers, cookies, text and bytes are at hand."""

    class Rich(BasePlugin):
        def request_handler(self, **data: Any) -> object:
            cookies = ["a=1; Path=/", "b=2; HttpOnly"]
            return 299, "é".encode("latin-1"), {"Set-Cookie": cookies, "Content-Type": "text/plain; charset=latin-1"}

    answer = plugin_client(Rich).get()
    assert (299, b"\xe9", "é", "text/plain", "latin-1") == (
        answer.status,
        answer.body,
        answer.text,
        answer.content_type,
        answer.charset,
    )
    assert ["a=1; Path=/", "b=2; HttpOnly"] == answer.headers.getall("set-cookie")
    assert ("1", "/", True) == (answer.cookies["a"].value, answer.cookies["a"]["path"], answer.cookies["b"]["httponly"])
    assert b"" == plugin_client(Rich).head().body


def test_a_client_that_stops_waiting_is_seen_as_gone(plugin_client: OpenClient) -> None:
    """A timeout of the test ends the wait, and the client goes on to work."""

    class Slow(BasePlugin):
        async def initialize(self, **kwargs: Any) -> None:
            self.gate = asyncio.Event()

        async def request_handler(self, **data: Any) -> str:
            await self.gate.wait()
            return "done"

    client = plugin_client(Slow)
    with pytest.raises(asyncio.TimeoutError):
        client.get(timeout=0.01)
    client.plugin.gate.set()
    assert "done" == client.get().text


class Streams(BasePlugin):
    """Answers piece by piece."""

    async def initialize(self, **kwargs: Any) -> None:
        """Have something to wait for."""
        self.left = asyncio.Event()

    async def pieces(self) -> AsyncIterator[str]:
        """Give a few."""
        for number in range(3):
            await asyncio.sleep(0)
            yield f"{number};"

    async def endless(self) -> AsyncIterator[bytes]:
        """Give more than any client takes."""
        try:
            while True:
                yield bytes(65536)
        finally:
            self.left.set()

    async def broken(self) -> AsyncIterator[bytes]:
        """Fail in the middle."""
        yield b"some"
        raise ValueError("no more")

    async def request_handler(self, **data: Any) -> object:
        """Answer with the iterator that the path names."""
        return StreamingResponse(getattr(self, data["subpath"])(), content_type="text/plain")


def test_a_streamed_answer_is_collected(plugin_client: OpenClient) -> None:
    """The test gets the whole body; one that breaks off is no answer."""
    client = plugin_client(Streams)
    answer = client.get("/pieces")
    assert (200, "text/plain", "0;1;2;") == (answer.status, answer.content_type, answer.text)
    with pytest.raises(ConnectionError, match="broke off"):
        client.get("/broken")
    with pytest.raises(asyncio.TimeoutError):
        client.get("/endless", timeout=0.1)
    client.run(client.plugin.left.wait())


def test_leaving_with_a_request_under_way_tells_it(plugin_client: OpenClient) -> None:
    """Nothing hangs when the client is left while a handler still waits, and the handler does not outlive it."""

    class Stuck(BasePlugin):
        async def request_handler(self, **data: Any) -> None:
            self.entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.left = True

        async def initialize(self, **kwargs: Any) -> None:
            self.entered = asyncio.Event()

    async def check() -> None:
        async with PluginClient(Stuck) as client:
            asked = asyncio.create_task(client.get())
            plugin = client.plugin
            await plugin.entered.wait()
        assert plugin.left
        with pytest.raises(ConnectionError, match="closed"):
            await asked
        assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(check())


def test_no_thread_or_descriptor_is_left_behind() -> None:
    """A test suite may open as many clients as it likes."""

    def held() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    with SyncPluginClient(Mirror) as client:
        client.get()
    before = held()
    for _ in range(20):
        with SyncPluginClient(Mirror) as client:
            assert 200 == client.get().status
    assert before == held()


def test_the_server_answers_the_same(launch: Launch, tmp_path: Path) -> None:
    """A file asked through the client and through a server gives the same statuses, headers and bodies."""
    source = textwrap.dedent("""
        from plugincore.baseplugin import BasePlugin

        class Same(BasePlugin):
            async def request_handler(self, kind="dict", **data):
                return {
                    "dict": {"é": [1.5, None, True], "subpath": data["subpath"]},
                    "text": "<p>",
                    "tuple": (418, b"x", {"X-Y": "z"}),
                    "bad": 1j,
                }[kind]
    """)
    (tmp_path / "same.py").write_text(source)
    server = launch({"same": source})

    def told(status: int, headers: Any, body: bytes, request_id: str) -> tuple[object, ...]:
        lowered = {
            name.lower(): value
            for name, value in headers.items()
            if name.lower() not in ("date", "x-request-id", "traceparent")
        }
        return status, lowered, body.replace(request_id.encode() or b"-", b"ID")

    with SyncPluginClient(tmp_path / "same.py") as client:
        for path in ("", "/x?kind=text", "/?kind=tuple", "?kind=bad", "?kind=none"):
            ours, theirs = client.get(path), server.get(f"/same{path}")
            assert told(ours.status, ours.headers, ours.body, ours.headers.get("X-Request-Id", "")) == told(
                theirs.status_code, theirs.headers, theirs.content, theirs.headers.get("X-Request-Id", "")
            )


class Album(BasePlugin):
    """Says what it has received of a form."""

    async def request_handler(self, *, request: Any, **data: Any) -> Any:
        """Say it."""
        form = await request.post()
        return 200, [
            [
                name,
                getattr(value, "filename", None) or value,
                getattr(value, "content_type", None),
                value.file.read().decode() if hasattr(value, "file") else None,
            ]
            for name, value in form.items()
        ]


def test_files_are_sent_as_browsers_do(plugin_client: OpenClient, tmp_path: Path) -> None:
    """By content, by path, by name and content; several in one field, with other fields before them."""
    (tmp_path / "notes.txt").write_text("notes")
    album = plugin_client(Album)
    files = {"a": b"raw", "b": [tmp_path / "notes.txt", ('q"\r\n.png', "text")], "c": ("x", b"1", "image/x")}
    assert [
        ["title", "Me", None, None],
        ["a", "a", "application/octet-stream", "raw"],
        ["b", "notes.txt", "text/plain", "notes"],
        ["b", "q%22%0D%0A.png", "image/png", "text"],
        ["c", "x", "image/x", "1"],
    ] == album.post(data={"title": "Me"}, files=files).json()
    assert [] == album.post(files={}).json()
    for other in ({"json": 1}, {"data": b"raw"}):
        with pytest.raises(ValueError, match="files are sent as a form"):
            album.post(files=files, **other)


class Visits(BasePlugin):
    """Sets cookies as the query says, and says which it has received."""

    def request_handler(self, *, wanted: str = "", request: Any, **data: Any) -> Any:
        """Say it."""
        return 200, dict(request.cookies), {"Set-Cookie": [line for line in wanted.split("|") if line]}


def test_cookies_are_kept_until_they_end(plugin_client: OpenClient) -> None:
    """By age, by date, or by the test; those of one request are not kept."""
    client = plugin_client(Visits)
    client.get(query={"wanted": "a=1; Path=/x|b=2; Max-Age=60|c=3; Expires=Wed, 01 Jan 2200 00:00:00 GMT"})
    assert {"a": "1", "b": "2", "c": "3"} == client.get().json() == client.cookies
    assert {"a": "9", "b": "2", "c": "3"} == client.get(cookies={"a": "9"}).json()
    client.get(query={"wanted": "b=; Max-Age=0|c=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"})
    assert {"a": "1"} == client.get().json()
    client.cookies.clear()
    assert {} == client.get().json()


FIXTURE_TEST = """
    from plugincore.baseplugin import BasePlugin

    class Hello(BasePlugin):
        async def initialize(self, **kwargs):
            self.ended = kwargs["ended"]

        async def request_handler(self, **data):
            return 200, {"hello": "world"}

        def terminate_plugin(self):
            self.ended.append(True)

    ENDED = []

    def test_hello(plugin_client):
        client = plugin_client(Hello, params={"ended": ENDED})
        assert {"hello": "world"} == client.get().json()
        assert [] == ENDED

    def test_afterwards():
        assert [True] == ENDED
"""


def pytest_in(folder: Path) -> str:
    """Run pytest in a folder, with nothing but the fixture; return what it prints after a success."""
    command = [sys.executable, "-m", "pytest", "-p", "plugincore.testing_pytest", "-W", "error", "-q", "."]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=50)
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    return ended.stdout


def test_the_fixture_works_with_plain_pytest(tmp_path: Path) -> None:
    """One fixture, no import, no plugin for asyncio, no warning; the plugin is terminated when its test ends."""
    (tmp_path / "test_hello.py").write_text(textwrap.dedent(FIXTURE_TEST))
    assert "2 passed" in pytest_in(tmp_path)


def test_pytest_is_told_of_the_fixture() -> None:
    """The package names the module to pytest under the name that `-p` takes, and pytest is no requirement of it."""
    project = (ROOT / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\n"plugincore.testing_pytest" = "plugincore.testing_pytest"\n' in project
    program = "import sys, plugincore.testing; print('pytest' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50)
    assert "False\n" == told.stdout


def test_wrong_uses_are_told_with_the_remedy(tmp_path: Path) -> None:
    """A plugin file that is not there, and a client with its own loop where one runs already."""
    with pytest.raises(FileNotFoundError, match=r"there is no plugin file '.*nothing\.py'"):
        SyncPluginClient(tmp_path / "nothing.py")

    async def check() -> None:
        with pytest.raises(RuntimeError, match="use PluginClient"), SyncPluginClient(Mirror):
            pass

    asyncio.run(check())
