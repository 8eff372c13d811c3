"""Plugins that are disabled, over restarts as well, and ``--safe``."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import httpx
import pytest

from support.errors import without_ids
from support.plugins import write_plugins
from support.server import Launch, Server
from support.wait import TIMEOUT, wait_for_file, wait_until
from support.wire import ask, post

GREET = """
import asyncio, time
from plugincore.baseplugin import BasePlugin

class Greet(BasePlugin):
    async def request_handler(self, **data):
        if data.get("block"):
            time.sleep(float(data["block"]))
        if data.get("wait"):
            await asyncio.sleep(float(data["wait"]))
        return 200, {"hello": "world"}

    async def terminate_plugin(self):
        print("greet is terminated")
"""

OTHER = GREET.replace("Greet", "Other")

TWO = GREET + OTHER.replace("import asyncio, time\n", "")

BROKEN = "raise RuntimeError('at import')\n"

AT = "[server]\ncontrol_socket = control.sock\n"


def states(server: Server) -> dict[str, str]:
    """Return the state of each plugin."""
    return {plugin["id"]: plugin["state"] for plugin in server.get("/-/api/plugins").json()["plugins"]}


def change(server: Server, id_: str, action: str) -> httpx.Response:
    """Do something to a plugin."""
    return server.post(f"/-/api/plugins/{id_}/{action}")


def state_file(server: Server) -> Path:
    """Return where the server keeps what is disabled."""
    return server.folder / ".plugincore" / "server.state.json"


def test_a_disabled_plugin_is_terminated_and_refused(launch: Launch) -> None:
    """With 503, whatever the path below it and the method; others are not concerned."""
    server = launch({"greet": GREET, "other": OTHER})
    answer = change(server, "greet", "disable")
    assert (200, {"id": "greet", "state": "disabled", "plugins": ["greet"]}) == (answer.status_code, answer.json())
    server.wait_for("greet is terminated")
    for method, path in (("GET", "/greet"), ("POST", "/greet/a/b"), ("PUT", "/greet?x=1"), ("HEAD", "/greet/")):
        refused = server.request(method, path)
        assert (503, "1") == (refused.status_code, refused.headers["Retry-After"]), (method, path)
    refused = server.get("/greet")
    assert {"error": "this plugin is disabled"} == without_ids(refused.json())
    assert 503 == ask(server, post("/greet", b"x" * 1000)).status
    assert 204 == server.request("OPTIONS", "/greet").status_code
    assert 200 == server.get("/other").status_code
    assert {"loaded_plugins": ["other"]} == server.get("/plugins").json()
    assert {"greet": "disabled", "other": "serving"} == states(server)


def test_enabling_loads_the_file_anew(launch: Launch) -> None:
    """With what is in it by then; counters go on, generations too."""
    server = launch({"greet": GREET})
    server.get("/greet")
    change(server, "greet", "disable")
    write_plugins(server.folder, {"greet": GREET.replace("world", "again")})
    answer = change(server, "greet", "enable")
    assert (200, {"id": "greet", "state": "serving", "plugins": ["greet"]}) == (answer.status_code, answer.json())
    assert {"hello": "again"} == server.get("/greet").json()
    [status] = server.get("/-/api/plugins").json()["plugins"]
    assert ("serving", 2, 2) == (status["state"], status["generation"], status["counters"]["requests"])


def test_both_can_be_asked_for_twice(launch: Launch) -> None:
    """It stays as it is."""
    server = launch({"greet": GREET})
    for action, state in (
        ("enable", "serving"),
        ("disable", "disabled"),
        ("disable", "disabled"),
        ("enable", "serving"),
    ):
        answer = change(server, "greet", action)
        assert (200, state, ["greet"]) == (answer.status_code, answer.json()["state"], answer.json()["plugins"])


def test_it_stays_disabled_over_restarts_reloads_and_kills(launch: Launch) -> None:
    """Until it is enabled; the file is made only when it is needed."""
    server = launch({"greet": GREET, "other": OTHER})
    assert not state_file(server).parent.exists()
    change(server, "greet", "disable")
    assert {"disabled": {"greet.py": ["greet"]}} == json.loads(state_file(server).read_text())
    assert 0o700 == state_file(server).parent.stat().st_mode & 0o777
    assert 200 == server.get("/reload/all").status_code
    assert {"greet": "disabled", "other": "serving"} == states(server)
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started", since)
    assert {"greet": "disabled", "other": "serving"} == states(server)
    server.process.kill()
    server.wait()
    again = launch({}, folder=server.folder)
    again.wait_for(r"INFO.*plugins/greet\.py is disabled; `plugincore ctl enable greet` loads it")
    assert (503, 200) == (again.get("/greet").status_code, again.get("/other").status_code)
    assert 200 == change(again, "greet", "enable").status_code
    assert 0 == again.stop()
    assert {"disabled": {}} == json.loads(state_file(server).read_text())
    last = launch({}, folder=server.folder)
    assert {"greet": "serving", "other": "serving"} == states(last)


def test_the_file_is_never_imported_while_it_is_disabled(launch: Launch) -> None:
    """A file that ends the process by its import can be kept out."""
    server = launch({"greet": GREET})
    change(server, "greet", "disable")
    write_plugins(server.folder, {"greet": "import os\nos._exit(7)\n"})
    assert 200 == server.get("/reload/all").status_code
    assert 0 == server.stop()
    again = launch({}, folder=server.folder)
    assert {"greet": "disabled"} == states(again)


def test_all_plugins_of_a_file_are_disabled_together(launch: Launch) -> None:
    """Since the file is what is loaded; after a restart their ids are known."""
    server = launch({"two": TWO})
    assert ["greet", "other"] == change(server, "other", "disable").json()["plugins"]
    assert (503, 503) == (server.get("/greet").status_code, server.get("/other").status_code)
    assert 0 == server.stop()
    again = launch({}, folder=server.folder)
    assert {"greet": "disabled", "other": "disabled"} == states(again)
    assert (503, 503) == (again.get("/greet").status_code, again.get("/other").status_code)
    assert ["greet", "other"] == change(again, "greet", "enable").json()["plugins"]


def test_requests_inside_end_before_it_is_terminated(launch: Launch) -> None:
    """New ones are refused meanwhile."""
    server = launch({"greet": GREET}, ini_more="[server]\nshutdown_timeout = 30\n")
    answers: list[int] = []
    inside = threading.Thread(target=lambda: answers.append(server.get("/greet?wait=1").status_code))
    inside.start()
    wait_until(lambda: server.get("/-/api/plugins").json()["plugins"][0]["counters"]["in_flight"] == 1)
    assert 200 == change(server, "greet", "disable").status_code
    inside.join(TIMEOUT)
    assert [200] == answers
    assert 503 == server.get("/greet").status_code


def test_it_is_refused_and_kept_at_once_while_it_blocks_python(launch: Launch) -> None:
    """The termination comes when Python is free."""
    server = launch({"greet": GREET, "other": OTHER})
    blocking = threading.Thread(target=lambda: server.get("/greet?block=3"))
    blocking.start()
    wait_until(lambda: server.get("/-/api/plugins").json()["plugins"][0]["counters"]["in_flight"] == 1)
    disabling = threading.Thread(target=lambda: change(server, "greet", "disable"))
    disabling.start()
    wait_for_file(state_file(server))
    wait_until(lambda: 503 == server.get("/greet").status_code)
    assert blocking.is_alive(), "nothing waited for the plugin"
    for thread in (blocking, disabling):
        thread.join(TIMEOUT)
    assert {"greet": "disabled", "other": "serving"} == states(server)


def test_what_cannot_be_loaded_stays_disabled(launch: Launch) -> None:
    """With the reason, in the answer and in the list."""
    server = launch({"greet": GREET})
    change(server, "greet", "disable")
    write_plugins(server.folder, {"greet": BROKEN})
    answer = change(server, "greet", "enable")
    assert (500, True) == (answer.status_code, "RuntimeError: at import" in answer.json()["reasons"][0])
    [status] = server.get("/-/api/plugins").json()["plugins"]
    assert ("disabled", "RuntimeError: at import") == (status["state"], status["last_error"]["message"])
    assert 503 == server.get("/greet").status_code
    assert {"greet.py": ["greet"]} == json.loads(state_file(server).read_text())["disabled"]
    (server.plugins / "greet.py").unlink()
    assert 500 == change(server, "greet", "enable").status_code
    assert 503 == server.get("/greet").status_code


def test_a_file_that_failed_can_be_disabled(launch: Launch) -> None:
    """By its name; then it is not tried again."""
    server = launch({"broken": BROKEN})
    assert 404 == server.get("/broken").status_code
    assert 200 == change(server, "broken", "disable").status_code
    assert ({"broken": "disabled"}, 503) == (states(server), server.get("/broken").status_code)
    answer = server.get("/reload/all")
    assert "failed" not in answer.json()
    assert 500 == change(server, "broken", "enable").status_code


def test_a_watched_file_stays_disabled_when_it_changes(launch: Launch) -> None:
    """The watcher loads the others."""
    server = launch({"greet": GREET, "other": OTHER}, args=["--watch"])
    change(server, "greet", "disable")
    since = len(server.lines)
    write_plugins(server.folder, {"greet": "import os\nos._exit(7)\n", "other": OTHER.replace("world", "again")})
    server.wait_for("Loaded plugin other", since)
    assert {"greet": "disabled", "other": "serving"} == states(server)


def test_a_disabled_plugin_is_not_reloaded(launch: Launch) -> None:
    """The old address does not know it, the new one says why not."""
    server = launch({"greet": GREET})
    change(server, "greet", "disable")
    assert 404 == server.get("/reload/greet").status_code
    answer = change(server, "greet", "reload")
    assert (409, 'Plugin "greet" is disabled; enable it to load it') == (answer.status_code, answer.json()["error"])
    assert 409 == change(server, "greet", "previous").status_code
    assert {"greet": "disabled"} == states(server)


@pytest.mark.parametrize("action", ["disable", "enable"])
@pytest.mark.parametrize("id_", ["nobody", "a/b", "%C3%A4", "x" * 5000, "../greet", "..%2f..%2fetc%2fpasswd"])
def test_a_plugin_that_does_not_exist_cannot_be_changed(launch: Launch, id_: str, action: str) -> None:
    """Nothing is written then."""
    server = launch({"greet": GREET})
    answer = ask(server, post(f"/-/api/plugins/{id_}/{action}", b""))
    assert answer.status in (400, 404)
    assert not state_file(server).parent.exists()
    assert {"greet": "serving"} == states(server)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"disabled": 5}', "\x00" * 100, '{"disabled": {"greet.py": "x"}}'])
def test_a_broken_state_file_is_a_warning(launch: Launch, text: str) -> None:
    """All plugins are loaded; the next change replaces it."""
    server = launch({"greet": GREET}, ready=False)
    server.end()
    state_file(server).parent.mkdir()
    state_file(server).write_text(text)
    again = launch({}, folder=server.folder)
    again.wait_for(r"WARN.*server\.state\.json: is not what the server has written")
    assert 200 == again.get("/greet").status_code
    assert 200 == change(again, "greet", "disable").status_code
    assert {"disabled": {"greet.py": ["greet"]}} == json.loads(state_file(server).read_text())


def test_a_state_file_that_cannot_be_written_is_a_warning(launch: Launch) -> None:
    """The plugin is disabled until the server ends."""
    server = launch({"greet": GREET}, ini_more="[server]\nstate_dir = server.ini/x\n")
    assert 200 == change(server, "greet", "disable").status_code
    server.wait_for(r"WARN.*which plugins are disabled cannot be kept.*set \[server\] state_dir")
    assert 503 == server.get("/greet").status_code
    assert 0 == server.stop()
    assert {"greet": "serving"} == states(launch({}, folder=server.folder))


def test_nothing_is_kept_without_a_place(launch: Launch) -> None:
    """If that is what the ini file says."""
    server = launch({"greet": GREET}, ini_more="[server]\nstate_dir = none\n")
    change(server, "greet", "disable")
    assert not state_file(server).parent.exists()
    assert 0 == server.stop()
    assert {"greet": "serving"} == states(launch({}, folder=server.folder))


def test_the_service_managers_folder_is_used(launch: Launch, tmp_path: Path) -> None:
    """In place of one beside the ini file; the setting has precedence."""
    (tmp_path / "state").mkdir()
    server = launch({"greet": GREET}, env={"STATE_DIRECTORY": f"{tmp_path}/state:{tmp_path}/other"})
    change(server, "greet", "disable")
    assert (tmp_path / "state" / "server.state.json").exists()
    assert not state_file(server).parent.exists()
    own = launch({"greet": GREET}, ini_more="[server]\nstate_dir = own\n", env={"STATE_DIRECTORY": str(tmp_path)})
    change(own, "greet", "disable")
    assert (own.folder / "own" / "server.state.json").exists()


def test_safe_mode_loads_nothing_until_it_is_enabled(launch: Launch) -> None:
    """All files are shown as disabled, and nothing of that is kept."""
    server = launch({"greet": GREET, "other": "import os\nos._exit(7)\n"}, args=["--safe"])
    server.wait_for(r"WARN.*Safe mode: all plugins are disabled")
    assert server.get("/-/api/status").json()["safe_mode"]
    assert {"greet": "disabled", "other": "disabled"} == states(server)
    assert (503, 503) == (server.get("/greet").status_code, server.get("/other").status_code)
    assert 200 == server.get("/reload/all").status_code
    assert {"greet": "disabled", "other": "disabled"} == states(server)
    assert 200 == change(server, "greet", "enable").status_code
    assert 200 == server.get("/reload/all").status_code
    assert ({"greet": "serving", "other": "disabled"}, 200) == (states(server), server.get("/greet").status_code)
    assert not state_file(server).parent.exists()
    write_plugins(server.folder, {"other": OTHER})
    assert 0 == server.stop()
    assert {"greet": "serving", "other": "serving"} == states(launch({}, folder=server.folder))


def test_what_is_disabled_in_safe_mode_stays_so(launch: Launch) -> None:
    """That is how a machine is repaired whose plugin ends the process."""
    server = launch({"greet": GREET, "other": "import os\nos._exit(7)\n"}, args=["--safe"])
    assert 200 == change(server, "other", "disable").status_code
    assert 0 == server.stop()
    assert {"greet": "serving", "other": "disabled"} == states(launch({}, folder=server.folder))
