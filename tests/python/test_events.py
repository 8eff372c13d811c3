"""`/-/api/events`: what happens to the server and its plugins, told as it happens."""

from __future__ import annotations

import contextlib
import datetime
import signal
import socket
import threading
from pathlib import Path

import pytest

from support.events import ADDRESS, Event, Events, events
from support.plugins import write_plugins
from support.server import Launch, Server
from support.wait import TIMEOUT
from support.wire import HOST, Wire

GREET = """
from plugincore.baseplugin import BasePlugin

class Greet(BasePlugin):
    def request_handler(self, **data):
        return 200, {"hello": "world"}
"""

BLOCKS = """
import os, time
from plugincore.baseplugin import BasePlugin

class Blocks(BasePlugin):
    def request_handler(self, **data):
        print("it blocks")
        while not os.path.exists("go"):
            time.sleep(0.005)
        return 200, {}
"""


def plain(seen: list[Event]) -> list[tuple[str, dict[str, object]]]:
    """Return the types and data of events without their times, which have to be there."""
    assert all(datetime.datetime.fromisoformat(str(event.data["time"])) for event in seen)
    return [(event.name, {key: value for key, value in event.data.items() if key != "time"}) for event in seen]


def connected(stream: Events) -> Event:
    """Return the first event of a stream that begins anew."""
    (event,) = stream.until("connected")
    return event


def test_a_stream_begins_with_the_plugins_that_serve(launch: Launch) -> None:
    """Its type is that of server-sent events, and nothing stores it."""
    server = launch({"greet": GREET})
    with events(server) as stream:
        assert {"loaded_plugins": ["greet"], "missed": False} == connected(stream).data
        headers = stream.response.headers
        assert ("text/event-stream", "no-store") == (headers["content-type"], headers["cache-control"])
    head = server.request("HEAD", ADDRESS)
    assert (200, "text/event-stream", b"") == (head.status_code, head.headers["content-type"], head.content)
    assert 405 == server.post(ADDRESS).status_code


def test_a_reload_is_told_from_its_begin_to_its_end(launch: Launch) -> None:
    """With each plugin that was loaded, loaded again, or is gone."""
    server = launch({"greet": GREET})
    with events(server) as stream:
        connected(stream)
        server.post("/reload/greet")
        assert [
            ("reload_begun", {"target": "greet"}),
            ("plugin_reloaded", {"id": "greet", "file": "plugins/greet.py", "generation": 2}),
            ("reload_ended", {"target": "greet", "success": True, "reasons": []}),
        ] == plain(stream.until("reload_ended"))
        (server.plugins / "greet.py").unlink()
        write_plugins(server.folder, {"more": GREET.replace("Greet", "More")})
        server.send(signal.SIGHUP)
        assert [
            ("reload_begun", {"target": "all"}),
            ("plugin_loaded", {"id": "more", "file": "plugins/more.py", "generation": 1}),
            ("plugin_gone", {"id": "greet", "file": "plugins/greet.py"}),
            ("reload_ended", {"target": "all", "success": True, "reasons": []}),
        ] == plain(stream.until("reload_ended"))


def test_a_failure_is_told_with_file_line_and_reason(launch: Launch) -> None:
    """A text that is too long is cut."""
    server = launch({"greet": GREET})
    with events(server) as stream:
        connected(stream)
        write_plugins(server.folder, {"greet": "\n\nraise ValueError('ä' * 10_000)\n"})
        assert 500 == server.post("/reload/greet").status_code
        begun, failed, ended = stream.until("reload_ended")
    assert ("reload_begun", "plugin_failed") == (begun.name, failed.name)
    assert ("plugins/greet.py", 3) == (failed.data["file"], failed.data["line"])
    assert failed.data["reason"].startswith("ValueError: ää")
    assert 1_100 > len(failed.data["reason"])
    assert failed.data["reason"].endswith(" more characters)")
    assert (False, 1) == (ended.data["success"], len(ended.data["reasons"]))


def test_a_plugin_that_is_disabled_and_enabled_is_told(launch: Launch) -> None:
    """That it is gone, or loaded, comes with it."""
    server = launch({"greet": GREET})
    with events(server) as stream:
        connected(stream)
        assert 200 == server.post("/-/api/plugins/greet/disable").status_code
        names = [event.name for event in stream.until("reload_ended")]
        assert ["reload_begun", "plugin_gone", "plugin_disabled", "reload_ended"] == names
        assert 200 == server.post("/-/api/plugins/greet/enable").status_code
        begun, loaded, enabled, ended = stream.until("reload_ended")
        assert ("plugin_loaded", "plugin_enabled", "greet") == (loaded.name, enabled.name, enabled.data["id"])
        assert ("reload_begun", True) == (begun.name, ended.data["success"])


def test_a_client_that_comes_back_gets_what_it_missed(launch: Launch) -> None:
    """By `Last-Event-ID`; an id of an earlier server, or of none, begins anew and says so."""
    server = launch({"greet": GREET})
    with events(server) as stream:
        first = connected(stream)
        server.post("/reload/greet")
        begun = stream.until("reload_begun")[-1]
    server.post("/reload/greet")
    with events(server, **{"Last-Event-ID": begun.id}) as stream:
        names = [event.name for _ in range(2) for event in stream.until("reload_ended")]
        assert ["plugin_reloaded", "reload_ended", "reload_begun", "plugin_reloaded", "reload_ended"] == names
    with events(server, **{"Last-Event-ID": first.id}) as stream:
        assert begun == stream.until("reload_begun")[0]
    for unknown in ("0-1", "", "?"):
        with events(server, **{"Last-Event-ID": unknown}) as stream:
            assert connected(stream).data["missed"]
    assert 0 == server.stop()
    again = launch({"greet": GREET}, folder=server.folder)
    with events(again, **{"Last-Event-ID": begun.id}) as stream:
        assert {"loaded_plugins": ["greet"], "missed": True} == connected(stream).data


