"""Requests beside each other: tasks, contexts, threads, the loop, and clients that wait, leave or come in numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.server import Launch, Server, serving
from support.wait import wait_until
from support.wire import receive_all

CONTEXTS = """
import asyncio
import contextvars
from plugincore.baseplugin import BasePlugin

WHO = contextvars.ContextVar("who", default="nobody")

class Asynchronous(BasePlugin):
    async def request_handler(self, **data):
        before = WHO.get()
        WHO.set(data["who"])
        await asyncio.sleep(0.001)
        return 200, [before, WHO.get()]

class Plain(BasePlugin):
    def request_handler(self, **data):
        before = WHO.get()
        WHO.set(data["who"])
        return 200, [before, WHO.get()]

class Deferred(BasePlugin):
    def request_handler(self, **data):
        before = WHO.get()
        WHO.set(data["who"])
        return self.later(before)

    async def later(self, before):
        await asyncio.sleep(0)
        return 200, [before, WHO.get()]

class Whole(BasePlugin):
    async def handle_request(self, **data):
        WHO.set(data["who"])
        return await super().handle_request(**data)

    async def request_handler(self, **data):
        inner = await asyncio.create_task(self.get())
        return 200, ["nobody", inner]

    async def get(self):
        return WHO.get()

class Changed(BasePlugin):
    async def request_handler(self, **data):
        self.request_handler = self.changed
        return 200, ["nobody", data["who"]]

    def changed(self, **data):
        before = WHO.get()
        WHO.set(data["who"])
        return 200, [before, WHO.get()]
"""

TASKS = """
import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
from plugincore.baseplugin import BasePlugin

LOCK = asyncio.Lock()
AT_IMPORT = (threading.get_ident(), id(asyncio.get_event_loop()))

