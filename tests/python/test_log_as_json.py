"""The server's log as lines of JSON, for programs that collect logs."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from support.server import Launch, Server

PLUGINS = {
    "shop": """
        import logging
        from plugincore.baseplugin import BasePlugin

        class Shop(BasePlugin):
            async def request_handler(self, **data):
                what = data["subpath"]
                if what == "raise":
                    raise KeyError("no such item")
                if what == "catch":
                    try:
                        1 / 0
                    except ZeroDivisionError:
                        self.log.exception("caught")
                if what == "odd":
                    self.log.warning('a "quoted"\\nsecond line \\u2028\\x1b[2J end')
                    logging.getLogger("lib.part").error("of a library")
                return 200, {}
    """,
}

JSON = "[log]\nformat = json\n"


def records(server: Server) -> list[dict[str, Any]]:
    """Return all that the server has written, each line of which has to be an object."""
    return [json.loads(line) for line in server.lines]


def test_each_line_is_an_object_with_time_level_logger_and_message(launch: Launch, tmp_path: Path) -> None:
    """In the file, too, and whatever a text contains; warnings of the ini file are no exception."""
    file = tmp_path / "server.log"
    server = launch(PLUGINS, ini_more=JSON + "[limits]\nodd = 1\n", args=["-l", str(file)])
    server.get("/shop/odd")
    assert 0 == server.stop()
    seen = records(server)
    for record in seen:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", record["time"])
        assert {"time", "level", "logger", "message"} <= set(record)
    assert [json.loads(line) for line in file.read_text().splitlines()] == seen
    by_logger = {(one["logger"], one["level"]): one["message"] for one in seen}
    assert 'a "quoted"\nsecond line \u2028\x1b[2J end' == by_logger["shop", "WARN"]
    assert "of a library" == by_logger["lib.part", "ERROR"]
    assert "[limits] odd: is not known" in by_logger["plugincore", "WARN"]


def test_an_exception_is_one_field(launch: Launch) -> None:
    """Plugin and request have fields of their own, by which the line is found."""
    server = launch(PLUGINS, ini_more=JSON)
    assert 500 == server.get("/shop/raise", headers={"X-Request-Id": "r-1"}).status_code
    assert 200 == server.get("/shop/catch").status_code
    assert 0 == server.stop()
    raised, caught = [one for one in records(server) if "exception" in one]
    assert ("ERROR", "plugincore", "shop", "r-1") == tuple(
        raised[name] for name in ("level", "logger", "plugin", "request_id")
    )
    assert raised["exception"].startswith("Traceback (most recent call last):\n")
    assert raised["exception"].rstrip().endswith("KeyError: 'no such item'")
    assert ("EXCEPTION", "shop", "caught") == tuple(caught[name] for name in ("level", "logger", "message"))
    assert caught["exception"].endswith("ZeroDivisionError: division by zero")


def test_a_reload_changes_the_format(launch: Launch) -> None:
    """Both ways."""
    server = launch(PLUGINS)
    ini = server.folder / "server.ini"
    text = ini.read_text()
    for more, pattern in ((JSON, r'^\{.*"message":"Reloaded all plugins'), ("", r"^<6> - INFO - \S+ - Reloaded all")):
        since = len(server.lines)
        ini.write_text(text + more)
        server.send(signal.SIGHUP)
        server.wait_for(pattern, since)


def test_a_format_that_is_none_prevents_the_start(launch: Launch) -> None:
    """With code 2, file and line."""
    server = launch(PLUGINS, ini_more="[log]\nformat = xml\n", ready=False)
    assert 2 == server.wait()
    assert re.search(r"server\.ini:\d+: \[log\] format: must be text or json, not \"xml\"", server.log), server.log
