"""``plugincore check``: the errors of an ini file, and what a reload would change."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.plugins import INI, prepare
from support.server import Launch, Server, command
from support.wait import TIMEOUT

PLUGIN = """
    from plugincore.baseplugin import BasePlugin

    class Greet(BasePlugin):
        def request_handler(self, **data):
            return 200, "ok"
"""


def check(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run ``plugincore check``; return exit code, output and errors."""
    done = subprocess.run(
        [*command(), "check", *arguments], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return done.returncode, done.stdout, done.stderr


def difference(server: Server, ini: str) -> list[str]:
    """Return what ``check --diff`` says after the server's ini file has been replaced."""
    (server.folder / "server.ini").write_text(ini)
    code, output, errors = check(server.folder, "--diff", "-i", "server.ini")
    assert (0, "") == (code, errors)
    return output.splitlines()


def test_a_file_without_errors_is_0(tmp_path: Path) -> None:
    """Warnings are shown besides."""
    prepare(tmp_path, {"greet": PLUGIN}, INI + "[server]\nio_thread = 1\n")
    code, output, errors = check(tmp_path, "-i", "server.ini")
    assert (0, "server.ini: no errors\nlistens on 127.0.0.1:0\n1 plugin file imported\n") == (code, output)
    assert "warning: server.ini:8: [server] io_thread" in errors


def test_all_errors_are_shown_with_file_and_line(tmp_path: Path) -> None:
    """Those of the certificate as well; the exit code is 1."""
    prepare(tmp_path, {}, INI.replace("port = 0", "port = many") + "[server]\nio_threads = none\n")
    code, output, errors = check(tmp_path, "-i", "server.ini")
    assert (1, "") == (code, output)
    assert "server.ini:3: [network] port" in errors
    assert "server.ini:8: [server] io_threads" in errors
    prepare(tmp_path, {}, INI + "[SSL]\nenabled = true\ncertfile = a.pem\nkeyfile = b.pem\n")
    code, _, errors = check(tmp_path, "-i", "server.ini")
    assert (1, True) == (code, "a.pem" in errors)


def test_every_address_is_shown(tmp_path: Path) -> None:
    """With the whole path of a Unix socket, which is not opened."""
    prepare(tmp_path, {}, "[network]\nlisten = [::1]:80 unix:x.sock\n[paths]\nplugins = plugins\n")
    code, output, _ = check(tmp_path, "-i", "server.ini")
    assert 0 == code
    assert ["listens on [::1]:80", f"listens on unix:{tmp_path}/x.sock"] == output.splitlines()[1:3]
    assert not (tmp_path / "x.sock").exists()


@pytest.mark.parametrize("arguments", [["-i", "missing.ini"], ["--wrong"], []])
def test_a_wrong_command_line_is_2(tmp_path: Path, arguments: list[str]) -> None:
    """So is a folder without anything to check."""
    assert 2 == check(tmp_path, *arguments)[0]


def test_each_key_that_differs_is_named_with_what_a_reload_does(launch: Launch) -> None:
    """Nothing is changed by the question; after the reload, only what needs a restart differs."""
    other = PLUGIN.replace("Greet", "Other")
    server = launch({"greet": PLUGIN, "other": other}, ini_more="[plugin_parms]\ngreet = a=1\nother = b=1\n")
    before = (server.folder / "server.ini").read_text()
    assert ["no differences"] == difference(server, before)
    changed = (
        before.replace("greet = a=1", "greet = a=2") + "[server]\nio_threads = 2\nbody_limit = 2M\n[auth]\napikey = k\n"
    )
    expected = [
        "[plugin_parms] greet: new generation of greet",
        "[server] body_limit: live",
        "[auth] apikey: live",
        "[server] io_threads: restart",
    ]
    assert expected == difference(server, changed)
    assert 200 == server.get("/plugins").status_code
    assert 200 == server.get("/reload/greet").status_code
    assert expected[1:] == difference(server, changed)
    assert 200 == server.get("/reload/all").status_code
    assert expected[-1:] == difference(server, changed)
    more = changed + "[shop]\nurl = x\n"
    assert ["[shop] url: new generation of all plugins", expected[-1]] == difference(server, more)


def test_addresses_change_live_and_rights_of_sockets_by_a_restart(launch: Launch) -> None:
    """The keys of `[network]` for them are known."""
    server = launch({"greet": PLUGIN}, ini="[network]\nlisten = 127.0.0.1:0\n[paths]\nplugins = plugins\n")
    more = "unix_mode = 0600\nunix_group = 0\nproxy_protocol = on"
    changed = f"[network]\nlisten = 127.0.0.1:0 unix:x.sock\n{more}\n[paths]\nplugins = plugins\n"
    keys = {"listen": "live", "proxy_protocol": "live", "unix_mode": "restart", "unix_group": "restart"}
    expected = {f"[network] {key}: {effect}" for key, effect in keys.items()}
    assert expected == set(difference(server, changed))


def test_a_file_that_a_reload_would_refuse_is_1(launch: Launch) -> None:
    """With the reasons of the server."""
    server = launch({"greet": PLUGIN})
    (server.folder / "server.ini").write_text(INI.replace("port = 0", "port = many"))
    code, output, errors = check(server.folder, "--diff", "-i", "server.ini")
    assert (1, "") == (code, output)
    assert errors.startswith("the ini file cannot be used\nserver.ini:3: [network] port")


def test_without_a_server_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    """Which is said, with the place where it should listen."""
    prepare(tmp_path, {"greet": PLUGIN}, INI + "[server]\ncontrol_socket = control.sock\n")
    code, output, errors = check(tmp_path, "--diff", "-i", "server.ini")
    assert (1, "") == (code, output)
    assert errors.startswith("no server runs with server.ini: nobody listens at ")
