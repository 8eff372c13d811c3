"""Stop, restart and SIGHUP: what becomes of plugins, of requests and of the process."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from support.plugins import INI
from support.ports import wait_for_port
from support.server import Launch, Server, command
from support.wait import TIMEOUT, wait_for_file, wait_until
from support.wire import receive_all

#: Notes what happens to it in the file ``events``; ``/plugin?gate=x`` answers when the file ``x`` exists.
PLUGIN = """
import asyncio
import os
from plugincore.baseplugin import BasePlugin

def note(text):
    with open("events", "a") as events:
        events.write(text + "\\n")

class Plugin(BasePlugin):
    async def initialize(self, **kwargs):
        note("start")

    async def request_handler(self, **data):
        if "gate" in data:
            print("inside")
            while not os.path.exists(data["gate"]):
                await asyncio.sleep(0.002)
        return 200, {"pid": os.getpid()}

    def terminate_plugin(self):
        note("end")
"""

#: A second plugin, to see that it is not forgotten.
OTHER = PLUGIN.replace("Plugin(", "Other(").replace('"start"', '"other starts"').replace('"end"', '"other ends"')

HEAD = "import asyncio, os, subprocess, sys, threading, time\nfrom plugincore.baseplugin import BasePlugin\n"

#: A second for everything: a server that has to give up does so within three.
HURRIED = "[server]\nshutdown_timeout = 1s\n"


def events(server: Server) -> list[str]:
    """Return what plugins noted."""
    file = server.folder / "events"
    return file.read_text().splitlines() if file.exists() else []


def wait_until_refused(server: Server) -> None:
    """Wait until no new connection is accepted."""

    def refuses() -> bool:
        try:
            server.connect().close()
        except ConnectionError:
            return True
        return False

    wait_until(refuses, "connections are still accepted")


def assert_clean(server: Server) -> None:
    """Check that nothing in the output speaks of a crash."""
    for word in (
        "Traceback",
        "Fatal Python error",
        "panicked",
        "from ending in time",
        "Segmentation",
        "never retrieved",
    ):
        assert word not in server.log, server.log


@contextmanager
def asking(server: Server, path: str) -> Iterator[Future[httpx.Response]]:
    """Ask for `path` in the background and wait until the handler runs."""
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(server.get, path)
        server.wait_for("^inside$")
        yield answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_terminates_every_plugin_and_is_code_0(launch: Launch, number: signal.Signals) -> None:
    """SIGTERM and SIGINT both run terminate_plugin of each plugin, in load order, once."""
    server = launch({"plugin": PLUGIN, "other": OTHER})
    began = time.monotonic()
    assert 0 == server.stop(number)
    assert TIMEOUT / 4 > time.monotonic() - began, "an idle server need not wait for anything"
    assert ["other starts", "start", "other ends", "end"] == events(server)
    assert_clean(server)


def test_a_request_in_flight_is_answered_before_the_end(launch: Launch) -> None:
    """A stop refuses new connections, closes idle ones, finishes what is in flight, and then terminates the plugins."""
    server = launch({"plugin": PLUGIN})
    with server.connect() as fresh, server.connect() as idle, asking(server, "/plugin?gate=open") as answer:
        idle.sendall(b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        server.send(signal.SIGTERM)
        wait_until_refused(server)
        assert (b"", b"") == (receive_all(idle), receive_all(fresh))
        assert ["start"] == events(server)
        (server.folder / "open").touch()
        assert 200 == answer.result().status_code
        assert "close" == answer.result().headers["connection"]
    assert 0 == server.wait()
    assert ["start", "end"] == events(server)
    assert_clean(server)


def test_a_request_that_outlasts_the_deadline_is_cut_off(launch: Launch) -> None:
    """After `shutdown_timeout` the client gets a 5xx or a closed connection, the plugin its termination."""
    server = launch({"plugin": PLUGIN}, ini_more="[server]\nshutdown_timeout = 200ms\n")
    with asking(server, "/plugin?gate=never") as answer:
        assert 0 == server.stop()
        with suppress(httpx.TransportError):
            assert 500 <= answer.result().status_code
    assert ["start", "end"] == events(server)


def test_new_connections_are_refused_while_plugins_are_terminated(launch: Launch) -> None:
    """A client need not wait for a server that will never answer."""
    source = PLUGIN.replace(
        'note("end")', 'note("ending")\n        while not os.path.exists("done"):\n            time.sleep(0.002)'
    )
    server = launch({"plugin": "import time\n" + source})
    server.send(signal.SIGTERM)
    server.wait_for("Terminating plugin")
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    (server.folder / "done").touch()
    assert 0 == server.wait()


BLOCKING = (
    HEAD
    + """
