"""What threads of a plugin give to the event loop belongs to the plugin, and ends with it."""

from __future__ import annotations

import pytest

from support.server import Launch, Server
from support.wait import wait_until

#: A plugin that begins a task in one of several ways, and notes what becomes of it.
PLUGIN = """
import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from plugincore.baseplugin import BasePlugin

def note(text):
    with open("events", "a") as events:
        events.write(text + "\\n")

async def work():
    note("begun")
    try:
        await asyncio.sleep(3600)
    finally:
        note("ended")

async def parent():
    await asyncio.create_task(work())

class Tasks(BasePlugin):
    async def initialize(self, **kwargs):
        self.pool = ThreadPoolExecutor(1)

    def begin(self, loop):
        asyncio.run_coroutine_threadsafe(parent(), loop)

    def begin_soon(self, loop):
        loop.call_soon_threadsafe(lambda: setattr(self, "task", asyncio.ensure_future(parent())))

    async def request_handler(self, how, **data):
        loop = asyncio.get_running_loop()
        if how == "thread":
            threading.Thread(target=self.begin, args=(loop,)).start()
        elif how == "thread_soon":
            threading.Thread(target=self.begin_soon, args=(loop,)).start()
        elif how == "subclass":
            plugin = self
            class Own(threading.Thread):
                def run(self):
                    plugin.begin(loop)
            Own().start()
        elif how == "timer":
            threading.Timer(0.001, self.begin, (loop,)).start()
        elif how == "to_thread":
            await asyncio.to_thread(self.begin, loop)
        elif how == "executor":
            await loop.run_in_executor(None, self.begin, loop)
        elif how == "pool":
            await loop.run_in_executor(self.pool, self.begin, loop)
        elif how == "later":
            loop.call_later(0.001, self.begin, loop)
        return 200, {}
"""


def events(server: Server) -> list[str]:
    """Return what the plugin noted."""
    file = server.folder / "events"
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize(
    "how", ["thread", "thread_soon", "subclass", "timer", "to_thread", "executor", "pool", "later"]
)
def test_tasks_that_threads_begin_end_with_their_plugin(launch: Launch, how: str) -> None:
    """Whatever kind of thread it is; a task of another plugin goes on."""
    server = launch({"tasks": PLUGIN, "other": PLUGIN.replace("class Tasks", "class Other")})
    assert 200 == server.get("/other", params={"how": how}).status_code
    wait_until(lambda: ["begun"] == events(server))
    assert 200 == server.get("/tasks", params={"how": how}).status_code
    wait_until(lambda: ["begun", "begun"] == events(server))
    assert 200 == server.post("/reload/tasks").status_code
    assert ["begun", "begun", "ended"] == events(server)


LEAVES = """
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from plugincore.baseplugin import BasePlugin

def note(text):
    with open("events", "a") as events:
        events.write(text + "\\n")

async def late():
    note("late")

class Leaves(BasePlugin):
    async def initialize(self, **kwargs):
        loop = asyncio.get_running_loop()
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="idle")
        self.pool.submit(int).result()
        go_on = threading.Event()

        def stay():
            go_on.wait()
            try:
                asyncio.run_coroutine_threadsafe(late(), loop).result()
            except BaseException as error:
                note(type(error).__name__)

        threading.Thread(target=stay, name="stays", daemon=True).start()
        loop.call_later(0.05, note, "fired")
        loop.call_later(3600, note, "never")
        import builtins
        builtins.go_on = getattr(builtins, "go_on", go_on)

    async def request_handler(self, **data):
        import builtins
        builtins.go_on.set()
        names = [thread.name for thread in threading.enumerate()]
        waiting = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]
        return 200, {"threads": names, "timers": len(waiting)}
"""


def test_what_cannot_be_ended_is_named_and_begins_nothing_any_more(launch: Launch) -> None:
    """A thread goes on with the old code, but its tasks do not begin; timers of the old plugin do not fire."""
    server = launch({"leaves": LEAVES})
    wait_until(lambda: ["fired"] == events(server))
    assert 200 == server.post("/reload/leaves").status_code
    line = server.wait_for("plugin leaves has left threads behind")
    assert "old code: stays; end them in terminate_plugin" in line
    answer = server.get("/leaves").json()
    assert 2 == answer["threads"].count("stays")
    wait_until(lambda: "CancelledError" in events(server))
    assert "late" not in events(server)
    wait_until(lambda: 1 == sum(name.startswith("idle") for name in server.get("/leaves").json()["threads"]))
    wait_until(lambda: 2 == events(server).count("fired"))
    assert 1 == server.get("/leaves").json()["timers"]


def test_a_reload_that_leaves_nothing_behind_says_nothing(launch: Launch) -> None:
    """Threads that have ended, and pools that only the old plugin had, are no news."""
    server = launch({"tasks": PLUGIN})
    for how in ("thread", "pool", "executor"):
        assert 200 == server.get("/tasks", params={"how": how}).status_code
    wait_until(lambda: 3 == events(server).count("begun"))
    assert 200 == server.post("/reload/tasks").status_code
    server.wait_for("Reloaded plugin tasks")
    assert "left threads" not in server.log
