"""``[server] event_loop``: what plugins run on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.server import Launch

PLUGIN = """
    import asyncio
    import contextvars
    from plugincore.baseplugin import BasePlugin

    mark = contextvars.ContextVar("mark", default="unset")

    class Loop(BasePlugin):
        async def request_handler(self, **data):
            before = mark.get()
            mark.set(data["n"])
            await asyncio.wait_for(asyncio.sleep(0.001), 5)
            waited = await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(3)))
            child = await asyncio.create_subprocess_exec("true")
            loop = type(asyncio.get_running_loop()).__module__
            return {"loop": loop, "before": before, "mark": mark.get(), "waited": waited, "child": await child.wait()}
"""


@pytest.mark.parametrize(("given", "module"), [("", "asyncio"), ("asyncio", "asyncio"), ("uvloop", "uvloop")])
def test_plugins_run_on_the_loop_that_is_asked_for(launch: Launch, given: str, module: str) -> None:
    """Handlers wait, start tasks and processes on it, each request in a context of its own, and the end is orderly."""
    server = launch({"loop": PLUGIN}, ini_more=f"[server]\nevent_loop = {given}\n" if given else "")
    for number in "12":
        answer = server.get(f"/loop?n={number}").json()
        assert answer.pop("loop").startswith(module)
        assert {"before": "unset", "mark": number, "waited": [0, 1, 2], "child": 0} == answer
    assert 0 == server.stop()


def test_a_loop_that_is_not_installed_is_told_with_what_to_do(launch: Launch, tmp_path: Path) -> None:
    """The server does not fall back to another one in silence."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvloop.py").write_text("raise ImportError('not here')")
    path = ":".join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    server = launch({}, ini_more="[server]\nevent_loop = uvloop\n", env={"PYTHONPATH": path}, ready=False)
    assert 1 == server.wait()
    assert "[server] event_loop: uvloop cannot be imported (ImportError: not here); install it, or" in server.log


def test_another_word_is_an_error_of_the_ini_file(launch: Launch) -> None:
    """It names the line and what may stand there."""
    server = launch({}, ini_more="[server]\nevent_loop = trio\n", ready=False)
    assert 2 == server.wait()
    assert "[server] event_loop" in server.log
    assert "must be asyncio or uvloop" in server.log