class Plugin(BasePlugin):
    {kind} request_handler(self, **data):
        print("inside")
        time.sleep(60)
"""
)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_handler_that_blocks_does_not_keep_the_server_from_ending(launch: Launch, kind: str) -> None:
    """The process ends in time, with code 3 since plugins were not ended, and removes its pidfile."""
    server = launch({"plugin": BLOCKING.format(kind=kind)}, ini=INI + "pidfile = server.pid\n", ini_more=HURRIED)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(server.get, "/plugin")
        server.wait_for("^inside$")
        began = time.monotonic()
        assert 3 == server.stop()
        assert 5 > time.monotonic() - began
        assert isinstance(answer.exception(), httpx.TransportError)
    assert server.wait_for(r"waiting for plugin \(1 request\) \(up to [0-9.]+ s\)$")
    assert server.wait_for(r"a plugin kept the server from ending in time; .*; open requests: plugin \(1 request\)")
    assert not (server.folder / "server.pid").exists()


def test_a_second_ctrl_c_ends_at_once(launch: Launch) -> None:
    """Who asks again, more than a second later, does not want to wait for a plugin."""
    server = launch({"plugin": BLOCKING.format(kind="def")}, ini_more="[server]\nshutdown_timeout = 60s\n")
    with ThreadPoolExecutor() as pool:
        pool.submit(server.get, "/plugin")
        server.wait_for("^inside$")
        server.send(signal.SIGINT)
        server.wait_for("Received SIGINT")

        def ends() -> bool:
            server.send(signal.SIGINT)
            return not server.alive

        wait_until(ends, lambda: server.log, interval=0.1)
        assert 3 == server.wait()
    assert server.wait_for("Received SIGINT again; ending at once")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("def", "raise ValueError('no')"),
        ("def", "sys.exit(7)"),
        ("def", "raise KeyboardInterrupt"),
        ("async def", "raise ValueError('no')"),
        ("async def", "sys.exit(7)"),
        ("async def", "raise KeyboardInterrupt"),
        ("async def", "raise asyncio.CancelledError"),
    ],
)
def test_a_terminate_plugin_that_fails_stops_no_other(launch: Launch, kind: str, body: str) -> None:
    """Whatever it raises is logged; the others are terminated and the code is 0."""
    bad = HEAD + f"class Bad(BasePlugin):\n    {kind} terminate_plugin(self):\n        {body}\n"
    server = launch({"bad": bad, "plugin": PLUGIN})
    assert 0 == server.stop()
    assert server.wait_for(r"ERROR - plugincore - plugins/bad\.py: plugin bad: terminate_plugin: ")
    assert ["start", "end"] == events(server)


@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.sleep(60)",
        "while True:\n            try:\n                await asyncio.sleep(60)\n"
        "            except asyncio.CancelledError:\n                pass",
    ],
    ids=["sleep", "stubborn"],
)
def test_a_terminate_plugin_that_hangs_is_given_up(launch: Launch, body: str) -> None:
    """The others are terminated all the same."""
    bad = HEAD + f"class Bad(BasePlugin):\n    async def terminate_plugin(self):\n        {body}\n"
    server = launch({"bad": bad, "plugin": PLUGIN}, ini_more="[server]\nshutdown_timeout = 200ms\n")
    assert 0 == server.stop()
    assert server.wait_for("plugin bad: terminate_plugin: TimeoutError: terminate_plugin did not end within")
    assert ["start", "end"] == events(server)


def test_a_terminate_plugin_that_blocks_is_given_up(launch: Launch) -> None:
    """Python cannot be interrupted there, so the process ends without it."""
    bad = HEAD + "class Bad(BasePlugin):\n    def terminate_plugin(self):\n        time.sleep(60)\n"
    server = launch({"bad": bad}, ini_more="[server]\nshutdown_timeout = 200ms\n")
    assert 3 == server.stop()
    assert server.wait_for("a plugin kept the server from ending in time")


@pytest.mark.parametrize(
    ("work", "code"),
    [
        ("threading.Thread(target=time.sleep, args=(60,)).start()", 3),
        ("self.work = asyncio.create_task(asyncio.to_thread(time.sleep, 60))", 3),
        ("self.child = await asyncio.create_subprocess_exec('sleep', '5', stdout=-3, stderr=-3)", 0),
        ("asyncio.create_task(asyncio.wait_for(asyncio.shield(asyncio.sleep(60)), 50))", 0),
        ("import atexit; atexit.register(time.sleep, 60)", 3),
    ],
    ids=["thread", "to_thread", "subprocess", "shield", "atexit"],
)
def test_what_a_plugin_leaves_behind_does_not_keep_the_process(launch: Launch, work: str, code: int) -> None:
    """Threads, executors and children that never end delay the end by no more than the deadline; code 3 shows it."""
    source = PLUGIN.replace('note("start")', f"{work}\n        note('start')")
    server = launch({"plugin": HEAD + source}, ini_more="[server]\nshutdown_timeout = 300ms\n")
    assert code == server.stop()
    assert ["start", "end"] == events(server)
    assert "Traceback" not in server.log


def test_short_work_in_threads_is_finished(launch: Launch) -> None:
    """`asyncio.to_thread` of a request in flight, threads and executors end in order when they end in time."""
    source = PLUGIN.replace(
        'print("inside")', 'print("inside")\n            await asyncio.to_thread(os.getpid)'
    ).replace('note("start")', "threading.Thread(target=wait_for_gate).start()\n        note('start')")
    source += (
        "\ndef wait_for_gate():\n    while not os.path.exists('open'):\n        time.sleep(0.002)\n    note('thread')\n"
    )
    server = launch({"plugin": HEAD + source})
    with asking(server, "/plugin?gate=open") as answer:
        server.send(signal.SIGTERM)
        wait_until_refused(server)
        (server.folder / "open").touch()
        assert 200 == answer.result().status_code
    assert 0 == server.wait()
    assert ["end", "start", "thread"] == sorted(events(server))
    assert_clean(server)


@pytest.mark.parametrize(
    "body",
    ["raise SystemExit(3)", "raise KeyboardInterrupt", "raise RuntimeError('x')", "asyncio.get_running_loop().stop()"],
)
def test_a_background_task_does_not_end_the_server(launch: Launch, body: str) -> None:
    """Whatever ends the loop in a plain asyncio program, from a task or from a callback, ends nothing here."""
    source = HEAD + (
        "class Bad(BasePlugin):\n"
        "    def fail(self):\n"
        f"        {body}\n"
        "    async def work(self):\n"
        "        self.fail()\n"
        "    async def request_handler(self, **data):\n"
        "        if 'soon' in data:\n"
        "            asyncio.get_running_loop().call_soon(self.fail)\n"
        "        else:\n"
        "            self.task = asyncio.create_task(self.work())\n"
        "        return 200, {}\n"
    )
    server = launch({"bad": source, "plugin": PLUGIN})
    for path in ("/bad", "/bad?soon=1", "/bad", "/plugin"):
        assert 200 == server.get(path).status_code
    assert 0 == server.stop()
    assert ["start", "end"] == events(server)


@pytest.mark.parametrize(
    "wait", ["await asyncio.sleep(60)", "await asyncio.get_running_loop().create_future()"], ids=["sleep", "future"]
)
def test_a_stop_while_a_plugin_initialises_is_obeyed(launch: Launch, wait: str) -> None:
    """The load is interrupted, no further plugin is loaded, and those that were are terminated."""
    hangs = HEAD + "class Hangs(BasePlugin):\n    async def initialize(self, **kwargs):\n"
    hangs += f"        print('hanging')\n        {wait}\n"
    server = launch({"a": PLUGIN, "b_hangs": hangs, "c_hangs": hangs, "d": OTHER}, ready=False)
    server.wait_for("^hanging$")
    assert 0 == server.stop()
    assert ["start", "end"] == events(server)
    assert 1 == server.lines.count("hanging")
    assert "ERROR" not in server.log


def test_a_stop_while_a_plugin_blocks_its_load_is_obeyed(launch: Launch) -> None:
    """Even where Python cannot be interrupted."""
    hangs = HEAD + "print('hanging')\ntime.sleep(60)\n"
    server = launch({"hangs": hangs}, ini_more="[server]\nshutdown_timeout = 200ms\n", ready=False)
    server.wait_for("^hanging$")
    assert 3 == server.stop()


def test_a_stop_interrupts_a_reload(launch: Launch) -> None:
    """Its client gets a 503; the version that serves is terminated, and so is the one that was to replace it."""
    server = launch({"plugin": PLUGIN})
    file = server.plugins / "plugin.py"
    file.write_text(PLUGIN.replace('note("start")', 'print("inside")\n        await asyncio.sleep(60)'))
    with asking(server, "/reload/plugin") as answer:
        assert 0 == server.stop()
        refused = answer.result()
        assert (503, "1") == (refused.status_code, refused.headers["retry-after"])
    assert ["start", "end", "end"] == events(server)
    assert "ERROR" not in server.log


def test_a_discarded_instance_does_not_use_up_the_time_of_a_stop(launch: Launch) -> None:
    """A `terminate_plugin` that hangs on what a stop interrupted leaves time for the plugins that serve."""
    server = launch({"plugin": PLUGIN, "other": OTHER}, ini_more="[server]\nshutdown_timeout = 500ms\n")
    changed = PLUGIN.replace('note("start")', 'print("inside")\n        await asyncio.sleep(60)')
    changed += "\n    async def terminate_plugin(self):\n        await asyncio.sleep(60)\n"
    (server.plugins / "plugin.py").write_text(changed)
    with asking(server, "/reload/plugin") as answer:
        assert 0 == server.stop()
        assert 503 == answer.result().status_code
    assert ["other ends", "end"] == events(server)[-2:]
    assert "ending without it" not in server.log


def test_nothing_is_served_before_all_plugins_are_ready(launch: Launch) -> None:
    """The socket is bound before the plugins load; a client that comes early waits and is answered."""
    slow = PLUGIN.replace(
        'note("start")',
        'note("start")\n        while not os.path.exists("go"):\n            await asyncio.sleep(0.002)',
    )
    server = launch({"plugin": slow, "zz": OTHER}, ready=False)
    wait_for_file(server.folder / "events")
    port = wait_for_port(server.pid)
    with ThreadPoolExecutor() as pool:
        early = pool.submit(httpx.get, f"http://127.0.0.1:{port}/other", timeout=TIMEOUT, trust_env=False)
        (server.folder / "go").touch()
        assert 200 == early.result().status_code
    server.ready()
    assert 0 == server.stop()


@contextmanager
def hammered(server: Server, path: str, threads: int = 3) -> Iterator[list[int | Exception]]:
    """Ask for `path` on fresh connections from several threads the whole time; yield statuses and failures."""
    seen: list[int | Exception] = []
    end = threading.Event()
    busy = threading.Barrier(threads + 1)

    def ask() -> None:
        busy.wait()
        while not end.is_set():
            try:
                seen.append(server.get(path).status_code)
            except httpx.TransportError as error:
                seen.append(error)

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(ask)
        busy.wait()
        try:
            yield seen
        finally:
            end.set()


@pytest.mark.parametrize(
    ("port", "program"),
    [("fixed", command()), ("any", [sys.executable, "-m", "plugincore"])],
    ids=["command", "module"],
)
def test_sigusr1_restarts_in_place_and_refuses_nobody(launch: Launch, port: str, program: list[str]) -> None:
    """The same process id and port, plugins imported again, and no client that gets an error meanwhile."""
    ini = INI + "pidfile = server.pid\n"
    if port == "fixed":
        with socket.create_server(("127.0.0.1", 0)) as other:
            ini = ini.replace("port = 0", f"port = {other.getsockname()[1]}")
    server = launch({"plugin": PLUGIN}, ini=ini, program=program)
    with hammered(server, "/plugin") as seen:
        for number in (1, 2, 3):
            since = len(server.lines)
            server.send(signal.SIGUSR1)
            server.wait_for(rf"Server started on 127\.0\.0\.1:{server.port}$", since=since)
            assert ["start", "end"] * number + ["start"] == events(server)
    assert {200} == set(seen)
    assert {"pid": server.process.pid} == server.get("/plugin").json()
    assert f"{server.process.pid}\n" == (server.folder / "server.pid").read_text()
    assert 0 == server.stop()
    assert ["start", "end"] * 4 == events(server)
    assert_clean(server)


def test_signals_in_a_row_do_not_kill_a_restarting_server(launch: Launch) -> None:
    """SIGUSR1 and SIGHUP that come while a restart is under way ask for nothing more."""
    server = launch({"plugin": PLUGIN})
    since = len(server.lines)
    server.send(signal.SIGUSR1)

    def started() -> bool:
        assert server.alive, f"ended with {server.process.poll()}:\n{server.log}"
        server.send(signal.SIGUSR1)
        server.send(signal.SIGHUP)
        return any("Server started" in line for line in server.lines[since:])

    wait_until(started, lambda: server.log, interval=0.02)
    assert 0 == server.stop()


def test_sigterm_turns_a_restart_into_a_stop(launch: Launch) -> None:
    """Who wants the server to stop while it drains for a restart gets that."""
    server = launch({"plugin": PLUGIN})
    with asking(server, "/plugin?gate=open") as answer:
        server.send(signal.SIGUSR1)
        server.wait_for("Received SIGUSR1")
        server.send(signal.SIGTERM)
        server.wait_for("Received SIGTERM")
        (server.folder / "open").touch()
        assert 200 == answer.result().status_code
    assert 0 == server.wait()
    assert ["start", "end"] == events(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("milliseconds", [0, 5, 20, 45])
def test_a_stop_while_the_process_is_replaced_is_a_stop(
    launch: Launch, number: signal.Signals, milliseconds: int
) -> None:
    """Whatever of the old image and the new one it falls on, it ends the server with code 0."""
    server = launch({"plugin": PLUGIN})
    server.send(signal.SIGUSR1)
    server.wait_for("Received SIGUSR1")
    time.sleep(milliseconds / 1000)  # nothing tells of the moments between the two images
    assert 0 == server.stop(number)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not show masks of signals")
def test_a_restarted_server_holds_no_signal_back(launch: Launch) -> None:
    """Signals are held back only while there is no handler, and child processes of plugins get all of them."""
    server = launch({"plugin": PLUGIN})
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started", since)
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    assert ["SigBlk:\t0000000000000000"] == [line for line in status.splitlines() if line.startswith("SigBlk")]
    assert 0 == server.stop()


def test_a_blocked_server_restarts_all_the_same(launch: Launch) -> None:
    """A plugin that blocks for ever is the very reason to restart."""
    server = launch({"plugin": BLOCKING.format(kind="def"), "other": OTHER}, ini_more=HURRIED)
    with ThreadPoolExecutor() as pool:
        blocked = pool.submit(server.get, "/plugin")
        server.wait_for("^inside$")
        since = len(server.lines)
        server.send(signal.SIGUSR1)
        server.wait_for(rf"Server started on 127\.0\.0\.1:{server.port}$", since=since)
        assert isinstance(blocked.exception(), httpx.TransportError)
    assert {"pid": server.process.pid} == server.get("/other").json()
    assert 0 == server.stop()


def test_children_of_plugins_get_no_socket_of_the_server(launch: Launch) -> None:
    """A child that outlives the server does not keep its port, not even after a restart."""
    source = PLUGIN.replace(
        'note("start")',
        "subprocess.Popen(['sleep', '5'], close_fds=False, stdout=-3, stderr=-3)\n        note('start')",
    )
    with socket.create_server(("127.0.0.1", 0)) as other:
        ini = INI.replace("port = 0", f"port = {other.getsockname()[1]}")
    server = launch({"plugin": HEAD + source}, ini=ini)
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started", since=since)
    assert 0 == server.stop()
    assert 0 == launch({"plugin": PLUGIN}, ini=ini).stop()


HANGUP = """
from plugincore.baseplugin import BasePlugin

