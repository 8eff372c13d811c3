"""A plugin that ends the process again and again is left out; everything else never is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.plugins import write_plugins
from support.server import Launch, Server
from support.wait import TIMEOUT, wait_until

CRASH = """
import asyncio, ctypes, os, signal, time
from plugincore.baseplugin import BasePlugin

WAYS = {
    "exit": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "fault": lambda: ctypes.string_at(0),
    "abort": os.abort,
}

class Crash(BasePlugin):
    async def request_handler(self, **data):
        if data.get("wait"):
            await asyncio.sleep(float(data["wait"]))
        if data.get("block"):
            time.sleep(float(data["block"]))
        if data.get("by"):
            WAYS[data["by"]]()
        return 200, {}
"""

FINE = """
from plugincore.baseplugin import BasePlugin

class Fine(BasePlugin):
    async def request_handler(self, **data):
        return 200, {}
"""

PLUGINS = {"crash": CRASH, "fine": FINE}

STATE = "[server]\nstate_dir = state\ncontrol_socket = none\n"


@pytest.fixture(autouse=True)
def no_core_files() -> Iterator[None]:
    """Have no processes of these tests write their memory to the disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def crash(server: Server, query: str) -> int:
    """Have the process end in a handler; return its exit code."""
    with contextlib.suppress(httpx.TransportError):
        server.get(f"/crash?{query}")
    return server.wait()


def states(server: Server) -> dict[str, str]:
    """Return the state of each plugin."""
    return {plugin["id"]: plugin["state"] for plugin in server.get("/-/api/plugins").json()["plugins"]}


def again(launch: Launch, server: Server) -> Server:
    """Start the server anew, in the same folder."""
    return launch({}, folder=server.folder, ini=(server.folder / "server.ini").read_text())


def crashed(launch: Launch, times: int, query: str = "by=exit", more: str = STATE, **options: object) -> Server:
    """Start a server and have it crash that often; return the last one."""
    server = launch(PLUGINS, ini_more=more, **options)
    for _ in range(times - 1):
        crash(server, query)
        server = again(launch, server)
    crash(server, query)
    return server


def kept(server: Server) -> dict[str, dict]:
    """Return what the state file says of crashes."""
    return json.loads((server.folder / "state" / "server.state.json").read_text()).get("crashes", {})


@pytest.mark.parametrize("query", ["by=exit", "by=kill", "by=fault", "by=abort", "by=exit&wait=0.05"])
def test_after_three_crashes_in_its_code_a_plugin_is_left_out(launch: Launch, query: str) -> None:
    """However it ends the process, in its first step or a later one; the others serve."""
    server = crashed(launch, 2, query)
    third = again(launch, server)
    assert {"crash": "serving", "fine": "serving"} == states(third)
    crash(third, query)
    fourth = again(launch, server)
    fourth.wait_for(r"WARN.*last run ended while code of crash\.py was running \(3 in a row\)")
    fourth.wait_for(r"ERROR.*plugins/crash\.py is not loaded: the last 3 runs of the server ended while its code was")
    assert {"crash": "parked", "fine": "serving"} == states(fourth)
    assert (503, 200) == (fourth.get("/crash").status_code, fourth.get("/fine").status_code)
    [status] = [one for one in fourth.get("/-/api/plugins").json()["plugins"] if one["id"] == "crash"]
    assert "the last 3 runs of the server ended while its code was running" in status["last_error"]["message"]
    assert (3, ["crash"]) == (kept(server)["crash.py"]["count"], kept(server)["crash.py"]["ids"])
    assert 200 == fourth.get("/reload/all").status_code
    assert 409 == fourth.post("/-/api/plugins/crash/reload").status_code
    assert 0 == fourth.stop()
    assert {"crash": "parked", "fine": "serving"} == states(again(launch, server))


def test_a_plugin_that_ends_the_process_by_its_import_is_left_out(launch: Launch) -> None:
    """Or by its construction: it never serves at all."""
    server = launch({"fine": FINE, "ends": "import os\nos._exit(7)\n"}, ini_more=STATE, ready=False)
    assert 7 == server.wait()
    for _ in range(2):
        server = launch({}, folder=server.folder, ini=(server.folder / "server.ini").read_text(), ready=False)
        assert 7 == server.wait()
    assert {"ends": "parked", "fine": "serving"} == states(again(launch, server))


def test_enabling_it_loads_it_and_counts_from_the_beginning(launch: Launch) -> None:
    """It has three more chances."""
    server = again(launch, crashed(launch, 3))
    assert 200 == server.post("/-/api/plugins/crash/enable").status_code
    assert ({"crash": "serving", "fine": "serving"}, {}) == (states(server), kept(server))
    crash(server, "by=exit")
    server = again(launch, server)
    assert ("serving", 1) == (states(server)["crash"], kept(server)["crash.py"]["count"])


@pytest.mark.parametrize("how", ["start", "reload", "watch"])
def test_a_changed_file_is_loaded_again(launch: Launch, how: str) -> None:
    """At the next start, at the next reload of all, or when the watcher notices it."""
    server = crashed(launch, 3, more=STATE + ("watch = on\n" if how == "watch" else ""))
    if how != "start":
        server = again(launch, server)
    since = len(server.lines)
    write_plugins(server.folder, {"crash": CRASH + "\n# repaired\n"})
    if how == "reload":
        assert ["crash", "fine"] == sorted(server.get("/reload/all").json()["loaded_plugins"])
    elif how == "watch":
        server.wait_for("Loaded plugin crash", since)
        wait_until(lambda: states(server)["crash"] == "serving")
    else:
        server = again(launch, server)
    assert ({"crash": "serving", "fine": "serving"}, {}) == (states(server), kept(server))
    assert 200 == server.get("/crash").status_code


