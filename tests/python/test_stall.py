"""The watchdog: plugin code that keeps Python from taking turns is named while it does so."""

from __future__ import annotations

import re
import threading
import time

import httpx
import pytest

from support.server import Launch, Server
from support.wait import wait_until

BLOCKER = """
    import asyncio
    import hashlib
    import time
    from plugincore.baseplugin import BasePlugin

    def busy(seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    class Blocker(BasePlugin):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.gate = asyncio.Event()

        async def request_handler(self, seconds="1", **data):
            seconds = float(seconds)
            match data["subpath"]:
                case "sleep":
                    time.sleep(seconds)
                case "busy":
                    busy(seconds)
                case "native":
                    begun = time.monotonic()
                    rounds = 2_000_000
                    # One call, which looks for no signals.
                    hashlib.pbkdf2_hmac("sha256", b"a", b"b", int(rounds * seconds))
                    return 200, {"lasted": time.monotonic() - begun}
                case "held":
                    begun = time.monotonic()
                    # This one keeps the interpreter all the time.
                    sum(range(int(100_000_000 * seconds)))
                    return 200, {"lasted": time.monotonic() - begun}
                case "task":
                    async def later():
                        busy(seconds)
                    asyncio.create_task(later())
                case "await":
                    await asyncio.sleep(seconds)
            return 200, {}
"""
LINE = r"WARN - plugincore - plugin blocker: request (\S+): Python is blocked for (\d+\.\d\d) s at (\S+):(\d+) in (\w+)"


def stalls(server: Server) -> dict[str, object]:
    """Return what the server shows of the plugin's stalls."""
    (plugin,) = server.get("/-/api/plugins").json()["plugins"]
    shown: dict[str, object] = plugin["stalls"]
    return shown


@pytest.mark.parametrize(("what", "function"), [("sleep", "request_handler"), ("busy", "busy")])
def test_code_that_blocks_is_named_with_request_file_line_and_function(
    launch: Launch, what: str, function: str
) -> None:
    """At 0.25 s and at 1 s there is a line; the plugin goes on as if nothing had happened."""
    server = launch({"blocker": BLOCKER}, ini_more="[server]\nstall_warn = 250ms\n")
    begun = time.monotonic()
    answer = server.get(f"/blocker/{what}?seconds=1.4", headers={"X-Request-Id": "mine"})
    assert (200, True) == (answer.status_code, time.monotonic() - begun >= 1.4)
    lines = [match for line in server.lines if (match := re.search(LINE, line))]
    assert [("mine", function)] * 2 == [(match[1], match[5]) for match in lines]
    assert {"plugins/blocker.py"} == {match[3] for match in lines}
    first, second = (float(match[2]) for match in lines)
    assert 0.25 <= first < 1 <= second < 1.4
    wait_until(lambda: not stalls(server)["last"]["goes_on"])  # type: ignore[index]
    shown = stalls(server)
    assert 1 == shown["count"]
    assert 1 < shown["seconds"] < 2.5  # type: ignore[operator]
    assert "mine" == shown["last"]["request_id"]  # type: ignore[index]
    assert re.fullmatch(rf"plugins/blocker\.py:\d+ in {function}", shown["last"]["stack"][-1])  # type: ignore[index]


def test_a_request_without_an_id_of_its_own_is_named_by_that_of_the_server(launch: Launch) -> None:
    """It is the id that an error would have."""
    server = launch({"blocker": BLOCKER}, ini_more="[server]\nstall_warn = 100ms\n")
    assert 200 == server.get("/blocker/sleep?seconds=0.5").status_code
    match = re.search(LINE, server.wait_for(LINE))
    assert match
    assert re.fullmatch("[0-9a-f]{32}", match[1])


@pytest.mark.parametrize("what", ["native", "held"])
def test_native_code_is_named_as_such(launch: Launch, what: str) -> None:
    """What looks for no signals cannot say where it is before it returns; the request is known all the same."""
    server = launch({"blocker": BLOCKER}, ini_more="[server]\nstall_warn = 100ms\n")
    assert server.get(f"/blocker/{what}").json()["lasted"] > 0.4
    server.wait_for(r"plugin blocker: request [0-9a-f]{32}: Python is blocked for \d\.\d\d s in native code$")


def test_a_background_task_is_named_without_a_request(launch: Launch) -> None:
    """What blocks between requests is found by its file."""
    server = launch({"blocker": BLOCKER}, ini_more="[server]\nstall_warn = 100ms\n")
    assert 200 == server.get("/blocker/task?seconds=0.6").status_code
    server.wait_for(r"plugin blocker: Python is blocked for \d\.\d\d s at plugins/blocker\.py:\d+ in busy$")


def test_what_waits_without_blocking_is_no_stall(launch: Launch) -> None:
    """A loop that sleeps, with or without requests inside, is not reported."""
    server = launch({"blocker": BLOCKER}, ini_more="[server]\nstall_warn = 50ms\n")
    assert 200 == server.get("/blocker/await?seconds=1").status_code
    assert 0 == stalls(server)["count"]
    assert not [line for line in server.lines if "is blocked" in line]


def test_the_watch_can_be_switched_off_and_on_by_a_reload(launch: Launch) -> None:
    """`none` switches it off; the new value counts without a restart."""
    server = launch({"blocker": BLOCKER}, ini_more="[server]\nstall_warn = none\n")
    assert 200 == server.get("/blocker/sleep?seconds=0.6").status_code
    assert 0 == stalls(server)["count"]
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("stall_warn = none", "stall_warn = 100ms"))
    assert 200 == server.get("/reload/all").status_code
    assert 200 == server.get("/blocker/sleep?seconds=0.6").status_code
    server.wait_for(LINE)


def test_a_long_stall_makes_the_server_unready_until_it_ends(launch: Launch) -> None:
    """`stall_unready` takes the server out of a load balancer, natively, and back."""
    server = launch({"blocker": BLOCKER}, ini_more="[server]\nstall_unready = 500ms\n")
    assert 200 == server.get("/-/ready").status_code
    blocked = threading.Thread(target=server.get, args=("/blocker/sleep?seconds=2",))
    blocked.start()
    wait_until(lambda: server.get("/-/ready").status_code == 503)
    assert blocked.is_alive()
    assert 200 == server.get("/-/healthy").status_code
    wait_until(lambda: server.get("/-/ready").status_code == 200)
    blocked.join()
    server.wait_for("Python is blocked for 0\\.\\d\\d s: /-/ready fails until it goes on")
    server.wait_for("Python goes on: /-/ready succeeds again")


def test_without_stall_unready_the_server_stays_ready(launch: Launch) -> None:
    """By default a stall has no consequence but the line."""
    server = launch({"blocker": BLOCKER}, ini_more="[server]\nstall_warn = 100ms\n")
    blocked = threading.Thread(target=server.get, args=("/blocker/sleep?seconds=1",))
    blocked.start()
    server.wait_for(LINE)
    assert 200 == httpx.get(f"{server.base_url}/-/ready", trust_env=False).status_code
    blocked.join()
