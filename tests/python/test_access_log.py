"""The access log of a running server: what is in it, what is not, and what it must never hold up."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from support import metrics
from support.http2 import Http2
from support.server import Launch, Server
from support.wait import TIMEOUT, wait_until

PLUGINS = {
    "shop": """
        import asyncio
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import StreamingResponse

        class Shop(BasePlugin):
            async def request_handler(self, **data):
                what = data["subpath"]
                if what == "slow":
                    await asyncio.sleep(0.3)
                if what == "raise":
                    raise KeyError("no such item")
                if what == "stream":
                    async def pieces():
                        for _ in range(3):
                            yield b"x" * 1000
                            await asyncio.sleep(0.1)
                    return StreamingResponse(pieces())
                return 200, "sold"
    """,
    "locked": """
        from plugincore.baseplugin import BasePlugin

        class Locked(BasePlugin):
            async def request_handler(self, **data):
                return 200, {}
    """,
}

#: The figure of lines that were lost.
LOST = "plugincore_access_log_lines_lost_total"

JSON = "[access_log]\nfile = access.log\nformat = json\n"


def records(server: Server, count: int, name: str = "access.log") -> list[dict[str, Any]]:
    """Return the first records of the access log, once there are so many."""
    file = server.folder / name

    def found() -> bool:
        return file.exists() and len(file.read_text().splitlines()) >= count

    wait_until(found, "the access log has too few lines")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_request_of_a_plugin_is_one_line_with_its_times(launch: Launch) -> None:
    """JSON has what is known, and leaves out what is not."""
    server = launch(PLUGINS, ini_more=JSON)
    answer = server.get("/shop/slow?a=1", headers={"User-Agent": "till", "X-Request-Id": "r-1"})
    (record,) = records(server, 1)
    assert 200 == answer.status_code
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", record["time"])
    assert {"method": "GET", "path": "/shop/slow", "query": "a=1", "version": "HTTP/1.1", "scheme": "http"} == {
        name: record[name] for name in ("method", "path", "query", "version", "scheme")
    }
    assert ("127.0.0.1", "shop", "r-1", "till") == tuple(
        record[name] for name in ("client", "plugin", "request_id", "user_agent")
    )
    assert (200, len(answer.content)) == (record["status"], record["bytes"])
    assert 0.3 <= record["handler"] <= record["total"] < TIMEOUT
    assert 0 <= record["queue"] < record["total"]
    assert not {"key", "reason", "referer"} & set(record)


def test_everything_that_is_answered_is_logged(launch: Launch, tmp_path: Path) -> None:
    """Plugins, refusals, static files, health checks, the server's own pages, and what is no request at all."""
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.txt").write_text("text")
    more = f"""\
[file_server]
documents = docs:{tmp_path}/documents
[keys]
ada = key=ada-key&scopes=*,control
[plugin locked]
auth = key
"""
    server = launch(PLUGINS, ini_more=JSON + more)
    server.get("/shop")
    server.get("/nowhere")
    server.get("/locked", headers={"X-Custom-Auth": "wrong"})
    server.get("/locked", headers={"X-Custom-Auth": "ada-key"})
    server.get("/docs/a.txt")
    server.get("/-/healthy")
    server.get("/plugins", headers={"X-Custom-Auth": "ada-key"})
    server.request("DELETE", "/shop")
    server.get("/shop/raise")
    server.request("HEAD", "/shop")
    server.raw(b"GET /shop HTTP/1.1\r\n\r\n")
    server.raw(b"GET / /\x01 nonsense\r\n\r\n")
    seen = [
        (one.get("method"), one.get("path"), one["status"], one.get("reason"), one.get("plugin"), one.get("key"))
        for one in records(server, 12)
    ]
    assert [
        ("GET", "/shop", 200, None, "shop", None),
        ("GET", "/nowhere", 404, "not_found", None, None),
        ("GET", "/locked", 403, "wrong_key", "locked", None),
        ("GET", "/locked", 200, None, "locked", "ada"),
        ("GET", "/docs/a.txt", 200, None, None, None),
        ("GET", "/-/healthy", 200, None, None, None),
        ("GET", "/plugins", 200, None, None, "ada"),
        ("DELETE", "/shop", 405, "not_found", "shop", None),
        ("GET", "/shop/raise", 500, None, "shop", None),
        ("HEAD", "/shop", 200, None, "shop", None),
        ("GET", "/shop", 400, "malformed", None, None),
        (None, None, 400, "malformed", None, None),
    ] == seen
    bytes_sent = {one["path"]: one["bytes"] for one in records(server, 12)[4:10] if one["method"] != "DELETE"}
    assert (4, 0) == (bytes_sent["/docs/a.txt"], bytes_sent["/shop"])
    assert "ada-key" not in (server.folder / "access.log").read_text()


