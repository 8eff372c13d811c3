"""What is reported of a plugin that does not load, and what becomes of what it had opened until then."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from support.plugins import INI
from support.server import Launch, Server

HEAD = "from plugincore.baseplugin import BasePlugin\n"
HANDLER = "    async def request_handler(self, **data):\n        return 200, {}\n"
GOOD = HEAD + "class Good(BasePlugin):\n" + HANDLER
CLASS = HEAD + "class Bad(BasePlugin):\n"

#: Notes what happens to its instances, and holds a task.
OPENER = """
import asyncio
from plugincore.baseplugin import BasePlugin

class Opener(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        print("opened", flush=True)
        asyncio.get_running_loop().create_task(self.work())

    async def work(self):
        try:
            await asyncio.sleep(3600)
        finally:
            print("task ended", flush=True)

    async def initialize(self, **kwargs):
        await asyncio.sleep(0)
        INITIALIZE

    def terminate_plugin(self):
        print("closed", flush=True)

    async def request_handler(self, **data):
        return 200, {}
"""


def before_start(server: Server) -> list[str]:
    """Return what was written before the server started."""
    started = next(number for number, line in enumerate(server.lines) if "Server started" in line)
    return server.lines[:started]


def errors(server: Server) -> list[str]:
    """Return the texts of all records at ERROR and above."""
    return [line.partition(" - plugincore - ")[2] for line in server.lines if re.match(r"<[23]>", line)]


@pytest.mark.parametrize(
    "initialize",
    [
        pytest.param("raise OSError('no sensor')", id="raises"),
        pytest.param("await asyncio.sleep(3600)", id="takes too long"),
        pytest.param("self._plugin_id = 'good'", id="takes an id that is taken"),
        pytest.param("self._plugin_id = '/'", id="has no id"),
        pytest.param("self._plugin_id = 'reload/x'", id="takes an id of the server"),
        pytest.param("self.http_methods = 5", id="has no methods"),
        pytest.param("self.request_handler = (lambda event: event)", id="cannot be called"),
    ],
)
def test_an_instance_that_does_not_come_to_serve_is_terminated_once(launch: Launch, initialize: str) -> None:
    """What its constructor opened is closed, and its tasks end, before the server starts; no word of the others."""
    source = OPENER.replace("INITIALIZE", initialize)
    server = launch({"good": GOOD, "opener": source}, ini_more="[server]\nplugin_timeout = 200ms\n")
    server.wait_for("Server started")
    lines = before_start(server)
    assert ["opened", "closed", "task ended"] == [line for line in lines if not line.startswith("<")]
    assert 1 == len(errors(server)), errors(server)
    assert "Terminating plugin" not in "\n".join(lines)
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]
    assert 0 == server.stop()
    assert 1 == server.lines.count("closed")


def test_the_words_for_a_discarded_plugin_are_not_those_for_a_good_one(launch: Launch) -> None:
    """The log must not suggest that the plugin which serves has been ended."""
    server = launch({"a": GOOD, "b": GOOD})
    server.wait_for(r"INFO - plugincore - discarding plugin good of plugins/b\.py, which does not serve")
    assert not [line for line in server.lines if "Terminating" in line]
    assert 200 == server.get("/good").status_code


def test_what_terminate_plugin_raises_on_a_half_made_instance_is_a_warning(launch: Launch) -> None:
    """It looks for what `initialize` did not get to; the failure itself is the error."""
    source = CLASS + "    def initialize(self, **kwargs):\n        raise OSError('no sensor')\n"
    server = launch({"bad": source + "    def terminate_plugin(self):\n        self.sensor.close()\n", "good": GOOD})
    server.wait_for(r"WARN - plugincore - plugins/bad\.py: discarding .*terminate_plugin: AttributeError: .*'sensor'")
    assert 1 == len(errors(server)), errors(server)


def test_the_tasks_of_a_sibling_go_on(launch: Launch) -> None:
    """Of two plugins in a file, the one that serves keeps what it started."""
    source = OPENER.replace("INITIALIZE", "self._plugin_id = 'good'")
    sibling = """
class Sibling(BasePlugin):
    async def initialize(self, **kwargs):
        self.task = asyncio.create_task(asyncio.sleep(3600))

    async def request_handler(self, **data):
        return 200, {"alive": not self.task.done()}
"""
    server = launch({"good": GOOD, "pair": source + sibling})
    assert "task ended" in before_start(server)
    assert {"alive": True} == server.get("/sibling").json()


def test_a_reload_discards_what_cannot_take_over(launch: Launch) -> None:
    """The new instance of a file that failed is closed; the old one is not touched."""
    server = launch({"opener": OPENER.replace("INITIALIZE", "pass")})
    since = len(server.lines)
    (server.plugins / "opener.py").write_text(OPENER.replace("INITIALIZE", "1 / 0"))
    assert 500 == server.get("/reload/opener").status_code
    server.wait_for("closed", since)
    assert 200 == server.get("/opener").status_code
    server.wait_for("Nothing was reloaded; plugins that serve: opener", since)
    said = [line for line in server.lines[since:] if not line.startswith("<")]
    assert ["opened", "closed", "task ended"] == said


REASON = r"plugins/bad\.py:4: class Bad: ZeroDivisionError: division by zero"


def test_a_failure_is_one_record_with_its_traceback(launch: Launch) -> None:
    """At the start there is one line for it at any level, and a traceback that names the file absolutely."""
    source = CLASS + "    def initialize(self, **kwargs):\n        1 / 0\n"
    server = launch({"bad": source}, args=["-v", "DEBUG"])
    (line,) = [line for line in server.lines if "ZeroDivisionError" in line]
    assert re.search(rf"ERROR - plugincore - {REASON}\\nTraceback \(most recent call last\):\\n", line)
    assert f'File "{server.plugins}/bad.py", line 4, in initialize\\n    1 / 0' in line


def test_a_failed_reload_tells_each_reason_once(launch: Launch) -> None:
    """In the log with the traceback, in the answer without, and what follows from it on the same line."""
    server = launch({"bad": CLASS + HANDLER})
    (server.plugins / "bad.py").write_text(CLASS + "    def initialize(self, **kwargs):\n        1 / 0\n")
    answer = server.get("/reload/bad")
    (reason,) = answer.json()["reasons"]
    assert re.fullmatch(REASON + "; the earlier version goes on serving", reason)
    server.wait_for("Nothing was reloaded")
    (line,) = [line for line in server.lines if "ZeroDivisionError" in line]
    assert re.search(REASON + r"; the earlier version goes on serving\\nTraceback", line)
    assert 1 == len(errors(server)), errors(server)


def test_a_reload_that_leaves_no_plugin_says_so(launch: Launch) -> None:
    """Not a colon with nothing behind it."""
    server = launch({"good": GOOD})
    (server.plugins / "good.py").unlink()
    assert 200 == server.get("/reload/all").status_code
    server.wait_for("Reloaded all plugins: none$")


@pytest.mark.parametrize(("statement", "module"), [("import paho", "paho"), ("from paho.mqtt import client", "paho")])
def test_a_missing_module_is_told_with_the_python_that_wants_it(launch: Launch, statement: str, module: str) -> None:
    """Which of several Pythons to install it into is half of the riddle; its distribution's name is not guessed."""
    server = launch({"bad": f"\n{statement}\n"})
    python = Path(sys.executable).parent / "python"
    remedy = rf"\(install it: {re.escape(str(python))}[\d.]* -m pip install {module}, or the package that has it under"
    server.wait_for(rf"plugins/bad\.py:2: ModuleNotFoundError: No module named 'paho' {remedy}")


def test_a_module_that_is_missing_only_for_a_handler_is_told_alike(launch: Launch) -> None:
    """With the traceback of the request."""
    server = launch({"late": GOOD.replace("return 200", "import paho.mqtt\n        return 200")})
    answer = server.get("/good")
    assert 500 == answer.status_code
    assert "pip" not in answer.text
    server.wait_for(r"ModuleNotFoundError: No module named 'paho'\\n\(install it: .* -m pip install paho, ")


@pytest.mark.parametrize("statement", ["import json.nothing", "from json import nothing", "import good.nothing"])
def test_a_name_that_an_installed_module_lacks_is_not_to_be_installed(launch: Launch, statement: str) -> None:
    """`pip install json` would be no help."""
    server = launch({"good": GOOD, "zbad": statement})
    assert "pip install" not in server.wait_for(r"plugins/zbad\.py:1: (ModuleNotFound|Import)Error")


@pytest.mark.parametrize(
    ("helper", "told"),
    [
        ("import os\nimport no_such_module\n", r"No module named 'no_such_module', raised at plugins/zhelper\.py:2"),
        ("\n\nVALUE = {}['key']\n", r"KeyError: 'key', raised at plugins/zhelper\.py:3"),
        ("x = (\n", r"SyntaxError: .*, raised at plugins/zhelper\.py:1"),
        ("from yhelper import VALUE\n", r"NameError: .*, raised at plugins/yhelper\.py:2"),
        ("import json\njson.loads('')\n", r"JSONDecodeError: .*, raised at plugins/zhelper\.py:2"),
    ],
    ids=["import", "key", "syntax", "helper of a helper", "library"],
)
def test_an_error_in_a_helper_names_the_helper(launch: Launch, helper: str, told: str) -> None:
    """With its file and line, beside those of the plugin that imports it."""
    plugins = {"bad": HEAD + "\nfrom zhelper import VALUE\n", "zhelper": helper, "yhelper": "\nVALUE = undefined\n"}
    launch(plugins).wait_for(rf"plugins/bad\.py:3: .*{told}")


@pytest.mark.parametrize(
    ("definition", "line", "told"),
    [
        ("    def request_handler(self, data):\n        return data\n", 3, "does not take log"),
        ("    async def request_handler(self):\n        return 1\n", 3, "does not take log"),
        ("    def request_handler(**data):\n        return data\n", 3, "has no parameter self"),
        ("    def request_handler():\n        return 1\n", 3, "has no parameter self"),
        ("    def request_handler(self, *data):\n        return data\n", 3, "does not take log"),
        (
            "    def request_handler(self, data, /, **more):\n        return data\n",
            3,
            "takes data by its position only",
        ),
        ("    def request_handler(self, log, request, /, **more):\n        return 1\n", 3, "takes log by its position"),
        ("    def request_handler(self, log, request):\n        return 1\n", 3, "does not take request_headers"),
        ("    @staticmethod\n    def request_handler(data):\n        return data\n", 3, "does not take log"),
        ("\n    def handle_request(self, request):\n        return 200\n", 4, "does not take log"),
    ],
)
def test_a_handler_that_no_request_can_call_is_refused(launch: Launch, definition: str, line: int, told: str) -> None:
    """At the load, with its line and how to write it, in place of a 500 for each request."""
    server = launch({"bad": CLASS + definition, "good": GOOD})
    server.wait_for(
        rf"ERROR - plugincore - plugins/bad\.py:{line}: class Bad: \w+ cannot be called: it {told}.*; "
        r"write async def \w+\(self, \*\*data\)"
    )
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]