@pytest.mark.parametrize("restart", [False, True], ids=["stop", "restart"])
def test_a_stop_is_the_last_event(launch: Launch, restart: bool) -> None:
    """The stream ends in order, and holds the stop up by nothing."""
    server = launch({"greet": GREET}, ini_more="[server]\nshutdown_timeout = 60\n")
    with events(server) as stream:
        connected(stream)
        position = len(server.lines)
        server.send(signal.SIGUSR1 if restart else signal.SIGTERM)
        assert [("stopping", {"restart": restart})] == plain(list(stream))
    if restart:
        server.wait_for("Server started", position)
        with events(server) as stream:
            connected(stream)
        server.send(signal.SIGTERM)
    assert 0 == server.wait()


def test_a_drain_is_told_while_requests_are_still_served(launch: Launch) -> None:
    """The one that was asked for, and the delay before a stop."""
    server = launch({"greet": GREET}, ini_more="[server]\ndrain_delay = 60\n")
    with events(server) as stream:
        connected(stream)
        server.post("/-/api/drain")
        assert [("draining", {})] == plain(stream.until("draining"))
        server.send(signal.SIGTERM)
        assert [("draining", {})] == plain(stream.until("draining"))
        assert 200 == server.get("/greet").status_code
        server.wait_for("Received SIGTERM; serving for 60")


def test_changed_files_are_told(launch: Launch) -> None:
    """If they are watched."""
    server = launch({"greet": GREET}, args=["--watch"])
    with events(server) as stream:
        connected(stream)
        write_plugins(server.folder, {"greet": GREET.replace("world", "moon")})
        assert ("files_changed", {"files": ["plugins/greet.py"]}) == plain(stream.until("files_changed"))[0]
        assert stream.until("reload_ended")[-1].data["success"]
    assert {"hello": "moon"} == server.get("/greet").json()


def test_only_who_may_control_the_server_gets_them(launch: Launch) -> None:
    """By the server's key; without one, from this machine and not on behalf of a page of another site."""
    server = launch({"greet": GREET}, ini_more="[auth]\napikey = secret\n")
    assert 403 == server.get(ADDRESS).status_code
    assert 403 == server.get(ADDRESS, headers={"X-Custom-Auth": "wrong"}).status_code
    with events(server, **{"X-Custom-Auth": "secret"}) as stream:
        connected(stream)
    server = launch({"greet": GREET})
    for headers in (
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "elsewhere.example"},
        {"X-Forwarded-For": "192.0.2.1"},
    ):
        assert 403 == server.get(ADDRESS, headers=headers).status_code, headers


def test_a_stream_begins_while_a_plugin_blocks_python(launch: Launch) -> None:
    """It needs no Python; what happens later is told as soon as it does."""
    server = launch({"greet": GREET, "blocks": BLOCKS})
    asks = threading.Thread(target=server.get, args=["/blocks"])
    asks.start()
    server.wait_for("it blocks")
    with events(server) as stream:
        assert ["blocks", "greet"] == sorted(connected(stream).data["loaded_plugins"])
        reloads = threading.Thread(target=server.post, args=["/reload/greet"])
        reloads.start()
        (server.folder / "go").touch()
        assert "reload_ended" == stream.until("reload_ended")[-1].name
    asks.join(TIMEOUT)
    reloads.join(TIMEOUT)


def narrow(server: Server) -> socket.socket:
    """Return a connection that takes little at a time."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(TIMEOUT)
    connection.connect(("127.0.0.1", server.port))
    return connection


def test_a_reader_who_does_not_read_is_dropped_and_all_others_get_everything(launch: Launch, tmp_path: Path) -> None:
    """Its stream is broken off, not ended; the server waits for it nowhere."""
    broken = {f"broken{number}": "raise ValueError('x' * 1_000)\n" for number in range(100)}
    server = launch({"greet": GREET, **broken})
    with Wire(narrow(server)) as slow, events(server) as stream:
        slow.send(b"GET " + ADDRESS.encode() + HOST + b"\r\n")
        connected(stream)
        for _ in range(20):
            assert 200 == server.post("/reload/all").status_code
            seen = stream.until("reload_ended")
            assert 100 == sum(event.name == "plugin_failed" for event in seen)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := slow.socket.recv(65536):
                received += piece
        assert b"event: connected" in received
        assert not received.endswith(b"0\r\n\r\n")
        assert 20 > received.count(b"event: reload_ended")
    assert 0 == server.stop()


def test_there_is_a_limit_of_readers(launch: Launch) -> None:
    """More are refused with 503, until one leaves."""
    server = launch({"greet": GREET})
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(events(server)) for _ in range(64)]
        assert [{"loaded_plugins": ["greet"], "missed": False}] * 64 == [connected(stream).data for stream in streams]
        refused = server.get(ADDRESS)
        assert (503, "too many requests are running; try again") == (refused.status_code, refused.json()["error"])
        assert "retry-after" in refused.headers
