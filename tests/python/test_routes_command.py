"""``plugincore routes``: what a running server answers, and to whom."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from support.plugins import prepare
from support.server import Launch, command
from support.wait import TIMEOUT

PLUGIN = """
    from plugincore.baseplugin import BasePlugin

    class {name}(BasePlugin):
        http_methods = ("PUT", "DELETE")

        def request_handler(self, **data):
            return 200, "ok"
"""
OWN_CHECK = """
    from plugincore.baseplugin import BasePlugin

    class Doorman(BasePlugin):
        def _check_auth(self, data):
            return True

        def request_handler(self, **data):
            return 200, "ok"
"""
INI = """
[auth]
apikey = k
[keys]
ada = key=a&scopes=*
[plugin_parms]
server = auth_type=global
own = auth_type=plugin&apikey=o
named = auth_type=key
[plugin open]
body_size = 2KiB
in_flight = 3
queue_time = 1.5
handler_time = 30
rate = 10/s
rate_per_key = 5/m
[server]
control_socket = control.sock
[paths]
plugins = plugins
documents = docs:documents
[network]
port = 0
"""


def routes(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run ``plugincore routes``; return exit code, output and errors."""
    done = subprocess.run(
        [*command(), "routes", *arguments],
        cwd=folder,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_every_route_is_shown_with_its_limits_and_who_may_use_it(launch: Launch, tmp_path: Path) -> None:
    """Plugins in load order, static files last; the limits are those of the plugin's own section, else the general."""
    names = ["Named", "Open", "Own", "Server"]
    plugins = {name.lower(): PLUGIN.format(name=name) for name in names}
    (tmp_path / "site" / "documents").mkdir(parents=True)
    server = launch({**plugins, "doorman": OWN_CHECK}, ini=INI, folder=tmp_path / "site")
    code, output, errors = routes(server.folder, "-i", "server.ini", "--json")
    assert (0, "") == (code, errors)
    shown: dict[str, Any] = {route["path"]: route for route in json.loads(output)["routes"]}
    expected = {
        "/doorman": "its own check",
        "/named": "named keys",
        "/open": "open",
        "/own": "own key",
        "/server": "server key",
        "/docs/": "open",
    }
    assert expected == {path: route["auth"] for path, route in shown.items()}
    assert ["PUT", "DELETE", "OPTIONS"] == shown["/open"]["methods"]
    assert ("open", "plugins/open.py") == (shown["/open"]["plugin"], shown["/open"]["file"])
    assert {
        "body_size": 2048,
        "in_flight": 3,
        "queue_time": 1.5,
        "handler_time": 30.0,
        "rate": "10/s",
        "rate_per_key": "5/m",
    } == shown["/open"]["limits"]
    assert (1024 * 1024, None) == (shown["/own"]["limits"]["body_size"], shown["/own"]["limits"]["rate"])
    assert (None, ["GET", "HEAD", "OPTIONS"]) == (shown["/docs/"]["plugin"], shown["/docs/"]["methods"])
    assert shown["/docs/"]["file"].endswith("documents")

    code, output, _ = routes(server.folder, "-i", "server.ini")
    head, *lines = output.splitlines()
    assert (0, ["METHOD", "PATH", "PLUGIN", "FILE", "AUTH", "LIMITS"]) == (code, head.split())
    assert 6 == len(lines)
    (line,) = [line for line in lines if " /open " in line]
    assert "body_size 2048, in_flight 3, queue_time 1.5 s, handler_time 30 s, rate 10/s, rate_per_key 5/m" in line


def test_the_list_needs_a_key_that_controls(launch: Launch) -> None:
    """By the network; the socket needs none."""
    server = launch({"open": PLUGIN.format(name="Open")}, ini=INI.replace("documents = docs:documents\n", ""))
    assert 403 == server.get("/-/api/routes").status_code
    assert 403 == server.get("/-/api/routes", headers={"Authorization": "Bearer a"}).status_code
    assert 200 == server.get("/-/api/routes", headers={"Authorization": "Bearer k"}).status_code
    assert 405 == server.post("/-/api/routes").status_code


def test_without_a_server_it_is_code_1(tmp_path: Path) -> None:
    """With the place where it should listen."""
    prepare(tmp_path, {}, INI)
    code, output, errors = routes(tmp_path, "-i", "server.ini")
    assert (1, "") == (code, output)
    assert errors.startswith("no server runs with server.ini")
    code, output, errors = routes(tmp_path, "-i", "server.ini", "--json")
    assert (1, "", True) == (code, errors, "no server runs" in json.loads(output)["error"])
    assert 2 == routes(tmp_path, "-i", "absent.ini")[0]
