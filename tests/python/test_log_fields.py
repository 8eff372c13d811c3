"""What a line of a plugin's log has besides its text: fields, its request, and where a warning comes from."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from support import metrics
from support.server import Launch, Server
from support.wait import wait_until

PLUGINS = {
    "shop": """
        import asyncio
        import logging
        import threading
        import warnings
        from plugincore.baseplugin import BasePlugin

        class Odd:
            def __str__(self):
                raise RuntimeError("no text")

        class Shop(BasePlugin):
            def __init__(self, **options):
                super().__init__(**options)
                self.log("loaded", size=1)

            async def request_handler(self, **data):
                what = data["subpath"]
                if what == "fields":
                    self.log.info("sold", item=3, to="Ada Lovelace", by="till", price=1.5, paid=True, note=None)
                    self.log.warn("lists", ids=[1, "a"], more={"b": 2}, odd=Odd(), nan=float("nan"), empty="")
                    self.log("reserved", time=1, request_id="mine", message="x")
                    self.log.error("forged", text="a\\nb=1 c")
                if what == "everywhere":
                    self.log("in the handler")
                    data["log"]("by the server's log")
                    logging.getLogger("lib").warning("by logging")
                    await asyncio.create_task(self.task())
                    await asyncio.to_thread(self.log, "in a thread")
                    try:
                        raise KeyError("k")
                    except KeyError:
                        self.log.exception("caught", item=1)
                        logging.getLogger("lib").exception("caught by logging")
                if what == "warn":
                    warnings.warn("use rates()", DeprecationWarning)
                    warnings.warn("of the caller", stacklevel=10)
                if what == "fail":
                    asyncio.create_task(self.fail())
                return 200, {}

            async def task(self):
                await asyncio.sleep(0)
                self.log("in a task")

            async def fail(self):
                raise LookupError("not caught")
    """,
    "pool": """
        from plugincore.baseplugin import BasePlugin

        class Pool(BasePlugin):
            def request_handler(self, **data):
                self.log("in the pool")
                return 200, {}
    """,
}

JSON = "[log]\nformat = json\n"


def objects(server: Server, logger: str = "shop") -> dict[str, dict[str, Any]]:
    """Return the records of a logger by their messages."""
    records = [json.loads(line) for line in server.lines if line.startswith("{")]
    return {record["message"]: record for record in records if record["logger"] == logger}


def test_fields_stand_behind_the_message(launch: Launch) -> None:
    """As text they can be told apart: what is not one plain word is quoted."""
    server = launch(PLUGINS)
    server.get("/shop/fields", headers={"X-Request-Id": "r-1"})
    assert 0 == server.stop()
    seen = [line.partition(" - shop - ")[2] for line in server.lines if " - shop - " in line]
    assert [
        "loaded size=1",
        'sold item=3 to="Ada Lovelace" by=till price=1.5 paid=true note=null request_id=r-1',
        'lists ids=[1, "a"] more={"b": 2} odd=<Odd> nan=nan empty="" request_id=r-1',
        "reserved time_=1 request_id_=mine message_=x request_id=r-1",
        r'forged text="a\nb=1 c" request_id=r-1',
    ] == seen


def test_fields_are_members_of_json(launch: Launch) -> None:
    """With the types that they have."""
    server = launch(PLUGINS, ini_more=JSON)
    server.get("/shop/fields", headers={"X-Request-Id": "r-1"})
    assert 0 == server.stop()
    seen = objects(server)
    sold = {"item": 3, "to": "Ada Lovelace", "by": "till", "price": 1.5, "paid": True, "note": None}
    assert {**sold, "request_id": "r-1", "plugin": "shop"} == {
        name: value
        for name, value in seen["sold"].items()
        if name not in ("time", "level", "logger", "message", "trace_id")
    }
    lists = [seen["lists"][name] for name in ("ids", "more", "odd", "nan", "empty")]
    assert [[1, "a"], {"b": 2}, "<Odd>", "nan", ""] == lists
    assert (1, "mine", "r-1") == tuple(seen["reserved"][name] for name in ("time_", "request_id_", "request_id"))
    assert "request_id" not in seen["loaded"]


@pytest.mark.parametrize("as_json", [False, True])
def test_every_line_of_a_handler_has_its_request(launch: Launch, as_json: bool) -> None:
    """In its tasks and threads, too, and whichever way it logs; lines of requests at the same time are not mixed up."""
    server = launch(PLUGINS, ini_more=(JSON if as_json else "") + "[plugin pool]\nthreads = 2\n")
    ids = [f"r-{number}" for number in range(5)]
    for one in ids:
        server.get("/shop/everywhere", headers={"X-Request-Id": one})
        server.get("/pool", headers={"X-Request-Id": one})
    assert 0 == server.stop()
    for text in (
        "in the handler",
        "by the server's log",
        "by logging",
        "in a task",
        "in a thread",
        "in the pool",
        "caught",
        "caught by logging",
    ):
        if as_json:
            records = [json.loads(line) for line in server.lines]
            found = [one["request_id"] for one in records if one["message"] == text]
        else:
            found = re.findall(rf" - {text}(?: item=1)? request_id=(\S+?)(?:\\n|$)", server.log, re.MULTILINE)
        assert ids == found, text
    if as_json:
        assert "KeyError: 'k'" in objects(server, "lib")["caught by logging"]["exception"]
        assert {"shop"} == {one["plugin"] for one in objects(server, "lib").values()}


def test_a_warning_names_plugin_file_and_line_and_is_counted(launch: Launch) -> None:
    """Once for each place, as Python has it."""
    server = launch(PLUGINS, env={"PYTHONWARNINGS": "default"})
    for _ in range(2):
        server.get("/shop/warn", headers={"X-Request-Id": "r-1"})
    server.wait_for(
        r"WARN - py\.warnings - plugin shop: plugins/shop\.py:\d+: DeprecationWarning: use rates\(\) request_id=r-1$"
    )
    server.wait_for(r"WARN - py\.warnings - plugin shop: plugins/shop\.py:\d+: .*UserWarning: of the caller")
    assert 2 == metrics.value(metrics.read(server), "plugincore_python_warnings_total", plugin="shop")


def test_a_task_that_fails_unnoticed_is_counted(launch: Launch) -> None:
    """Its record names plugin, file and line, and in JSON the traceback is a field."""
    server = launch(PLUGINS, ini_more=JSON)
    server.get("/shop/fail")

    def counted() -> bool:
        return metrics.value(metrics.read(server), "plugincore_uncaught_exceptions_total", plugin="shop") == 1

    wait_until(counted, "it is not counted")
    line = json.loads(server.wait_for("not caught"))
    assert re.match(r"plugin shop: .*: plugins/shop\.py:\d+: LookupError: not caught", line["message"])
    assert line["exception"].startswith("Traceback")
    assert "shop" == line["plugin"]
