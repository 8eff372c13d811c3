"""The log of a running server: one stream, two formats, and no secrets in it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from support.plugins import INI, prepare
from support.ports import wait_for_port
from support.server import Launch, Server, command
from support.wait import TIMEOUT

DATED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - (\S+) - ([A-Z]+) - (.*)")
PIPED = re.compile(r"<(\d)> - ([A-Z]+) - (\S+) - (.*)")
PRIORITIES = {"DEBUG": "7", "INFO": "6", "WARN": "4", "ERROR": "3", "CRITICAL": "2", "EXCEPTION": "2"}

SPEAKER = """
    import asyncio
    import gc
    import logging
    import warnings
    from plugincore.baseplugin import BasePlugin

    class Speaker(BasePlugin):
        async def request_handler(self, **data):
            what = data["subpath"]
            if what == "all":
                self.log("own", 1)
                data["log"].debug("server's")
                logging.getLogger("lib.part").warning("library %d", 2)
                warnings.warn("deprecated thing")
                self.log.critical("own again")
            if what == "raise":
                raise ValueError(data["text"])
            if what == "exception":
                try:
                    1 / 0
                except ZeroDivisionError:
                    self.log.exception("caught", data["text"])
            if what == "task":
                async def fail():
                    raise LookupError("nobody looks")
                task = asyncio.create_task(fail())
                while not task.done():
                    await asyncio.sleep(0)
                del task
                gc.collect()
            if what == "forgotten":
                asyncio.sleep(0)
                gc.collect()
            if what == "print":
                print("printed", data["text"])
            return 200, {"answer": "of the handler"}
"""


def records(lines: list[str]) -> list[tuple[str, str, str]]:
    """Return level, name and text of piped lines, each of which must be in the format and of the right priority."""
    found = []
    for line in lines:
        match = PIPED.fullmatch(line)
        assert match, f"not a record: {line!r}"
        assert PRIORITIES[match[2]] == match[1], line
        found.append((match[2], match[3], match[4]))
    return found


def asked(server: Server, path: str, **options: object) -> list[str]:
    """Make a request and return what the server has written by the time the next one is answered."""
    before = len(server.lines)
    server.get("/speaker/print?text=begin")
    server.wait_for("^printed begin$", since=before)
    begin = server.lines.index("printed begin", before) + 1
    server.get(path, **options)
    server.get("/speaker/print?text=end")
    server.wait_for("^printed end$", since=begin)
    return server.lines[begin : server.lines.index("printed end", begin)]


def test_on_a_pipe_every_record_has_its_priority(launch: Launch) -> None:
    """From start to stop there is no line in another format."""
    server = launch({"speaker": SPEAKER, "broken": "import no_such_module\n"}, ini_more="[nowork]\nx = 1\n")
    for what in ("all", "raise?text=t", "exception?text=t", "task", "forgotten"):
        server.get(f"/speaker/{what}")
    server.get("/no-such-plugin")
    assert 200 == server.get("/reload/all").status_code
    assert 0 == server.stop()
    seen = records(server.lines)
    assert {"plugincore", "speaker", "lib.part", "py.warnings", "asyncio"} == {name for _, name, _ in seen}
    assert set(PRIORITIES) == {level for level, _, _ in seen}


def test_all_who_speak_are_in_one_stream_in_order(launch: Launch) -> None:
    """LogJam, the server's log, `logging` and `warnings` come out as they were called, each under its name."""
    lines = asked(launch({"speaker": SPEAKER}), "/speaker/all")
    expected = [
        ("INFO", "speaker", "own 1"),
        ("DEBUG", "plugincore", "server's"),
        ("WARN", "lib.part", "library 2"),
        ("CRITICAL", "speaker", "own again"),
    ]
    seen = records(lines)
    texts = [(level, name, text.partition(" request_id=")[0]) for level, name, text in seen]
    assert expected == [record for record in texts if record[1] != "py.warnings"]
    assert ["py.warnings"] == [name for _, name, _ in seen[3:4]]
    assert "UserWarning: deprecated thing" in seen[3][2]


def test_asyncio_s_complaints_are_records(launch: Launch) -> None:
    """An exception that is not retrieved and a coroutine that is not awaited are logged, each on one line."""
    server = launch({"speaker": SPEAKER})
    (task,) = records(asked(server, "/speaker/task"))
    assert ("ERROR", "plugincore") == task[:2]
    assert re.search(r"plugin speaker: Task exception was never retrieved.*\\nLookupError: nobody looks", task[2])
    (forgotten,) = records(asked(server, "/speaker/forgotten"))
    assert ("WARN", "py.warnings") == forgotten[:2]
    assert "coroutine 'sleep' was never awaited" in forgotten[2]


