"""``plugincore compare``: the same requests to an old server and to the new one, and how their responses differ."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.plugins import prepare
from support.server import Launch, Server, command
from support.wait import TIMEOUT

PLUGIN = """
from plugincore.baseplugin import BasePlugin
from plugincore.responses import Redirect, Response

class Greet(BasePlugin):
    http_methods = ("GET",)

    def request_handler(self, *, subpath=None, name="world", **data):
        match subpath:
            case "raises":
                raise RuntimeError("of any kind")
            case "away":
                return Redirect("/elsewhere")
        return 200, {"message": f"Hello, {name}!", "key": data["request_headers"].get("x-own")}

class Writes(BasePlugin):
    http_methods = ("PUT",)

    def request_handler(self, **data):
        return 200, "written"
"""
AT = "[server]\ncontrol_socket = control.sock\n"


def compare(folder: Path, *words: str) -> tuple[int, str, str]:
    """Run ``plugincore compare -i server.ini``; return exit code, output and errors."""
    done = subprocess.run(
        [*command(), "compare", "-i", "server.ini", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def result(server: Server, *words: str) -> tuple[int, Any]:
    """Return exit code and JSON of a comparison."""
    code, output, errors = compare(server.folder, "--json", *words)
    assert "" == errors
    return code, json.loads(output)


@pytest.fixture
def servers(launch: Launch) -> tuple[Server, Server]:
    """Serve the same plugins twice: the old server and the new one."""
    return launch({"greet": PLUGIN}), launch({"greet": PLUGIN}, ini_more=AT)


def test_servers_that_respond_alike_are_code_0(servers: tuple[Server, Server]) -> None:
    """Date, request ids and their like do not count; without a list, all routes that answer GET are compared."""
    old, new = servers
    expected = "1 compared: 1 the same, 0 different, 0 failed\n"
    assert (0, expected, "") == compare(new.folder, old.base_url)
    paths = "/greet\n/greet?name=Ada\n/greet/raises\n/greet/away\n/absent\n# a comment\n/reload/all\n/-/ready\n/greet\n"
    (new.folder / "paths.txt").write_text(paths)
    since = len(old.lines), len(new.lines)
    code, shown = result(new, old.base_url, "--list", "paths.txt")
    assert (0, 5, [], [], 2) == (code, shown["same"], shown["different"], shown["failed"], shown["left_out"])
    assert (old.base_url, new.base_url) == (shown["old"], shown["new"])
    for server, line in zip(servers, since, strict=True):
        assert not [line for line in server.lines[line:] if "Reloaded" in line]


def test_differences_are_shown_and_code_1(launch: Launch, servers: tuple[Server, Server]) -> None:
    """Of status, headers and body, for a person and for a program; keys are not."""
    _, new = servers
    other = PLUGIN.replace("Hello", "Good day").replace('Redirect("/elsewhere")', '404, "gone"')
    old = launch({"greet": other})
    log = "".join(
        f'127.0.0.1 - - [06/May/2025:07:08:09 +0200] "{request} HTTP/1.1" 200 5\n'
        for request in ("GET /greet?apikey=secret", "POST /greet", "GET /greet/away", "GET /absent")
    )
    (new.folder / "access.log").write_text(log)
    code, output, errors = compare(new.folder, old.base_url, "--access-log", "access.log")
    assert (1, "") == (code, errors)
    assert "secret" not in output
    lines = output.splitlines()
    assert "/greet?apikey=…" == lines[0]
    assert lines[1].startswith("  body at byte 13: ")
    assert "Good day" in lines[1].partition(" | ")[0]
    assert "  status: 404 | 302" in lines
    assert "  header location: none | /elsewhere" in lines
    assert "3 compared: 1 the same, 2 different, 0 failed" == lines[-1]
    code, shown = result(new, old.base_url, "--access-log", "access.log", "--ignore", "Location")
    found = {one["path"]: {each["what"] for each in one["differences"]} for one in shown["different"]}
    assert {"/greet?apikey=…", "/greet/away"} == set(found)
    assert "status" in found["/greet/away"]
    assert "header location" not in found["/greet/away"]


def test_headers_are_sent_to_both(launch: Launch) -> None:
    """Such as a key; without it, the responses of both are the same refusal."""
    keyed = "[plugin_parms]\ngreet = auth_type=plugin&apikey=k\n"
    old, new = launch({"greet": PLUGIN}, ini_more=keyed), launch({"greet": PLUGIN}, ini_more=AT + keyed)
    other = launch({"greet": PLUGIN.replace("Hello", "Bye")}, ini_more=keyed)
    words = ["-H", "Authorization: Bearer k", "--header", "X-Own: 1"]
    assert (0, 1) == (result(new, old.base_url, *words)[0], result(new, other.base_url, *words)[0])
    assert 0 == result(new, other.base_url)[0]


def test_the_server_may_speak_tls(launch: Launch, tmp_path: Path) -> None:
    """The certificate of the old one is verified, unless that is switched off."""
    certificate = trustme.CA().issue_cert("localhost")
    for name, blobs in (("cert", certificate.cert_chain_pems), ("key", [certificate.private_key_pem])):
        (tmp_path / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in blobs))
    tls = f"[SSL]\nenabled = bool:true\ncertfile = {tmp_path}/cert.pem\nkeyfile = {tmp_path}/key.pem\n"
    old, new = (
        launch({"greet": PLUGIN}, ini_more=tls, scheme="https"),
        launch({"greet": PLUGIN}, ini_more=AT + tls, scheme="https"),
    )
    assert (0, 1) == (result(new, old.base_url, "--insecure")[0], result(new, old.base_url)[0])
    shown = result(new, old.base_url)[1]
    assert "the old server: " in shown["failed"][0]["error"]
    assert shown["new"].startswith("https://")


class Slow(BaseHTTPRequestHandler):
    """Answers what no server should."""

    ended = threading.Event()

    def do_GET(self) -> None:
        """Send less than was announced, or nothing."""
        if self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")
        else:
            self.ended.wait(TIMEOUT)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def slow() -> Iterator[str]:
    """Serve badly."""
    Slow.ended.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Slow.ended.set()
        server.shutdown()
        thread.join(TIMEOUT)


def test_a_server_that_does_not_answer_is_reported_and_the_rest_is_compared(
    servers: tuple[Server, Server], slow: str
) -> None:
    """Within its time."""
    _, new = servers
    (new.folder / "paths.txt").write_text("/short\n/never\n")
    code, shown = result(new, slow, "--list", "paths.txt", "--timeout", "1")
    assert (1, 2) == (code, len(shown["failed"]))
    assert all(one["error"].startswith("the old server: ") for one in shown["failed"])
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    code, output, _ = compare(new.folder, f"http://127.0.0.1:{port}")
    assert (1, True) == (code, "1 compared: 0 the same, 0 different, 1 failed" in output)


def test_without_a_new_server_there_is_nothing_to_compare(tmp_path: Path) -> None:
    """Nor without paths."""
    prepare(tmp_path, {}, f"[paths]\nplugins = plugins\n{AT}")
    code, output, errors = compare(tmp_path, "http://127.0.0.1:1")
    assert (1, "", True) == (code, output, errors.startswith("no server runs with server.ini"))
    (tmp_path / "paths.txt").touch()
    code, _, errors = compare(tmp_path, "http://127.0.0.1:1", "--list", "paths.txt")
    assert (1, True) == (code, "there is nothing to ask for" in errors)
    code, _, errors = compare(tmp_path, "http://127.0.0.1:1", "--list", "absent.txt")
    assert (1, True) == (code, "absent.txt: No such file" in errors)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["localhost"],
        ["ftp://localhost"],
        ["http://localhost/?a=b"],
        ["http://localhost", "-H", "no colon"],
        ["http://localhost", "--list", "a", "--access-log", "b"],
        ["http://localhost", "--timeout", "0"],
    ],
)
def test_a_wrong_command_line_is_code_2(tmp_path: Path, words: list[str]) -> None:
    """With the reason on standard error."""
    prepare(tmp_path, {}, "[paths]\nplugins = plugins\n")
    code, output, errors = compare(tmp_path, *words)
    assert (2, "", True) == (code, output, bool(errors))
