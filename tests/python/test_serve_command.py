"""``plugincore serve``: its options replace what the ini file says."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from support.plugins import INI, write_plugins
from support.process import free_port
from support.server import Launch, Server, command
from support.wait import TIMEOUT

HELLO = """
from plugincore.baseplugin import BasePlugin

class Hello(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"hello": "world"}
"""


def serve(folder: Path, *words: str, env: dict[str, str] | None = None) -> Server:
    """Start ``plugincore`` with these words, and wait until it serves."""
    return Server([*command(), *words], folder, env or {}).ready()


def test_serve_is_what_plugincore_does_without_a_command(tmp_path: Path) -> None:
    """With the ini file before or behind the command."""
    write_plugins(tmp_path, {"hello": HELLO})
    (tmp_path / "own.ini").write_text(INI)
    for words in (["-i", "own.ini"], ["serve", "-i", "own.ini"], ["-i", "own.ini", "serve"]):
        with serve(tmp_path, *words) as server:
            assert 200 == server.get("/hello").status_code
            assert 0 == server.stop(), words


def test_the_options_replace_the_ini_file_and_the_environment(tmp_path: Path) -> None:
    """At a reload, too, and in place of `listen`."""
    write_plugins(tmp_path / "other", {"hello": HELLO})
    write_plugins(tmp_path, {})
    port = free_port()
    ini = f"[network]\nlisten = unix:{tmp_path}/x.sock\n[paths]\nplugins = absent\n"
    (tmp_path / "plugincore.ini").write_text(ini)
    words = ["serve", "--host", "localhost", "--port", str(port), "--plugins", "other/plugins"]
    with serve(tmp_path, *words, env={"PLUGINCORE_NETWORK_PORT": "1"}) as server:
        assert f":{port}" in server.base_url
        assert 200 == server.get("/hello").status_code
        assert 200 == server.get("/reload/all").status_code
        assert 200 == server.get("/hello").status_code
        assert not (tmp_path / "x.sock").exists()
        server.send(signal.SIGUSR1)
        server.wait_for("Server started on", since=len(server.lines))
        assert 200 == server.get("/hello").status_code
        assert 0 == server.stop()


def test_a_folder_on_the_command_line_needs_no_ini_file(tmp_path: Path) -> None:
    """Nor one that is called plugins."""
    write_plugins(tmp_path, {"hello": HELLO})
    with serve(tmp_path / "plugins", "serve", "--plugins", ".", "--port", "0") as server:
        assert 200 == server.get("/hello").status_code
        assert 0 == server.stop()


def test_an_option_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """As code 2; nothing has begun."""
    write_plugins(tmp_path, {"hello": HELLO})
    for words, text in (
        (["--port", "70000"], "invalid value '70000' for '--port <PORT>'"),
        (["--host", "no such host"], "option --host: [network] bindto: "),
        (["--plugins", "absent"], f"option --plugins: [paths] plugins: {tmp_path}/absent is not a folder of plugins"),
    ):
        ended = subprocess.run(
            [*command(), "serve", *words], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert 2 == ended.returncode, ended.stderr
        assert text in ended.stderr
        assert "Loading plugins" not in ended.stdout


def test_open_shows_the_server_in_a_browser_once(launch: Launch, tmp_path: Path) -> None:
    """A restart does not open it again."""
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/shown.fifo\n")
    browser.chmod(0o755)
    os.mkfifo(tmp_path / "shown.fifo")
    server = launch({"hello": HELLO}, args=["--open"], env={"BROWSER": f"{browser} %s"})
    with (tmp_path / "shown.fifo").open() as shown:
        assert f"{server.base_url}/" in shown.readline()
        server.send(signal.SIGUSR1)
        server.wait_for("Server started on", since=len(server.lines))
        assert 0 == server.stop()
        assert "" == shown.read()


def test_a_browser_that_is_not_there_is_reported(launch: Launch) -> None:
    """The server serves all the same."""
    server = launch({"hello": HELLO}, args=["--open"], env={"BROWSER": "/absent/browser %s", "PATH": "/absent"})
    server.wait_for("WARN - .*no browser was found; open http://.* in one, or set BROWSER")
    assert 200 == server.get("/hello").status_code
