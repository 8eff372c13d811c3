"""`threads`: plain handlers of a plugin run in threads of its own, and everything else is as ever."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support.server import Launch, Server
from support.wait import wait_until

SLOW = """
    import contextvars
    import threading
    import time
    from plugincore.baseplugin import BasePlugin

    loaded = contextvars.ContextVar("loaded", default="unset")
    mine = contextvars.ContextVar("mine", default="unset")
    loaded.set("at import")
    gate = threading.Event()
    inside = []

    class Slow(BasePlugin):
        def request_handler(self, **data):
            match data["subpath"]:
                case "wait":
                    inside.append(threading.current_thread().name)
                    gate.wait(20)
                case "sleep":
                    time.sleep(float(data["seconds"]))
                case "raise":
                    raise LookupError("gone")
                case "stop":
                    raise StopIteration("odd")
                case "exit":
                    raise SystemExit(3)
                case "awaitable":
                    async def later():
                        return 200, {"thread": threading.current_thread().name}
                    return later()
            seen = mine.get()
            mine.set("set")
            return 201, {
                "thread": threading.current_thread().name, "loaded": loaded.get(), "mine": seen, "n": data.get("n"),
                "method": data["request"].method,
            }, {"X-Own": "1"}

    class Quick(BasePlugin):
        async def request_handler(self, **data):
            if data["subpath"] == "open":
                gate.set()
            return 200, {"thread": threading.current_thread().name, "inside": len(inside)}
"""


@pytest.fixture
def server(launch: Launch) -> Server:
    """Return a server whose plugin has two threads."""
    return launch({"slow": SLOW}, ini_more="[plugin slow]\nthreads = 2\n")


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """Return the answers to requests that are made at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [answer.result() for answer in [pool.submit(call) for call in calls]]


def test_plain_handlers_run_beside_each_other_and_block_nobody(server: Server) -> None:
    """As many run at a time as there are threads; async handlers of the file stay on the main thread."""
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(server.get, "/slow/wait") for _ in range(3)]
        wait_until(lambda: server.get("/quick").json()["inside"] == 2)
        assert "MainThread" == server.get("/quick").json()["thread"]
        assert not any(request.done() for request in waiting)
        assert 200 == server.get("/quick/open").status_code
        assert [201, 201, 201] == [request.result().status_code for request in waiting]


def test_arguments_results_and_contexts_are_as_on_the_main_thread(server: Server) -> None:
    """Variables, status and headers arrive; context variables of the load hold, and none of another request."""
    for n in ("1", "2"):
        answer = server.post("/slow", json={"n": n})
        assert (201, "1") == (answer.status_code, answer.headers["x-own"])
        seen = answer.json()
        assert seen.pop("thread").startswith("plugin-slow_")
        assert {"loaded": "at import", "mine": "unset", "n": n, "method": "POST"} == seen
    assert "MainThread" == server.get("/slow/awaitable").json()["thread"]


@pytest.mark.parametrize(("what", "kind"), [("raise", "LookupError"), ("exit", "SystemExit"), ("stop", "RuntimeError")])
def test_exceptions_are_answered_and_logged(server: Server, what: str, kind: str) -> None:
    """A thread survives them; the traceback in the log leads to the handler."""
    answer = server.get(f"/slow/{what}")
    assert (500, kind) == (answer.status_code, answer.json()["type"])
    line = server.wait_for(f"request {answer.json()['request_id']}: Traceback")
    assert "slow.py" in line
    assert 201 == server.get("/slow").status_code


def test_a_client_that_leaves_gives_its_place_back(launch: Launch) -> None:
    """A request that waits for a thread is dropped with its client."""
    server = launch({"slow": SLOW}, ini_more="[plugin slow]\nthreads = 1\nin_flight = 3\n")
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{server.base_url}/slow/sleep?seconds=1", timeout=0.2, trust_env=False)
    wait_until(lambda: server.get("/slow").status_code == 201)


def test_limits_hold_for_requests_in_threads(launch: Launch) -> None:
    """What waits for a thread counts as in flight."""
    server = launch({"slow": SLOW}, ini_more="[plugin slow]\nthreads = 1\nin_flight = 2\n")
    answers = at_once([lambda: server.get("/slow/sleep?seconds=3") for _ in range(5)])
    assert [201, 201, 503, 503, 503] == sorted(answer.status_code for answer in answers)


def test_a_request_that_waits_for_a_thread_or_runs_in_one_is_ended_by_its_time(launch: Launch) -> None:
    """The handler goes on, as nothing can stop it; what waited for its thread is never called."""
    server = launch({"slow": SLOW}, ini_more="[plugin slow]\nthreads = 1\nhandler_time = 300ms\n")
    answers = at_once([lambda: server.get("/slow/wait") for _ in range(3)])
    assert [504] * 3 == [answer.status_code for answer in answers]
    assert 1 == server.get("/quick").json()["inside"]
    assert 200 == server.get("/quick/open").status_code
    wait_until(lambda: server.get("/slow").status_code == 201)
    assert 1 == server.get("/quick").json()["inside"]


def test_threads_end_with_the_plugin_and_their_number_changes_by_a_reload(server: Server) -> None:
    """A reload leaves no thread of the old instance behind; `none` brings the handlers back to the main thread."""
    assert server.get("/slow").json()["thread"].startswith("plugin-slow_")
    assert 200 == server.get("/reload/slow").status_code
    assert server.get("/slow").json()["thread"].startswith("plugin-slow_")
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("threads = 2", "threads = none"))
    assert 200 == server.get("/reload/all").status_code
    assert "MainThread" == server.get("/slow").json()["thread"]
    assert 0 == server.stop()
    assert not [line for line in server.lines if "left threads behind" in line]
