"""``plugincore ctl``: what it shows, its exit codes, and how it finds the server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.plugins import write_plugins
from support.server import Launch, Server, command, serving
from support.wait import TIMEOUT

GREET = """
from plugincore.baseplugin import BasePlugin

class Greet(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"hello": "world"}
"""

BROKEN = "import plugincore\n\nraise RuntimeError('at import')\n"

AT = "[server]\ncontrol_socket = control.sock\n"


def ctl(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``plugincore ctl`` in a folder."""
    return subprocess.run(
        [*command(), "ctl", *arguments],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def seen(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    """Exit code, output, and errors."""
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve one plugin that works and one that does not."""
    with serving(tmp_path_factory.mktemp("ctl"), {"greet": GREET, "broken": BROKEN}, AT) as running:
        yield running


def test_plugins_are_listed_with_their_errors(server: Server) -> None:
    """One line each, the errors below."""
    code, output, errors = seen(ctl(server.folder, "-i", "server.ini", "plugins"))
    assert (0, "") == (code, errors)
    head, greet, broken, error = output.splitlines()
    assert ["ID", "STATE", "GENERATION", "REQUESTS", "ERRORS", "IN", "FLIGHT", "TASKS", "FILE"] == head.split()
    assert ["greet", "serving"] == greet.split()[:2]
    assert ["broken", "failed", "plugins/broken.py"] == [*broken.split()[:2], broken.split()[-1]]
    assert "plugins/broken.py:3: RuntimeError: at import" == error


@pytest.mark.parametrize("place", ["before", "after"])
def test_json_is_the_answer_of_the_server(server: Server, place: str) -> None:
    """Wherever the option stands."""
    words = (
        ["--json", "-i", "server.ini", "plugins"] if place == "before" else ["plugins", "-i", "server.ini", "--json"]
    )
    done = ctl(server.folder, *words)
    assert {"greet", "broken"} == {plugin["id"] for plugin in json.loads(done.stdout)["plugins"]}


def test_a_reload_tells_what_was_done_or_why_not(server: Server) -> None:
    """A refusal is code 1, with its reasons on standard error."""
    assert (0, "reloaded greet\n", "") == seen(ctl(server.folder, "-i", "server.ini", "reload", "greet"))
    code, output, errors = seen(ctl(server.folder, "-i", "server.ini", "reload", "broken"))
    assert (1, "") == (code, output)
    assert "Failed to reload plugin broken" in errors
    assert "plugins/broken.py:3: RuntimeError: at import" in errors
    code, output, errors = seen(ctl(server.folder, "-i", "server.ini", "--json", "reload", "broken"))
    assert (1, "") == (code, errors)
    assert "RuntimeError: at import" in json.loads(output)["reasons"][0]
    code, output, errors = seen(ctl(server.folder, "-i", "server.ini", "reload"))
    assert (0, "All plugins reloaded") == (code, output.splitlines()[0])
    assert output.splitlines()[1].startswith("failed: plugins/broken.py:3")


def test_plugins_are_disabled_and_enabled(launch: Launch) -> None:
    """One line says what is so now."""
    server = launch({"greet": GREET, "broken": BROKEN}, ini_more=AT)
    for verb, told in (("disable", "greet is disabled\n"), ("enable", "greet is serving\n")):
        assert (0, told, "") == seen(ctl(server.folder, "-i", "server.ini", verb, "greet"))
    assert (0, "broken is disabled\n", "") == seen(ctl(server.folder, "-i", "server.ini", "disable", "broken"))
    code, output, errors = seen(ctl(server.folder, "-i", "server.ini", "enable", "broken"))
    assert (1, "", True) == (code, output, "RuntimeError: at import" in errors)
    assert 1 == ctl(server.folder, "-i", "server.ini", "disable", "nobody").returncode
    assert 2 == ctl(server.folder, "-i", "server.ini", "disable").returncode


@pytest.mark.parametrize("id_", ["nobody", "a/b", "ä ?#%", "x" * 5000, "all", "--", "a\nb", ".."])
def test_an_id_that_does_not_exist_is_refused(server: Server, id_: str) -> None:
    """However odd it is, it stays an id."""
    code, _, errors = seen(ctl(server.folder, "-i", "server.ini", "reload", "--", id_))
    assert 1 == code, errors
    assert "not found" in errors or ".." in id_


def test_the_status_is_shown(server: Server) -> None:
    """Also while plugins are broken."""
    code, output, _ = seen(ctl(server.folder, "-i", "server.ini", "status"))
    assert 0 == code
    assert f"pid: {server.pid}" in output.splitlines()
    assert "plugins: 1 serving, 1 failed" in output.splitlines()


def test_the_server_is_found_from_anywhere(server: Server, tmp_path: Path) -> None:
    """By its ini file or its socket."""
    for option in (["-i", str(server.folder / "server.ini")], ["--socket", str(server.folder / "control.sock")]):
        assert 0 == ctl(tmp_path, *option, "status").returncode
    relative = os.path.relpath(server.folder / "control.sock", tmp_path)
    assert 0 == ctl(tmp_path, "--socket", relative, "status").returncode


def test_the_default_place_is_found_from_anywhere(launch: Launch, tmp_path: Path) -> None:
    """Without any setting, by the path of the ini file however it is written, or by the folder without one."""
    (tmp_path / "run").mkdir()
    run = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "PLUGINCORE_NETWORK_PORT": "0"}
    server = launch({"greet": GREET}, env=run)
    ini = server.folder / "server.ini"
    for words in (
        ["-i", str(ini)],
        ["-i", f"{server.folder}/plugins/../server.ini"],
        ["-i", f"{server.folder}//./server.ini"],
    ):
        done = ctl(tmp_path, *words, "status", **run)
        assert 0 == done.returncode, done.stderr
    assert 1 == ctl(server.folder, "status", **run).returncode
    without = launch({"greet": GREET}, ini=None, env=run)
    assert 0 == ctl(without.folder, "status", **run).returncode


def test_without_a_server_the_word_is_clear(tmp_path: Path) -> None:
    """Code 1, with the places that were tried."""
    write_plugins(tmp_path, {})
    (tmp_path / "server.ini").write_text(f"[paths]\nplugins = plugins\n{AT}")
    for verb in (["plugins"], ["reload"], ["drain"], ["stop"], ["status"], ["log-level", "INFO"]):
        code, output, errors = seen(ctl(tmp_path, "-i", "server.ini", *verb))
        assert (1, "", f"no server runs with server.ini: nobody listens at {tmp_path}/control.sock\n") == (
            code,
            output,
            errors,
        )
    done = ctl(tmp_path, "-i", "server.ini", "--json", "status")
    assert "no server runs" in json.loads(done.stdout)["error"]
    assert 1 == ctl(tmp_path, "--socket", "absent/x.sock", "status").returncode
    code, _, errors = seen(ctl(tmp_path, "--socket", "x" * 200, "status"))
    assert (1, True) == (code, "at most 107 bytes" in errors)
    (tmp_path / "none.ini").write_text("[paths]\nplugins = plugins\n[server]\ncontrol_socket = none\n")
    code, _, errors = seen(ctl(tmp_path, "-i", "none.ini", "status"))
    assert (1, "the server has no control socket: [server] control_socket is none\n") == (code, errors)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["dance"],
        ["reload", "a", "b"],
        ["log-level"],
        ["log-level", "LOUD"],
        ["status", "extra"],
        ["-i", "absent.ini", "status"],
        ["-i", "server.ini", "--socket", "x", "status"],
        ["--socket"],
    ],
)
def test_a_wrong_command_line_is_code_2(server: Server, words: list[str]) -> None:
    """With the usage on standard error."""
    code, output, errors = seen(ctl(server.folder, *words))
    assert (2, "") == (code, output)
    assert errors


def test_an_ini_file_that_is_broken_elsewhere_is_good_enough(launch: Launch) -> None:
    """A server whose ini file was edited badly can still be controlled."""
    server = launch({"greet": GREET}, ini_more=AT)
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("port = 0", "port = many").replace("plugins = plugins", "plugins = gone"))
    assert 0 == ctl(server.folder, "-i", "server.ini", "status").returncode
    code, _, errors = seen(ctl(server.folder, "-i", "server.ini", "reload"))
    assert (1, True) == (code, "[network] port" in errors)
    ini.write_text("not an ini file")
    assert 2 == ctl(server.folder, "-i", "server.ini", "status").returncode


def test_drain_fails_the_readiness_and_stop_ends_the_server(launch: Launch) -> None:
    """The one leaves everything served, the other is a clean end."""
    server = launch({"greet": GREET}, ini_more=AT)
    assert (0, "draining\n", "") == seen(ctl(server.folder, "-i", "server.ini", "drain"))
    assert (503, 200) == (server.get("/-/ready").status_code, server.get("/greet").status_code)
    assert (0, "stopping\n", "") == seen(ctl(server.folder, "-i", "server.ini", "stop"))
    assert 0 == server.wait()
    assert 1 == ctl(server.folder, "-i", "server.ini", "stop").returncode


def test_the_log_level_is_changed(launch: Launch) -> None:
    """For the server's own lines, until it ends."""
    server = launch({"greet": GREET}, ini_more=AT)
    assert (0, "the log level is WARN\n", "") == seen(ctl(server.folder, "-i", "server.ini", "log-level", "warn"))
    since = len(server.lines)
    server.get("/reload/greet")
    assert 0 == server.stop()
    assert not [line for line in server.lines[since:] if "Reloaded plugin" in line]


def test_something_else_that_listens_is_no_server(tmp_path: Path) -> None:
    """It is told from a server that is not there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        for sent in (b"", b"220 mail.example ESMTP\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello"):

            def answer(sent: bytes = sent) -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(sent)

            thread = threading.Thread(target=answer)
            thread.start()
            code, output, errors = seen(ctl(tmp_path, "--socket", "x.sock", "status"))
            thread.join(TIMEOUT)
            assert (1, "") == (code, output), sent
            assert "without an answer" in errors or "is not JSON" in errors


def test_pserve_has_no_subcommands(server: Server) -> None:
    """Its command line stays that of pluginserver."""
    done = subprocess.run(
        [*command("pserve"), "ctl", "status"],
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (2, True) == (done.returncode, "ctl" in done.stderr)
    shown = subprocess.run([*command("pserve"), "--help"], capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert "Commands:" not in shown.stdout


def test_a_command_that_was_given_up_is_not_done_later(launch: Launch) -> None:
    """While plugins are loaded nobody answers; a stop would come when nobody expects it any more."""
    slow = """
    import asyncio, pathlib
    from plugincore.baseplugin import BasePlugin

    class Slow(BasePlugin):
        async def initialize(self, **_):
            while not pathlib.Path("go").exists():
                await asyncio.sleep(0.02)

        async def request_handler(self, **data):
            return 200, {}
    """
    server = launch({"slow": slow}, ini_more=AT, ready=False)
    server.wait_for("Loading plugins")
    code, output, errors = seen(ctl(server.folder, "-i", "server.ini", "stop"))
    assert (1, "") == (code, output)
    assert "the server does not answer; it may still be loading its plugins" in errors
    (server.folder / "go").touch()
    server.ready()
    assert 0 == ctl(server.folder, "-i", "server.ini", "status").returncode
    assert 200 == server.get("/slow").status_code