WRAPPED = """
import functools
def given(function):
    @functools.wraps(function)
    def wrapper(self, **data):
        return function(self, data)
    return wrapper
"""


@pytest.mark.parametrize(
    "definition",
    [
        "    def request_handler(this, **data):\n        return {}\n",
        "    def request_handler(self, log, request_headers, request, subpath, client_ip):\n        return {}\n",
        "    def request_handler(self, *, request, **data):\n        return {}\n",
        "    def request_handler(self, x=1, /, **data):\n        return {}\n",
        "    def request_handler(self, x, **data):\n        return {}\n    request_handler.__defaults__ = (1,) * 9\n",
        "    def request_handler(*args, **data):\n        return {}\n",
        "    @staticmethod\n    def request_handler(**data):\n        return {}\n",
        "    @classmethod\n    def request_handler(cls, **data):\n        return {}\n",
        "    @given\n    def request_handler(self, data):\n        return {}\n",
        "    request_handler = functools.partial(dict)\n",
        "    def handle_request(self, **data):\n        return {}\n    def request_handler(self):\n        pass\n",
    ],
)
def test_a_handler_that_can_be_called_is_not_refused(launch: Launch, definition: str) -> None:
    """However it is written: what a decorator or `handle_request` hands on is their own business."""
    server = launch({"odd": WRAPPED + HEAD + "class Odd(BasePlugin):\n" + definition})
    assert ["odd"] == server.get("/plugins").json()["loaded_plugins"]
    if "partial" not in definition:
        assert 200 == server.get("/odd").status_code