def test_requests_by_http2_are_logged(launch: Launch) -> None:
    """The line names the version."""
    server = launch(PLUGINS, ini_more=JSON)
    with Http2(server) as client:
        for path, *more in (["/shop"], ["/nowhere"], ["/shop", ("host", "another")]):
            client.answer(client.begin(path, *more))
    assert [(200, None), (404, "not_found"), (400, "malformed")] == [
        (one["status"], one.get("reason")) for one in records(server, 3) if one["version"] == "HTTP/2.0"
    ]


def test_a_streamed_answer_is_logged_at_its_end(launch: Launch) -> None:
    """Then its bytes and its time are known; a client that leaves ends it earlier."""
    server = launch(PLUGINS, ini_more=JSON)
    server.get("/shop/stream")
    (record,) = records(server, 1)
    assert 3000 == record["bytes"]
    assert 0.2 <= record["total"]
    with server.connect() as connection:
        connection.sendall(b"GET /shop/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100)
    assert records(server, 2)[1]["bytes"] < 3000


@pytest.mark.parametrize(
    ("word", "behind"), [("common", ""), ("combined", r' "http://x/\?token=\*\*\*" "a \\"b\\" \\\\"')]
)
def test_the_formats_of_httpd_can_be_read_by_its_tools(launch: Launch, word: str, behind: str) -> None:
    """No client can end the quotes, or a line."""
    server = launch(PLUGINS, ini_more=f"[access_log]\nfile = access.log\nformat = {word}\n")
    server.get("/shop?apikey=k", headers={"User-Agent": 'a "b" \\', "Referer": "http://x/?token=t"})
    server.get("/-/healthy")
    file = server.folder / "access.log"
    wait_until(lambda: file.exists() and file.read_text().count("\n") == 2, "lines are missing")
    line = file.read_text().splitlines()[0]
    time = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    assert re.fullmatch(rf'127\.0\.0\.1 - - {time} "GET /shop\?apikey=\*\*\* HTTP/1\.1" 200 4{behind}', line), line


def test_no_request_can_forge_a_line(launch: Launch) -> None:
    """Whatever bytes a client sends, its request is one line, and a field ends where it ends."""
    server = launch(PLUGINS, ini_more='[access_log]\nfile = access.log\nformat = "{path}" "{user_agent}" {status}\n')
    odd = b'x" 200\t"\x85\xe2\x80\xa8\xe2\x80\xae\\\xff'
    head = b'GET /shop/%0a%22"\xe2\x80\xa8{} HTTP/1.1\r\nHost: x\r\nUser-Agent: ' + odd + b"\r\n\r\n"
    server.raw(head)
    server.raw(head.replace(b'"\xe2\x80\xa8', b""))
    server.get("/-/healthy")
    file = server.folder / "access.log"
    wait_until(lambda: file.exists() and "/-/healthy" in file.read_text(), "the last line is missing")
    lines = file.read_text().split("\n")
    assert 4 == len(lines), lines
    for line in lines[:3]:
        assert line.splitlines() == [line]
        assert re.fullmatch(r'("(\\.|[^"\\\t\x00-\x1f])*"|-|"-") ("(\\.|[^"\\\t\x00-\x1f])*") \d{3}', line), line


def test_keys_in_queries_are_left_out(launch: Launch) -> None:
    """Under whatever case or escape their name is sent."""
    server = launch(PLUGINS, ini_more=JSON)
    server.get("/shop?apikey=hidden&b=2&%41PIkey=hidden&access_token=hidden&monkey=seen")
    (record,) = records(server, 1)
    assert "apikey=***&b=2&%41PIkey=***&access_token=***&monkey=seen" == record["query"]
    assert "hidden" not in server.log


def test_a_sample_leaves_out_neither_errors_nor_slow_requests(launch: Launch) -> None:
    """One of a million is none, but those that matter are all there."""
    server = launch(PLUGINS, ini_more=JSON + "sample = 1/1000000\nslow = 250ms\n")
    with server.client() as client:
        for _ in range(50):
            client.get("/shop")
            client.get("/nowhere")
        client.get("/shop/slow")
    assert 0 == server.stop()
    seen = records(server, 51)
    paths = [one["path"] for one in seen]
    assert [50, 1] == [paths.count(path) for path in ("/nowhere", "/shop/slow")]
    assert not [one for one in seen if one["status"] < 400 and one["total"] <= 0.25]


def test_a_sample_is_about_that_many(launch: Launch) -> None:
    """Requests are chosen at random, so that no pattern of clients falls through."""
    server = launch(PLUGINS, ini_more=JSON + "sample = 1/2\n")
    with server.client() as client:
        for _ in range(300):
            client.get("/-/healthy")
    assert 0 == server.stop()
    assert 90 < len(records(server, 1)) < 210


def test_rotation_under_load_loses_no_line(launch: Launch) -> None:
    """After each SIGHUP lines go to a new file; all requests are in one of them, once."""
    server = launch(PLUGINS, ini_more=JSON)
    file, counts, over = server.folder / "access.log", [0] * 4, threading.Event()

    def load(number: int) -> None:
        with server.client() as client:
            while not over.is_set():
                client.get(f"/shop/{number}-{counts[number]}")
                counts[number] += 1

    threads = [threading.Thread(target=load, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for rotation in range(3):
        before = sum(counts)
        wait_until(lambda before=before: sum(counts) > before + 20, "no requests are answered")
        since = len(server.lines)
        file.rename(server.folder / f"access.log.{rotation}")
        server.send(signal.SIGHUP)
        server.wait_for("Reloaded all plugins", since)
        wait_until(file.exists, "the file is not made anew")
    over.set()
    for thread in threads:
        thread.join(TIMEOUT)
    assert 0 == server.stop()
    texts = [path.read_text() for path in server.folder.glob("access.log*")]
    paths = sorted(json.loads(line)["path"] for text in texts for line in text.splitlines())
    assert sorted(f"/shop/{number}-{count}" for number in range(4) for count in range(counts[number])) == paths
    assert 4 == len(texts)


def test_a_blocked_output_holds_up_no_request_and_what_is_lost_is_counted(launch: Launch, tmp_path: Path) -> None:
    """A pipe that nothing reads: requests are answered, lines are lost, and metric and log have the number."""
    os.mkfifo(tmp_path / "pipe")
    server = launch(PLUGINS, ini_more=f"[access_log]\nfile = {tmp_path}/pipe\nformat = json\n")
    agent = {"User-Agent": "x" * 8000}
    with server.client(headers=agent) as client:
        for _ in range(250):
            assert 200 == client.get("/-/healthy").status_code
        lost = metrics.value(metrics.read(server), LOST)
    assert 50 < lost < 250
    server.wait_for(r"WARN - plugincore - \d+ lines of the access log were lost")
    descriptor = os.open(tmp_path / "pipe", os.O_RDONLY)
    reading = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(descriptor, 65536), b"")])
    reading.start()
    assert 0 == server.stop()
    reading.join(TIMEOUT)
    os.close(descriptor)


