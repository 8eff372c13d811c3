"""A plugin that blocks Python while it is loaded or ended is interrupted at its deadline; all else serves on."""

from __future__ import annotations

import pytest

from support.server import Launch

PLUGIN = """
import itertools
import socket
import threading
import time
from plugincore.baseplugin import BasePlugin

def block():
    BLOCK

class Waits(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        pass  # __init__

    async def initialize(self, **kwargs):
        pass  # initialize

    def self_check(self):
        pass  # self_check

    def export_state(self):
        pass  # export_state

    def import_state(self, state):
        pass  # import_state

    def terminate_plugin(self):
        pass  # terminate_plugin

    async def request_handler(self, **data):
        return 200, {"version": VERSION}

# import
"""

MORE = "[server]\nplugin_timeout = 300ms\nshutdown_timeout = 600ms\n"

OTHER = """
from plugincore.baseplugin import BasePlugin

class Other(BasePlugin):
    def request_handler(self, **data):
        return 200, "other"
"""

WAYS = {
    "loop": "for number in itertools.count(): pass",
    "sleep": "time.sleep(3600)",
    "lock": "threading.Event().wait()",
    "socket": "pair = socket.socketpair(); pair[0].recv(1)",
    "stubborn": "[try_to_sleep() for _ in range(3)]",
}

STUBBORN = """
def try_to_sleep():
    try:
        time.sleep(3600)
    except Exception:
        pass
    time.sleep(3600)
"""


def source(version: int, where: str = "", way: str = "") -> str:
    """Return the plugin, with a call that blocks in one of its methods, or at its import."""
    text = PLUGIN.replace("BLOCK", WAYS[way or "sleep"]).replace("VERSION", str(version))
    if way == "stubborn":
        text = text.replace("def block", STUBBORN + "\ndef block")
    if where == "import":
        return text.replace("# import\n", "block()\n")
    return text.replace(f"pass  # {where}\n", f"block()  # {where}\n") if where else text


@pytest.mark.parametrize("where", ["import", "__init__", "initialize", "self_check"])
def test_a_load_that_blocks_is_refused_at_its_deadline(launch: Launch, where: str) -> None:
    """With the line where it was; the old version and the other plugins serve on."""
    server = launch({"waits": source(1), "other": OTHER}, ini_more=MORE)
    (server.plugins / "waits.py").write_text(source(2, where))
    response = server.post("/reload/waits")
    assert 500 == response.status_code
    (reason,) = response.json()["reasons"]
    name = "its import" if where == "import" else where
    assert f"TimeoutError: {name} blocks Python for more than 0.3 s" in reason
    assert reason.startswith("plugins/waits.py:")
    assert ({"version": 1}, "other") == (server.get("/waits").json(), server.get("/other").text)


@pytest.mark.parametrize("way", WAYS)
def test_whatever_blocks_is_interrupted(launch: Launch, way: str) -> None:
    """A loop, a sleep, a lock, a socket, and code that catches the error, which gets it again."""
    server = launch({"waits": source(1)}, ini_more=MORE)
    (server.plugins / "waits.py").write_text(source(2, "import", way))
    response = server.post("/reload/waits")
    assert 500 == response.status_code
    assert "its import blocks Python" in response.json()["reasons"][0]
    assert {"version": 1} == server.get("/waits").json()


@pytest.mark.parametrize("where", ["export_state", "import_state"])
def test_a_state_that_blocks_refuses_the_reload(launch: Launch, where: str) -> None:
    """Nothing changes."""
    server = launch({"waits": source(1, where if where == "export_state" else "")}, ini_more=MORE)
    (server.plugins / "waits.py").write_text(source(2, where))
    response = server.post("/reload/waits")
    assert 500 == response.status_code
    assert f"{where} blocks Python" in response.json()["reasons"][0]
    assert {"version": 1} == server.get("/waits").json()


def test_a_terminate_plugin_that_blocks_does_not_hold_up_the_new_version(launch: Launch) -> None:
    """It is interrupted after `shutdown_timeout`, which the log says."""
    server = launch({"waits": source(1, "terminate_plugin")}, ini_more=MORE)
    (server.plugins / "waits.py").write_text(source(2))
    assert 200 == server.post("/reload/waits").status_code
    server.wait_for("terminate_plugin: TimeoutError: terminate_plugin blocks Python")
    assert {"version": 2} == server.get("/waits").json()


def test_a_start_leaves_a_plugin_out_that_blocks(launch: Launch) -> None:
    """The others serve."""
    server = launch({"waits": source(1, "import"), "other": OTHER}, ini_more=MORE)
    assert "other" == server.get("/other").text
    assert 404 == server.get("/waits").status_code
    assert any("plugins/waits.py:" in line and "its import blocks Python" in line for line in server.lines)


def test_what_takes_long_without_blocking_is_not_interrupted(launch: Launch) -> None:
    """Other code that runs meanwhile, such as a handler that blocks longer than the limit, never gets the error."""
    slow = OTHER.replace('return 200, "other"', 'import time; time.sleep(0.5); return 200, "other"')
    waits = source(1).replace("pass  # initialize", "import asyncio; print('initializing'); await asyncio.sleep(0.2)")
    server = launch({"waits": waits, "other": slow}, ini_more=MORE)
    for _ in range(3):
        assert "other" == server.get("/other").text
        assert 200 == server.post("/reload/waits").status_code
    assert "blocks Python" not in server.log