class Tasks(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.at_init = (threading.get_ident(), id(asyncio.get_event_loop()))
        self.seen = set()

    async def initialize(self, **kwargs):
        self.at_initialize = (threading.get_ident(), id(asyncio.get_running_loop()))

    async def request_handler(self, **data):
        task = asyncio.current_task()
        self.seen.add(task)
        here = (threading.get_ident(), id(asyncio.get_running_loop()))
        return 200, {"tasks": len(self.seen), "repr": repr(task), "main": threading.main_thread().ident == here[0],
                     "same": AT_IMPORT == self.at_init == self.at_initialize == here, "pid": os.getpid(),
                     "known": task in asyncio.all_tasks()}

class Timeouts(BasePlugin):
    async def request_handler(self, **data):
        forever = asyncio.get_running_loop().create_future()
        try:
            if data["subpath"] == "timeout":
                async with asyncio.timeout(0.01):
                    await forever
            elif data["subpath"] == "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(60))
                    group.create_task(self.fail())
            else:
                await asyncio.wait_for(forever, 0.01)
        except (asyncio.TimeoutError, TimeoutError):
            return 200, "timeout"
        except Exception as error:
            return 200, type(error).__name__

    async def fail(self):
        raise ValueError

class Locked(BasePlugin):
    inside = 0
    most = 0

    async def request_handler(self, **data):
        async with LOCK:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await asyncio.sleep(0.001)
            self.inside -= 1
        return 200, self.most

database = sqlite3.connect(":memory:")
database.execute("create table calls (plugin)")

class Stored(BasePlugin):
    async def initialize(self, **kwargs):
        database.execute("insert into calls values ('initialize')")

    async def request_handler(self, **data):
        database.execute("insert into calls values ('async')")
        await asyncio.sleep(0)
        return 200, database.execute("select count(*) from calls").fetchone()[0]

class StoredPlain(BasePlugin):
    def request_handler(self, **data):
        database.execute("insert into calls values ('plain')")
        return 200, database.execute("select count(*) from calls").fetchone()[0]

class Gathering(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.here = 0
        self.complete = asyncio.Event()

    async def request_handler(self, **data):
        self.here += 1
        if self.here == int(data["wanted"]):
            self.complete.set()
        await self.complete.wait()
        return 200, data["who"]
"""

WAITING = """
import asyncio
import gc
import time
from pathlib import Path
from plugincore.baseplugin import BasePlugin

HERE = Path.cwd()

class Blocking(BasePlugin):
    def request_handler(self, **data):
        (HERE / "entered").touch()
        while not (HERE / "go").exists():
            time.sleep(0.005)
        return 200, "blocked"

class Counting(BasePlugin):
    calls = 0

    async def request_handler(self, **data):
        self.calls += 1
        return 200, self.calls

class Slow(BasePlugin):
    async def request_handler(self, **data):
        (HERE / f"entered{data['subpath']}").touch()
        while not (HERE / "go").exists():
            await asyncio.sleep(0.005)
        (HERE / "left").touch()
        return 200, "slow"

class Lost(BasePlugin):
    async def request_handler(self, **data):
        (HERE / "entered").touch()
        await asyncio.get_running_loop().create_future()

class Bare:
    # The least that can be awaited: an iterator without send, throw and close.

    def __init__(self, future):
        self.future = future

    def __await__(self):
        return self

    def __next__(self):
        (HERE / "entered").touch()
        self.future._asyncio_future_blocking = True
        return self.future

class LostBare(BasePlugin):
    def request_handler(self, **data):
        return Bare(asyncio.get_running_loop().create_future())

class CancelledBare(BasePlugin):
    def request_handler(self, **data):
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        return Bare(future)

class Collect(BasePlugin):
    def request_handler(self, **data):
        return 200, gc.collect()

class Keyed(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._auth_type, self._apikey = "plugin", "secret"

    async def request_handler(self, **data):
        return 200, "open"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins that need no server of their own."""
    with serving(tmp_path_factory.mktemp("isolation"), {"contexts": CONTEXTS, "tasks": TASKS}) as server:
        yield server
        assert 0 == server.stop()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Return threads for clients that wait."""
    with ThreadPoolExecutor(100) as pool:
        yield pool


def exists(file: Path) -> Callable[[], bool]:
    """Return the question whether ``file`` is there."""
    return file.exists


@pytest.mark.parametrize("plugin", ["asynchronous", "plain", "deferred", "whole", "changed"])
def test_context_variables_do_not_leak_from_one_request_to_another(
    server: Server, pool: ThreadPoolExecutor, plugin: str
) -> None:
    """What a handler sets is seen by what it calls and starts, and by no other request, one after or beside it."""
    with server.client() as client:
        for who in ("a", "b", "c"):
            assert ["nobody", who] == client.get(f"/{plugin}?who={who}").json()
        answers = pool.map(lambda who: client.get(f"/{plugin}?who={who}").json(), map(str, range(60)))
        assert [["nobody", str(who)] for who in range(60)] == list(answers)


def test_each_request_has_its_own_task_on_the_one_loop_of_the_main_thread(server: Server) -> None:
    """Import, constructor, `initialize` and all handlers share the loop and the thread; the task is the request's."""
    with server.client() as client:
        seen = [client.get("/tasks").json() for _ in range(5)]
    assert [1, 2, 3, 4, 5] == [one["tasks"] for one in seen]
    for one in seen:
        assert (True, True, True, server.process.pid) == (one["main"], one["same"], one["known"], one["pid"])
        assert "request_handler" in one["repr"]


@pytest.mark.parametrize(
    ("way", "outcome"),
    [("wait_for", "timeout"), ("timeout", "timeout"), ("group", "ExceptionGroup")],
)
def test_asyncios_own_ways_to_limit_work_are_usable(server: Server, way: str, outcome: str) -> None:
    """`asyncio.timeout` and task groups need to cancel the request's task and take the cancellation back."""
    with server.client() as client:
        for _ in range(3):
            assert outcome == client.get(f"/timeouts/{way}").text


def test_a_lock_made_at_import_excludes(server: Server, pool: ThreadPoolExecutor) -> None:
    """Objects of asyncio may be made before any handler runs; they belong to the loop that serves."""
    with server.client() as client:
        assert {1} == set(pool.map(lambda _: client.get("/locked").json(), range(30)))


def test_a_connection_of_sqlite_is_used_from_all_handlers(server: Server) -> None:
    """Such a connection refuses other threads than its own, and it was opened at import."""
    assert 2 == server.get("/stored").json()
    assert 3 == server.get("/storedplain").json()
    assert 4 == server.get("/stored").json()


def test_slow_handlers_wait_side_by_side(server: Server, pool: ThreadPoolExecutor) -> None:
    """All of a hundred requests are inside their handlers at the same time, and each gets its own answer."""
    with server.client() as client:
        answers = pool.map(lambda who: client.get(f"/gathering?wanted=100&who={who}").text, range(100))
        assert [str(who) for who in range(100)] == list(answers)


@pytest.fixture
def waiting(launch: Launch) -> Server:
    """Return a server whose plugins wait until the test lets them go."""
    more = "[server]\nmax_in_flight = 4\nmax_in_flight_per_plugin = 2\n[auth]\napikey = k\n"
    return launch({"waiting": WAITING}, ini_more=more)


def enter(server: Server, pool: ThreadPoolExecutor, path: str, file: str = "entered") -> Future[httpx.Response]:
    """Send a request whose handler waits; return when it is inside."""
    answer = pool.submit(server.get, path)
    wait_until(exists(server.folder / file))
    return answer


def test_native_answers_come_while_a_plugin_blocks(waiting: Server, pool: ThreadPoolExecutor) -> None:
    """Refusals, health and preflights never wait for a plugin; the blocked answer comes only after all of them."""
    blocked = enter(waiting, pool, "/blocking")
    assert 403 == waiting.get("/keyed").status_code
    assert 403 == waiting.post("/keyed", content='{"apikey": "wrong"}').status_code
    assert 403 == waiting.get("/plugins").status_code
    assert 200 == waiting.get("/plugins?apikey=k").status_code
    assert 404 == waiting.get("/nothing").status_code
    assert 405 == waiting.request("PUT", "/counting").status_code
    assert 204 == waiting.request("OPTIONS", "/counting").status_code
    assert 413 == waiting.post("/counting", content=b"x" * 2_000_000).status_code
    assert 400 == waiting.get("/counting/%2e%2e/x").status_code
    assert 200 == waiting.get("/-/healthy").status_code
    assert 200 == waiting.get("/-/ready").status_code
    assert not blocked.done()
    (waiting.folder / "go").touch()
    assert "blocked" == blocked.result().text


def test_a_request_whose_client_left_while_it_was_queued_is_skipped(waiting: Server, pool: ThreadPoolExecutor) -> None:
    """The answer would not be read, so the handler does not run."""
    blocked = enter(waiting, pool, "/blocking")
    with waiting.connect() as leaving:
        leaving.sendall(b"GET /counting HTTP/1.1\r\nHost: x\r\n\r\n")
        assert 200 == waiting.get("/-/healthy").status_code
        since = len(waiting.lines)
    # For a moment it could be one that has only finished sending.
    waiting.wait_for("connection ended", since)
    staying = pool.submit(waiting.get, "/counting")
    (waiting.folder / "go").touch()
    assert "1" == staying.result().text
    assert "blocked" == blocked.result().text


def test_a_client_that_leaves_while_its_handler_runs_disturbs_nothing(waiting: Server) -> None:
    """The handler runs to its end, as in pluginserver."""
    with waiting.connect() as leaving:
        leaving.sendall(b"GET /slow/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(exists(waiting.folder / "entered1"))
    (waiting.folder / "go").touch()
    wait_until(exists(waiting.folder / "left"))
    assert "1" == waiting.get("/counting").text
    assert 0 == waiting.stop()
    assert "Traceback" not in waiting.log


def test_requests_above_the_limit_of_a_plugin_are_refused_at_once(waiting: Server, pool: ThreadPoolExecutor) -> None:
    """As many run as may; the next gets 503 and when to come again, other plugins serve, and places come free."""
    running = [enter(waiting, pool, f"/slow/{number}", f"entered{number}") for number in (1, 2)]
    refused = waiting.get("/slow/3")
    assert (503, "1") == (refused.status_code, refused.headers["retry-after"])
    assert not (waiting.folder / "entered3").exists()
    assert "1" == waiting.get("/counting").text
    (waiting.folder / "go").touch()
    assert ["slow", "slow"] == [answer.result().text for answer in running]
    assert "slow" == waiting.get("/slow/4").text


def test_requests_above_the_limit_of_the_server_are_refused_at_once(waiting: Server, pool: ThreadPoolExecutor) -> None:
    """The limit over all plugins counts those that are queued behind a blocking one, too."""
    running = [enter(waiting, pool, f"/slow/{number}", f"entered{number}") for number in (1, 2)]
    running.append(enter(waiting, pool, "/blocking"))
    others = [pool.submit(waiting.get, "/counting") for _ in range(3)]
    wait_until(lambda: sum(other.done() for other in others) == 2)
    refused = [other.result().status_code for other in others if other.done()]
    (waiting.folder / "go").touch()
    assert ["slow", "slow", "blocked"] == [answer.result().text for answer in running]
    assert [503, 503] == refused
    assert [200, 503, 503] == sorted(other.result().status_code for other in others)
    assert "2" == waiting.get("/counting").text


@pytest.mark.parametrize("plugin", ["lost", "lostbare"])
def test_a_request_whose_task_nobody_can_wake_is_answered(
    waiting: Server, pool: ThreadPoolExecutor, plugin: str
) -> None:
    """A handler that awaits what no one will ever set is garbage; its client gets a 500 when it is collected."""
    lost = enter(waiting, pool, f"/{plugin}")
    assert 200 == waiting.get("/collect").status_code
    answer = lost.result()
    assert (500, "the request was interrupted") == (answer.status_code, answer.json()["error"])
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_cancellation_reaches_a_request_that_waits_for_a_bare_iterator(waiting: Server) -> None:
    """What cannot catch an exception lets it through, as with `yield from`."""
    answer = waiting.get("/cancelledbare")
    assert (500, "CancelledError") == (answer.status_code, answer.json()["type"])


KEEPSAKES = """
import asyncio
import time
import weakref
from pathlib import Path
from plugincore.baseplugin import BasePlugin

HERE = Path.cwd()

class Weak(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = weakref.WeakKeyDictionary()

    async def request_handler(self, **data):
        task = asyncio.current_task()
        known = task in self.calls
        self.calls[task] = data["subpath"]
        return 200, known

class Named(BasePlugin):
    async def request_handler(self, **data):
        task = asyncio.current_task()
        name = task.get_name()
        task.set_name("mine")
        return 200, [name]

class Called(BasePlugin):
    ended = 0

    async def request_handler(self, **data):
        asyncio.current_task().add_done_callback(self.count)
        return 200, self.ended

    def count(self, task):
        self.ended += task.done() and task.exception() is None

class Cancelling(BasePlugin):
    async def request_handler(self, **data):
        asyncio.current_task().cancel()
        if data["subpath"] == "future":
            future = asyncio.get_running_loop().create_future()
            try:
                await future
            except asyncio.CancelledError:
                return 200, [future.cancelled()]
        elif data["subpath"] == "turn":
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return 200, ["cancelled"]
        return 200, ["returned"]

class Awaiting(BasePlugin):
    async def request_handler(self, **data):
        await asyncio.sleep(0)
        return 200, len(asyncio.all_tasks())

class Driven(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.kept = []

    async def request_handler(self, **data):
        coroutine = asyncio.current_task().get_coro()
        self.kept.append(coroutine)
        return 200, [coroutine.cr_code.co_name, sum(kept is coroutine for kept in self.kept)]

class Holding(BasePlugin):
    # Holds the loop, so that what comes meanwhile is served in one turn.

    def request_handler(self, **data):
        (HERE / "holding").touch()
        while not (HERE / "let-go").exists():
            time.sleep(0.001)
        (HERE / "holding").unlink()
        (HERE / "let-go").unlink()
        return 200, "held"

class Everybody(BasePlugin):
    # A plain handler that meddles with all tasks there are, and sees later what became of them.

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.met = []

    def request_handler(self, **data):
        if data["subpath"] == "pending":
            return 200, sum(not task.done() for task in self.met)
        for task in asyncio.all_tasks():
            self.met.append(task)
            if data["subpath"] == "cancel":
                task.cancel()
        return 200, ["met"]
"""


@pytest.fixture(scope="module")
def keepsakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve plugins that leave something with the task they run in."""
    with serving(tmp_path_factory.mktemp("keepsakes"), {"keepsakes": KEEPSAKES}) as server:
        yield server
        assert 0 == server.stop()


def together(server: Server, pool: ThreadPoolExecutor, paths: list[str]) -> list[object]:
    """Return the answers to ``paths``, all of which wait when the loop begins with the first."""
    with server.client() as client, contextlib.ExitStack() as connections:
        holding = pool.submit(client.get, "/holding")
        wait_until(exists(server.folder / "holding"))
        asked = []
        for path in paths:
            asked.append(connections.enter_context(server.connect()))
            asked[-1].sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        # Answered by the thread that has read what was sent before.
        assert 200 == server.get("/-/healthy").status_code
        (server.folder / "let-go").touch()
        assert 200 == holding.result().status_code
        return [json.loads(receive_all(connection).partition(b"\r\n\r\n")[2]) for connection in asked]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/weak", False),
        ("/named", ["request"]),
        ("/driven", ["request_handler", 1]),
        ("/cancelling", ["returned"]),
        ("/cancelling/future", [True]),
        ("/cancelling/turn", ["cancelled"]),
    ],
)
def test_what_a_request_leaves_with_its_task_is_not_found_by_the_next(
    keepsakes: Server, pool: ThreadPoolExecutor, path: str, answer: object
) -> None:
    """Entries under the task, its name, its coroutine and its cancellation are one request's, whenever it is served."""
    with keepsakes.client() as client:
        assert [answer] * 3 == [client.get(path).json() for _ in range(3)]
    assert [answer] * 30 == together(keepsakes, pool, [path] * 30)
    mixed = together(keepsakes, pool, [path, "/awaiting"] * 10)
    assert [answer] * 10 == mixed[::2]
    assert all(isinstance(count, int) for count in mixed[1::2])


def test_callbacks_of_a_requests_task_are_called_when_that_request_has_ended(
    keepsakes: Server, pool: ThreadPoolExecutor
) -> None:
    """Each task that was given a callback comes to its end, as one that is done."""
    together(keepsakes, pool, ["/called"] * 20)
    with keepsakes.client() as client:
        assert [20, 21, 22] == [client.get("/called").json() for _ in range(3)]


@pytest.mark.parametrize("way", ["", "/cancel"])
def test_a_handler_that_meddles_with_all_tasks_disturbs_no_request_after_it(
    keepsakes: Server, pool: ThreadPoolExecutor, way: str
) -> None:
    """Code that keeps a task between two requests sees it done in the end; the requests are answered."""
    assert [["request"], ["met"], ["request"]] * 8 == together(
        keepsakes, pool, ["/named", f"/everybody{way}", "/named"] * 8
    )
    with keepsakes.client() as client:
        assert 0 == client.get("/everybody/pending").json()