def test_a_full_device_holds_up_no_request(launch: Launch) -> None:
    """Lines are lost and counted."""
    server = launch(PLUGINS, ini_more="[access_log]\nfile = /dev/full\n")

    def lost() -> bool:
        assert 200 == server.get("/shop").status_code
        return metrics.value(metrics.read(server), LOST) > 0

    wait_until(lost, "no line is counted")
    assert 0 == server.stop()


def test_lines_may_go_to_standard_output(launch: Launch) -> None:
    """Beside the log, without its prefix."""
    server = launch(PLUGINS, ini_more="[access_log]\nstdout = true\nformat = seen {method} {path} {{{status}}}\n")
    server.get("/shop")
    server.wait_for(r"^seen GET /shop \{200\}$")


def test_lines_may_go_to_the_journal(launch: Launch, tmp_path: Path) -> None:
    """Each is one message, with fields by which it can be found."""
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        journal.settimeout(TIMEOUT)
        server = launch(PLUGINS, ini_more=f"[access_log]\njournald = {path}\nformat = {{method}} {{path}}\n")
        server.get("/shop/raise", headers={"X-Request-Id": "r-1"})
        message = journal.recv(10000).decode()
    assert [
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=plugincore",
        "PLUGINCORE_REQUEST_ID=r-1",
        "PLUGINCORE_PLUGIN=shop",
        "PLUGINCORE_STATUS=500",
        "MESSAGE=GET /shop/raise",
    ] == message.splitlines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file = nowhere/access.log", r"file: .*nowhere/access\.log cannot be written: No such file or directory"),
        ("file = plugins", r"file: .*plugins cannot be written: Is a directory"),
        ("file = access.log\nformat = comon", "format: must be common, combined, json or a template"),
        ("file = access.log\nformat = {method} {colour}", r"format: has no field \{colour\} \(fields are time, "),
        ("file = access.log\nsample = 10", "sample: must be 1 of a number of requests"),
        ("file = access.log\nslow = 0", "slow: must be a time above 0"),
        ("file = access.log\nstdout = yes", "stdout: is a second destination"),
        ("journald = /nowhere/socket", "journald: the journal does not receive at /nowhere/socket"),
    ],
)
def test_a_wrong_setting_prevents_the_start(launch: Launch, text: str, message: str) -> None:
    """With file and line, the remedy, and code 2."""
    server = launch(PLUGINS, ini_more=f"[access_log]\n{text}\n", ready=False)
    assert 2 == server.wait()
    assert re.search(rf"server\.ini:\d+: \[access_log\] {message}", server.log), server.log
    assert not (server.folder / "access.log").exists()


