"""Context variables that a plugin sets while it is loaded; the precision of ``decimal`` is the best known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugincore.testing import SyncPluginClient
from support.server import Launch, Server, serving

PLUGIN = """
import asyncio, decimal
from contextvars import ContextVar
from plugincore.baseplugin import BasePlugin

decimal.getcontext().prec = 6
IMPORTED, BUILT, INITIALISED, REQUEST = (
    ContextVar(name, default="unset") for name in ("imported", "built", "initialised", "request")
)
IMPORTED.set("at import")

def seen():
    third = str(decimal.Decimal(1) / decimal.Decimal(3))
    return [third, IMPORTED.get(), BUILT.get(), INITIALISED.get(), REQUEST.get()]

class Base(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        BUILT.set("in __init__")
        self.started = asyncio.get_running_loop().create_task(self.later())
        self.result = None

    async def later(self):
        await asyncio.sleep(0)
        self.result = seen()
        IMPORTED.set("by a task")

    async def initialize(self, **kwargs):
        before = INITIALISED.get()
        await asyncio.sleep(0)
        INITIALISED.set(f"in initialize after {before}" if type(self) is Waiting else "in initialize")
        await asyncio.sleep(0)

    def terminate_plugin(self):
        print(f"terminating {type(self).__name__}: {seen()}", flush=True)
        IMPORTED.set("by another's end")

class Constant(Base):
    async def request_handler(self, **data):
        answer = seen()
        REQUEST.set("by a request")
        decimal.setcontext(decimal.Context(prec=3))
        return 200, answer

class Plain(Base):
    def request_handler(self, **data):
        answer = seen()
        REQUEST.set("by a request")
        IMPORTED.set("by a request")
        return 200, answer

class Overriding(Base):
    async def handle_request(self, **data):
        return await super().handle_request(**data)

    async def request_handler(self, **data):
        REQUEST.set("in the handler")
        return 200, await asyncio.create_task(self.get())

    async def get(self):
        return seen()

class Task(Base):
    async def request_handler(self, **data):
        await self.started
        return 200, self.result

class Waiting(Base):
    async def request_handler(self, **data):
        await asyncio.sleep(0.001)
        return 200, seen()

    async def terminate_plugin(self):
        await asyncio.sleep(0)
        super().terminate_plugin()
"""

OTHER = """
import decimal
from plugincore.baseplugin import BasePlugin

class Other(BasePlugin):
    def initialize(self, **kwargs):
        self.before = decimal.getcontext().prec

    async def request_handler(self, **data):
        return 200, [self.before, decimal.getcontext().prec]
"""

SEEN = ["0.333333", "at import", "in __init__", "in initialize after in initialize", "unset"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve plugins that set context variables while they are loaded."""
    with serving(tmp_path_factory.mktemp("context"), {"contexts": PLUGIN, "other": OTHER}) as server:
        yield server


@pytest.mark.parametrize("plugin", ["constant", "plain", "overriding", "waiting"])
def test_what_is_set_while_loading_holds_for_every_handler_of_the_file(server: Server, plugin: str) -> None:
    """At import, in ``__init__`` and in ``initialize``; what a request sets is gone with it."""
    expected = [*SEEN[:4], "in the handler"] if plugin == "overriding" else SEEN
    with server.client() as client:
        assert [expected] * 3 == [client.get(f"/{plugin}").json() for _ in range(3)]


def test_a_task_that_is_started_while_loading_has_what_was_set_before_it(server: Server) -> None:
    """As each task, it has a copy; what it sets is its own."""
    assert ["0.333333", "at import", "in __init__"] == server.get("/task").json()[:3]
    assert SEEN == server.get("/constant").json()


def test_another_file_has_a_context_of_its_own(server: Server) -> None:
    """The precision that one plugin asks for is not forced on the others."""
    assert [28, 28] == server.get("/other").json()


def test_a_reloaded_file_begins_anew(launch: Launch) -> None:
    """What the earlier generation set is gone with it, and its end sees its own."""
    server = launch({"contexts": PLUGIN, "other": OTHER})
    assert SEEN == server.get("/constant").json()
    (server.plugins / "contexts.py").write_text(PLUGIN.replace("prec = 6", "prec = 4"))
    assert 200 == server.get("/reload/constant").status_code
    assert ["0.3333", *SEEN[1:]] == server.get("/constant").json()
    assert 0 == server.stop()
    for kind, third in (("Constant", "0.333333"), ("Waiting", "0.333333"), ("Waiting", "0.3333")):
        assert f"terminating {kind}: {[third, *SEEN[1:]]}" in server.log


def test_it_is_the_same_in_a_plugins_own_tests(tmp_path: Path) -> None:
    """``plugincore.testing`` loads and calls plugins as the server does."""
    file = tmp_path / "contexts.py"
    file.write_text(PLUGIN)
    with SyncPluginClient(file, class_name="Waiting") as client:
        assert [SEEN, SEEN] == [client.get().json() for _ in range(2)]