def test_a_handler_that_wants_a_variable_is_not_refused(launch: Launch) -> None:
    """A request may well bring it."""
    server = launch(
        {
            "wants": HEAD + "class Wants(BasePlugin):\n    def request_handler(self, name, **data):\n"
            "        return 200, name\n"
        }
    )
    assert (500, 200) == (server.get("/wants").status_code, server.get("/wants?name=x").status_code)


@pytest.mark.parametrize(
    ("parameters", "files", "reason"),
    [
        ("auth_type=glbal", {}, 'auth_type is "glbal"; it must be'),
        ("auth=glbal", {}, 'auth_type is "glbal"; it must be'),
        ("auth_type=global", {}, "Auth is global but no apikey in auth"),
        ("auth_type=plugin&a=1", {}, "Auth is plugin but no plugin apikey"),
        ("json=absent.json&a=1", {}, r"parameter file plugins/absent\.json: there is no such file"),
        ("json=broken.json", {"broken.json": '{"a": }'}, r"parameter file plugins/broken\.json: JSONDecodeError"),
    ],
)
def test_a_bad_parameter_is_blamed_on_its_line(
    launch: Launch, parameters: str, files: dict[str, str], reason: str
) -> None:
    """Not on a line of the plugin, which is right; for two classes in a file it is reported once."""
    meter = "".join(CLASS.replace("Bad", name) + HANDLER for name in ("Meter", "Meters"))
    more = f"[plugin_parms]\nother = a=1\nmeter = {parameters}\n"
    server = launch({"good": GOOD, "meter": meter, **files}, ini_more=more)
    number = (INI + "\n" + more).splitlines().index(f"meter = {parameters}") + 1
    told = rf"server\.ini:{number}: \[plugin_parms\] meter: {reason}"
    assert [True] == [bool(re.match(told, error)) for error in errors(server)], errors(server)
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]