def test_a_reload_changes_the_access_log(launch: Launch) -> None:
    """It begins, goes elsewhere in another format, and ends; a wrong one changes nothing."""
    server = launch(PLUGINS)
    ini = server.folder / "server.ini"
    without = ini.read_text()

    def reload(more: str, outcome: str = "Reloaded all plugins") -> None:
        since = len(server.lines)
        ini.write_text(f"{without}\n{more}\n")
        server.send(signal.SIGHUP)
        server.wait_for(outcome, since)

    with server.client() as client:
        client.get("/shop/0")
        reload("[access_log]\nfile = a.log\nformat = {path}")
        client.get("/shop/1")
        reload("[access_log]\nfile = b.log\nformat = {method} {path}")
        client.get("/shop/2")
        reload("[access_log]\nfile = nowhere/c.log", r"\[access_log\] file: .* cannot be written")
        client.get("/shop/3")
        reload("")
        client.get("/shop/4")
    assert 0 == server.stop()
    assert "/shop/1\n" == (server.folder / "a.log").read_text()
    assert "GET /shop/2\nGET /shop/3\n" == (server.folder / "b.log").read_text()


def test_without_a_section_nothing_is_logged(launch: Launch) -> None:
    """A setting without a destination is one that is forgotten, which a warning says."""
    server = launch(PLUGINS, ini_more="[access_log]\nformat = json\n")
    server.get("/shop")
    server.wait_for(r"\[access_log\] format: is not used, since the access log has no destination")
    assert not [line for line in server.lines if "GET" in line]
