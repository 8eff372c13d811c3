"""Plugins that reach beyond themselves: into the host's tasks, the process's folder, and past every measure."""

from __future__ import annotations

import signal

import pytest

from support.server import Launch

CANCELS = """
import asyncio
from plugincore.baseplugin import BasePlugin

def cancel_all():
    for task in asyncio.all_tasks():
        task.cancel()

class InHandler(BasePlugin):
    def request_handler(self, **data):
        cancel_all()
        return 200, "cancelled"

class AtEnd(BasePlugin):
    def request_handler(self, **data):
        return 200, "here"

    def terminate_plugin(self):
        cancel_all()

class AtStart(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        cancel_all()

    def request_handler(self, **data):
        return 200, "here"
"""
SIMPLE = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    def request_handler(self, **data):
        return 200, "here"
"""


def test_a_plugin_that_cancels_all_tasks_does_not_end_the_server(launch: Launch) -> None:
    """While loading, in a handler, at a reload and at the stop: the host's own tasks are not among them."""
    server = launch({"cancels": CANCELS, "other": SIMPLE.format(name="Other")})
    for path in ("/inhandler", "/reload/atend", "/reload/all", "/inhandler", "/atend", "/atstart", "/other"):
        assert 200 == server.get(path).status_code, path
    assert 0 == server.stop()


WANDERS = """
import os
from plugincore.baseplugin import BasePlugin

class Wanders(BasePlugin):
    def request_handler(self, **data):
        os.chdir("/")
        return 200, os.getcwd()
"""


def test_a_plugin_that_changes_the_working_directory_does_not_mislead_a_restart(launch: Launch) -> None:
    """The program starts again where it was started, and the pidfile goes with the server."""
    server = launch({"a": WANDERS}, ini_more="pidfile = server.pid\n")
    pidfile = server.folder / "server.pid"
    assert "/" == server.post("/wanders").text
    seen = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started on ", seen)
    assert "/" == server.post("/wanders").text
    assert pidfile.is_file()
    assert 0 == server.stop()
    assert not pidfile.exists()


MANY = """
from plugincore.baseplugin import BasePlugin

class Many(BasePlugin):
    def request_handler(self, **data):
        return 200, "x", [(f"X-{number}", "") for number in range(int(data["count"]))]
"""


@pytest.mark.parametrize("count", [1001, 40000])
def test_an_answer_with_absurdly_many_headers_is_a_clear_500(launch: Launch, count: int) -> None:
    """More than any client reads; nothing breaks over them."""
    server = launch({"many": MANY})
    answer = server.get(f"/many?count={count}")
    assert (500, True) == (answer.status_code, "more than 1000 headers" in answer.json()["error"])
    server.wait_for("it has more than 1000 headers")