@pytest.mark.parametrize("what", ["raise", "exception"])
def test_a_client_cannot_forge_a_line(launch: Launch, what: str) -> None:
    """Line ends, terminal sequences and Unicode's line ends in a text are escaped; its traceback is on the line."""
    forged = "x\n<6> - INFO - plugincore - forged\r\x1b[2K\u2028\x85y"
    server = launch({"speaker": SPEAKER})
    (record,) = records(asked(server, f"/speaker/{what}", params={"text": forged}))
    assert {"raise": "plugincore", "exception": "speaker"}[what] == record[1]
    assert r"x\n<6> - INFO - plugincore - forged\r\x1b[2K\u2028\x85y" in record[2]
    assert r"Traceback (most recent call last):\n" in record[2]


def test_a_strange_id_or_path_cannot_forge_a_line(launch: Launch) -> None:
    """What a client writes into the request line does not get into the log as it is."""
    server = launch({"speaker": SPEAKER}, ini_more="[auth]\napikey = k\n")
    before = len(server.lines)
    server.get("/reload/x%0A%3C6%3E%20-%20INFO%20-%20plugincore%20-%20forged?apikey=k")
    server.wait_for("No such plugin to reload", since=before)
    assert 0 == server.stop()
    assert not [line for line in server.lines if line.startswith("<6> - INFO - plugincore - forged")]
    records(server.lines)


def test_what_plugins_print_appears_at_once(launch: Launch) -> None:
    """Not only when a buffer is full or the server ends, and not within a record."""
    server = launch({"speaker": "print('at import')\n" + SPEAKER.replace("\n    ", "\n")})
    assert server.wait_for("^at import$")
    server.get("/speaker/print?text=here")
    assert server.wait_for("^printed here$")
    assert server.process.poll() is None


def test_a_file_gets_the_same_records_dated(launch: Launch, tmp_path: Path) -> None:
    """`-l` adds a file; the pipe gets every record as before."""
    file = tmp_path / "server.log"
    server = launch({"speaker": SPEAKER}, args=["-l", str(file)])
    for what in ("all", "raise?text=t", "task"):
        server.get(f"/speaker/{what}")
    assert 0 == server.stop()
    dated = [DATED.fullmatch(line) for line in file.read_text().splitlines()]
    assert None not in dated
    assert records(server.lines) == [(match[3], match[2], match[4]) for match in dated if match]
    assert [match[1] for match in dated if match] == sorted(match[1] for match in dated if match)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", {"DEBUG", "INFO", "WARN", "CRITICAL"}),
        ("INFO", {"INFO", "WARN", "CRITICAL"}),
        ("WARN", {"WARN", "CRITICAL"}),
        ("warning", {"WARN", "CRITICAL"}),
        ("ERROR", {"CRITICAL"}),
    ],
)
def test_the_level_holds_for_everybody_who_speaks(launch: Launch, level: str, expected: set[str]) -> None:
    """`-v` counts for the server, plugins and `logging` alike, without `-l` too."""
    server = launch({"speaker": SPEAKER}, args=["-v", level], ready=False)
    # Above INFO the start is not logged, so the port comes from the kernel's table.
    server.base_url = f"http://127.0.0.1:{wait_for_port(server.pid)}"
    assert expected == {level for level, _, _ in records(asked(server, "/speaker/all"))}


LIBRARY_USER = """
    import logging
    import installed_client
    from plugincore.baseplugin import BasePlugin

    class User(BasePlugin):
        async def request_handler(self, **data):
            if data["subpath"] == "wanted":
                logging.getLogger("installed_client").setLevel(logging.INFO)
            installed_client.ask()
            logging.getLogger("installed_client.of_the_plugin").info("the plugin's own")
            return 200, {}
"""
LIBRARY = """
import logging

def ask():
    logging.getLogger("installed_client.part").info("GET https://example.org/?token=secret")
    logging.getLogger("installed_client.part").warning("slow")
"""