def test_clean_stops_and_restarts_never_count(launch: Launch) -> None:
    """Whatever has run before; they also end a row of crashes."""
    server = crashed(launch, 2)
    server = again(launch, server)
    assert 2 == kept(server)["crash.py"]["count"]
    server.get("/crash")
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started", since)
    assert {} == kept(server)
    for _ in range(3):
        assert 0 == server.stop()
        server = again(launch, server)
        server.get("/crash")
    assert ({"crash": "serving", "fine": "serving"}, {}) == (states(server), kept(server))


@pytest.mark.parametrize("busy", ["nothing", "waiting"])
def test_a_kill_while_no_code_of_a_plugin_runs_never_counts(launch: Launch, busy: str) -> None:
    """A handler that waits runs no code."""
    server = launch(PLUGINS, ini_more=STATE)
    with contextlib.ExitStack() as connections:
        for _ in range(4):
            server.get("/crash")
            if busy == "waiting":
                connection = connections.enter_context(server.connect())
                connection.sendall(b"GET /crash?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                wait_until(lambda s=server: s.get("/-/api/plugins").json()["plugins"][0]["counters"]["in_flight"] == 1)
                server.get("/fine")
            server.process.kill()
            server.wait()
            server = again(launch, server)
    assert {"crash": "serving", "fine": "serving"} == states(server)
    assert not (server.folder / "state").exists()


def test_a_forced_end_of_a_stop_never_counts(launch: Launch) -> None:
    """Although the plugin blocks Python at that moment."""
    server = launch(PLUGINS, ini_more=STATE + "shutdown_timeout = 0.3\n")
    for _ in range(3):
        blocking = threading.Thread(target=crash, args=(server, "block=60"))
        blocking.start()
        wait_until(lambda s=server: s.get("/-/api/plugins").json()["plugins"][0]["counters"]["in_flight"] == 1)
        server.get("/-/healthy")
        server.send(signal.SIGTERM)
        blocking.join(TIMEOUT)
        assert 3 == server.process.returncode
        server = again(launch, server)
    assert {"crash": "serving", "fine": "serving"} == states(server)


@pytest.mark.parametrize("more", ["crash_loop_guard = off\n", "state_dir = none\n"])
def test_it_can_be_switched_off(launch: Launch, more: str) -> None:
    """Then nothing is noted, and what was noted before does not count."""
    server = crashed(launch, 3)
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("state_dir = state\n", "") + more)
    server = again(launch, server)
    assert {"crash": "serving", "fine": "serving"} == states(server)
    crash(server, "by=exit")
    assert {"crash": "serving", "fine": "serving"} == states(again(launch, server))


def test_a_wrong_word_for_the_switch_is_an_error(launch: Launch) -> None:
    """With the line."""
    server = launch(PLUGINS, ini_more="[server]\ncrash_loop_guard = perhaps\n", ready=False)
    assert 2 == server.wait()
    server.wait_for(r"server\.ini:9: \[server\] crash_loop_guard: ")


def test_what_runs_is_noted_outside_of_the_users_folder_until_there_is_a_reason(launch: Launch, tmp_path: Path) -> None:
    """A folder for the state is made by the first crash, and nothing is left behind by a clean end."""
    (tmp_path / "run").mkdir()
    env = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    server = launch(PLUGINS, env=env)
    [note] = [name for name in os.listdir(tmp_path / "run") if name.endswith(".running")]
    assert f"{server.pid}.running" == note.split(".", 1)[1]
    crash(server, "by=exit")
    for count in (1, 2):
        assert count == 1 or (server.folder / ".plugincore").is_dir()
        server = launch({}, folder=server.folder, env=env)
        crash(server, "by=exit")
    last = launch({}, folder=server.folder, env=env)
    assert {"crash": "parked", "fine": "serving"} == states(last)
    assert 0 == last.stop()
    assert ["server.state.json"] == os.listdir(server.folder / ".plugincore")
    assert [] == os.listdir(tmp_path / "run")


def test_the_remains_of_a_living_server_are_left_alone(launch: Launch) -> None:
    """Two servers with the same ini file do not disturb each other."""
    first = launch(PLUGINS, ini_more=STATE)
    second = again(launch, first)
    crash(second, "by=exit")
    third = again(launch, first)
    assert 1 == kept(first)["crash.py"]["count"]
    assert 0 == third.stop()
    crash(first, "by=exit")
    fourth = again(launch, first)
    assert 1 <= kept(first)["crash.py"]["count"] <= 2
    assert {"crash": "serving", "fine": "serving"} == states(fourth)


@pytest.mark.parametrize("content", [b"", b"x" * 3, b"\xff" * 5000, b"\x01\x00\x00\x00" * 2000])
def test_broken_remains_are_no_trouble(launch: Launch, content: bytes) -> None:
    """They name nobody, and are removed."""
    server = launch(PLUGINS, ini_more=STATE)
    assert 0 == server.stop()
    (server.folder / "state").mkdir()
    remains = server.folder / "state" / "server.99999.running"
    remains.write_bytes(content)
    assert {"crash": "serving", "fine": "serving"} == states(again(launch, server))
    assert not remains.exists()