class Plugin(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.answer = kwargs.get("answer"), self.config.get("own", {}).get("key")

    async def request_handler(self, **data):
        return 200, self.answer

    def terminate_plugin(self):
        print("terminated", self.answer[0])
"""


def test_sighup_reads_ini_and_plugins_afresh(launch: Launch) -> None:
    """New parameters, keys and origins count; the old instances are terminated; connections stay open."""
    server = launch({"plugin": HANGUP}, ini_more="[own]\nkey = a\n[plugin_parms]\nplugin = answer=one\n")
    changed = "[own]\nkey = b\n[auth]\napikey = k\n[plugin_parms]\nplugin = answer=two&auth_type=global\n"
    changed += "[cors]\nenabled = bool:true\norigin_url = list:https://app.example\n"
    with server.client() as client:
        assert ["one", "a"] == client.get("/plugin").json()
        assert 200 == client.get("/plugins").status_code
        (server.folder / "server.ini").write_text(INI + changed)
        (server.plugins / "fresh.py").write_text(HANGUP.replace("Plugin(", "Fresh("))
        server.send(signal.SIGHUP)
        server.wait_for("Reloaded all plugins: plugin, fresh")
        assert [403, 403, 200] == [client.get(path).status_code for path in ("/plugin", "/plugins", "/fresh")]
        answer = client.get("/plugin?apikey=k", headers={"Origin": "https://app.example"})
        assert ["two", "b"] == answer.json()
        assert "https://app.example" == answer.headers["access-control-allow-origin"]
    assert 1 == server.lines.count("terminated one")
    assert 0 == server.stop()
    assert 1 == server.lines.count("terminated two")
    assert_clean(server)


def test_sighup_with_a_broken_ini_file_changes_nothing(launch: Launch) -> None:
    """File and line are logged, and everything serves on as it was."""
    server = launch({"plugin": HANGUP}, ini_more="[plugin_parms]\nplugin = answer=one\n")
    (server.folder / "server.ini").write_text(INI + "pidfile\n[auth]\napikey = k\n")
    server.send(signal.SIGHUP)
    server.wait_for(r"ERROR - .*server\.ini:\d+")
    assert ["one", None] == server.get("/plugin").json()
    assert 200 == server.get("/plugins").status_code
    assert "terminated one" not in server.lines
    assert 0 == server.stop()


def test_sighup_names_what_counts_only_after_a_restart(launch: Launch) -> None:
    """The pid file stays where it is; the log warns of it, and SIGUSR1 applies it."""
    server = launch({"plugin": PLUGIN})
    (server.folder / "server.ini").write_text(INI + "pidfile = server.pid\n")
    server.send(signal.SIGHUP)
    server.wait_for("WARN - .*pidfile has changed; the new value counts after a restart")
    assert not (server.folder / "server.pid").exists()
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started on", since)
    assert f"{server.pid}\n" == (server.folder / "server.pid").read_text()
    assert 0 == server.stop()


@pytest.mark.parametrize("round_", range(20))
def test_the_interpreter_finalises_cleanly_under_load(launch: Launch, round_: int) -> None:
    """A stop in the middle of heavy traffic: code 0, every answer whole, no word of a crash."""
    busy = PLUGIN.replace("return 200", "await asyncio.sleep(0)\n        return 200")
    plain = OTHER.replace("async def request", "def request").replace("await asyncio.sleep", "time.sleep")
    server = launch({"plugin": busy, "plain": plain})
    enough = threading.Event()
    statuses: list[int] = []

    def ask(path: str) -> None:
        with server.client() as client, suppress(httpx.TransportError):
            while True:
                statuses.append(client.get(path).status_code)
                if len(statuses) > 50 + 10 * round_:
                    enough.set()

    with ThreadPoolExecutor(4) as pool:
        for path in ("/plugin", "/other", "/plugin", "/other"):
            pool.submit(ask, path)
        assert enough.wait(TIMEOUT)
        assert 0 == server.stop()
    assert {200} == set(statuses) - {503}
    assert ["end", "other ends", "other starts", "start"] == sorted(events(server))
    assert_clean(server)