@pytest.mark.parametrize(("level", "path"), [("INFO", "/user"), ("INFO", "/user/wanted"), ("DEBUG", "/user")])
def test_an_installed_library_is_quiet_below_warn_unless_it_is_wanted(
    launch: Launch, tmp_path: Path, level: str, path: str
) -> None:
    """By the level DEBUG, or by a level of its logger; what a plugin logs by such a name counts as the plugin's."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "installed_client.py").write_text(LIBRARY)
    server = launch({"user": LIBRARY_USER}, env={"PYTHONPATH": str(installed)}, args=["-v", level])
    assert 200 == server.get(path).status_code
    assert 0 == server.stop()
    seen = [line.partition(" - installed_client.")[2] for line in server.lines_without_ids]
    wanted = (level, path) != ("INFO", "/user")
    asked = ["part - GET https://example.org/?token=secret"] if wanted else []
    assert [*asked, "part - slow", "of_the_plugin - the plugin's own"] == [line for line in seen if line]


def test_on_a_terminal_records_are_dated(tmp_path: Path) -> None:
    """A person sees time and name instead of a priority."""
    prepare(tmp_path, {"speaker": SPEAKER}, INI)
    master, slave = pty.openpty()
    program = [*command(), "-i", "server.ini", "-v", "DEBUG"]
    env = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen(program, cwd=tmp_path, stdin=slave, stdout=slave, env=env) as process:
        os.close(slave)
        output = b""
        try:
            while chunk := os.read(master, 4096):
                output += chunk
                if started := re.search(rb"Server started on 127\.0\.0\.1:(\d+)\r\n", output):
                    httpx.get(f"http://127.0.0.1:{int(started[1])}/speaker/all", trust_env=False)
                    process.send_signal(signal.SIGTERM)
                    break
            while chunk := os.read(master, 4096):
                output += chunk
        except OSError:  # Linux's end of file on a terminal
            pass
        assert 0 == process.wait(TIMEOUT)
    os.close(master)
    # But for the banner of the start and the further lines of texts, which are no records.
    written = output.decode().replace("\r\n", "\n").splitlines()
    lines = [line for line in written if line and not line.startswith("  ")]
    dated = [DATED.fullmatch(line) for line in lines]
    assert None not in dated, lines
    names = {match[2] for match in dated if match}
    assert {"plugincore", "speaker", "lib.part", "py.warnings", "asyncio"} == names


def test_a_reader_that_has_gone_does_not_stop_the_server(tmp_path: Path) -> None:
    """Lines are lost then, and nothing else."""
    prepare(tmp_path, {"speaker": SPEAKER}, INI)
    with subprocess.Popen([*command(), "-i", "server.ini"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if started := re.search(r"Server started on (\S+)", line):
                break
        process.stdout.close()
        for _ in range(3):
            answer = httpx.get(f"http://{started[1]}/speaker/all", trust_env=False)  # type: ignore[index]
            assert 200 == answer.status_code
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(TIMEOUT)


SECRET = "s3cr3t"
DISCREET = """
    from plugincore.baseplugin import BasePlugin

    class Discreet(BasePlugin):
        async def request_handler(self, **data):
            return 200, {"answer": "s3cr3t-answer", "given": data.get("value")}

    class Result(BasePlugin):
        async def request_handler(self, **data):
            return 200, {"key": {"s3cr3t-value"}}

    class Page(BasePlugin):
        async def request_handler(self, **data):
            return 200, "s3cr3t-page"
"""


def test_no_key_and_no_body_is_logged_at_any_level(launch: Launch, tmp_path: Path) -> None:
    """Keys, variables, bodies, answers and configuration values stay out of the log, whatever goes wrong."""
    file = tmp_path / "server.log"
    server = launch(
        {"discreet": DISCREET, "params.json": f'{{"value": "{SECRET}-json"}}'},
        ini_more=f"""\
[auth]
apikey = {SECRET}-host

[mine]
password = {SECRET}-password

[plugin_parms]
discreet = auth_type=plugin&apikey={SECRET}-own&json=params.json&token={SECRET}-token
""",
        args=["-v", "DEBUG", "-l", str(file)],
    )
    own, host, wrong = (f"{SECRET}-{name}" for name in ("own", "host", "wrong"))
    for path in ("/discreet", "/result", "/page"):
        server.get(path, headers={"Authorization": f"Bearer {own}"})
        server.get(path, headers={"X-Custom-Auth": own})
        server.get(path, params={"apikey": own, "value": f"{SECRET}-query"})
        server.post(path, json={"apikey": own, "value": f"{SECRET}-body"})
        server.post(path, data={"apikey": own, "value": f"{SECRET}-form"})
        server.post(path, data={"apikey": own}, files={"file": (f"{SECRET}-name", f"{SECRET}-file")})
        server.post(path, content=f'{{"apikey": "{own}", {SECRET}', headers={"Content-Type": "application/json"})
        server.post(path, content=f"{SECRET}=\xff%zz&apikey", headers={"Content-Type": "multipart/form-data"})
        server.get(path, headers={"Authorization": f"Bearer {wrong}"})
        server.get(path, params={"apikey": wrong})
        server.get(path, headers={"Authorization": f"Basic {wrong}", "Cookie": f"session={SECRET}-cookie"})
    server.get("/plugins", params={"apikey": wrong})
    server.get("/plugins", headers={"Authorization": f"Bearer {host}"})
    server.get(f"/{SECRET}-path")
    server.raw(f"GET /discreet?apikey={own} HTTP/1.1\r\nX-{SECRET}: {SECRET}\r\n\r\n".encode())
    server.raw(f"NONSENSE {SECRET}\r\n{SECRET}\r\n\r\n".encode())
    assert 200 == server.get("/reload/discreet", params={"apikey": host}).status_code
    server.send(signal.SIGHUP)
    server.wait_for("Reloaded all plugins")
    assert 0 == server.stop()
    assert [] == [line for line in [*server.lines, *file.read_text().splitlines()] if SECRET in line]
    assert any("Not authorized" in line for line in server.lines)


def test_a_refusal_names_the_client_and_the_plugin(launch: Launch) -> None:
    """The client that was refused is logged, as in the original, with the target."""
    server = launch({"discreet": DISCREET}, ini_more="[plugin_parms]\ndiscreet = auth_type=plugin&apikey=k\n")
    server.get("/discreet")
    assert server.wait_for(r"<4> - WARN - plugincore - 127\.0\.0\.1 - request for discreet - Not authorized$")