def test_a_bad_parameter_of_the_environment_is_blamed_on_its_variable(launch: Launch) -> None:
    """It stands in no file."""
    more = "[plugin_parms]\nmeter = a=1\n"
    server = launch({"meter": GOOD}, ini_more=more, env={"PLUGINCORE_PLUGIN_PARMS_METER": "auth_type=glbal"})
    server.wait_for(r"environment variable PLUGINCORE_PLUGIN_PARMS_METER: \[plugin_parms\] meter: auth_type is")


@pytest.mark.parametrize(("env", "reason"), [({}, "is not set"), ({"METER_KEY": ""}, "is empty")])
def test_a_parameter_that_a_variable_did_not_give_names_the_variable(
    launch: Launch, env: dict[str, str], reason: str
) -> None:
    """The plugin is refused, never open, and the variable is what has to be set."""
    more = "[plugin_parms]\nmeter = auth_type=plugin&apikey=${ENV:METER_KEY}\n"
    server = launch({"meter": GOOD}, ini_more=more, env=env)
    server.wait_for(
        r"server\.ini:\d+: \[plugin_parms\] meter: Auth is plugin but no plugin apikey; "
        rf"the environment variable METER_KEY {reason}"
    )
    assert [] == server.get("/plugins").json()["loaded_plugins"]


@pytest.mark.parametrize(
    ("source", "parameters", "told"),
    [
        pytest.param(GOOD, "json=p.json", r"plugins/p\.json: auth_type is", id="a parameter file"),
        pytest.param(
            GOOD.replace(
                "class Good(BasePlugin):\n",
                "class Good(BasePlugin):\n    def __init__(self, **kwargs):\n"
                "        super().__init__(**{**kwargs, 'auth_type': 'glbal'})\n",
            ),
            "auth_type=plugin&apikey=k",
            r"plugins/meter\.py:4: class Good: ValueError: auth_type is",
            id="the plugin itself",
        ),
    ],
)
def test_a_bad_parameter_of_somebody_else_is_not_blamed_on_the_ini_file(
    launch: Launch, source: str, parameters: str, told: str
) -> None:
    """The error names the ini line or the file that gave it."""
    plugins = {"meter": source, "p.json": '{"auth_type": "glbal"}'}
    launch(plugins, ini_more=f"[plugin_parms]\nmeter = {parameters}\n").wait_for("ERROR - plugincore - " + told)


@pytest.mark.parametrize("timeout", ["200ms", "1s"])
def test_times_are_told_as_a_person_would(launch: Launch, timeout: str) -> None:
    """What is left of a deadline has nine digits."""
    source = "import asyncio\n" + GOOD + "    async def terminate_plugin(self):\n        await asyncio.sleep(3600)\n"
    server = launch({"good": source}, ini_more=f"[server]\nshutdown_timeout = {timeout}\n")
    server.stop()
    server.wait_for(r"terminate_plugin did not end within \d(\.\d{1,3})? s$")
