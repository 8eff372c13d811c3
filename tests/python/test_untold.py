"""What would go unnoticed is logged: exceptions that are not caught, silenced logs, endless loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.server import Launch, Server

#: Lets go of an exception in the requested way.
CARELESS = """
import asyncio, gc, sys, threading, weakref
from plugincore.baseplugin import BasePlugin

class Thing:
    def fall(self):
        raise LookupError("nobody looks")

class Final(Thing):
    def __del__(self):
        self.fall()

class Careless(BasePlugin):
    async def fail(self):
        Thing().fall()

    async def request_handler(self, **data):
        what = data["subpath"]
        if what == "thread":
            threading.Thread(target=Thing().fall, name="worker").start()
        if what == "final":
            Final()
        if what == "weak":
            thing = Thing()
            self.weak = weakref.ref(thing, lambda _: Thing().fall())
            del thing
        if what == "callback":
            asyncio.get_running_loop().call_soon(Thing().fall)
        if what == "kept":
            self.task = asyncio.create_task(self.fail())
        if what == "collected":
            task = asyncio.create_task(self.fail())
            await asyncio.sleep(0)
            del task
            gc.collect()
        if what == "handled":
            self.task = asyncio.create_task(self.fail())
            try:
                await self.task
            except LookupError:
                pass
        if what == "exit":
            threading.Thread(target=sys.exit).start()
        return 200, {}
"""
LINE = CARELESS.splitlines().index('        raise LookupError("nobody looks")') + 1


def told(server: Server, text: str) -> list[str]:
    """Return the lines that hold `text`."""
    return [line for line in server.lines if text in line]


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("thread", "thread worker"),
        ("final", r"exception ignored .*<function Final\.__del__ at .*>"),
        ("weak", r"exception ignored .*<function Careless\.request_handler\.<locals>\.<lambda> at .*>"),
        ("callback", r"Exception in callback .*"),
        ("kept", r"Task exception was never retrieved \(task: <Task finished .*"),
        ("collected", r"Task exception was never retrieved \((future|task): <Task finished .*"),
    ],
)
def test_an_exception_that_nobody_catches_is_one_record(launch: Launch, tmp_path: Path, what: str, named: str) -> None:
    """With the plugin, the file and the line and the traceback; in the file of `-l` as on standard output."""
    file = tmp_path / "server.log"
    server = launch({"careless": CARELESS}, args=["-l", str(file)])
    assert 200 == server.get(f"/careless/{what}").status_code
    record = rf" - plugincore - plugin careless: {named}: plugins/careless\.py:{LINE}: LookupError: nobody looks\\n"
    line = server.wait_for("<3> - ERROR" + record)
    assert f'File "{server.plugins}/careless.py", line {LINE}, in fall' in line
    assert 0 == server.stop()
    assert 1 == len(told(server, "LookupError"))
    assert 1 == file.read_text().count("- plugincore - ERROR - plugin careless: ")
    assert [] == [line for line in server.lines if not line.startswith("<")], "something was written beside the log"


def test_a_message_that_is_no_proper_text_is_told_all_the_same(launch: Launch) -> None:
    """Such as one with a file name that is not UTF-8, or an exception that cannot be shown."""
    strange = CARELESS.replace('LookupError("nobody looks")', 'LookupError("nobody \\udc80 looks")')
    hopeless = CARELESS.replace("raise LookupError", "raise Hopeless").replace("class Careless", "class Other")
    hopeless += "\nclass Hopeless(Exception):\n    def __str__(self):\n        raise RuntimeError\n"
    server = launch({"strange": strange, "hopeless": hopeless})
    assert [200, 200] == [server.get(f"/{name}/thread").status_code for name in ("careless", "other")]
    server.wait_for(rf"plugin careless: thread worker: plugins/strange\.py:{LINE}: LookupError: nobody .* looks")
    server.wait_for(
        rf"plugin other: thread worker: plugins/hopeless\.py:{LINE}: .*Hopeless: <exception str\(\) failed>"
    )


@pytest.mark.parametrize("what", ["handled", "exit"])
def test_what_somebody_handles_is_not_told(launch: Launch, what: str) -> None:
    """What the plugin has handled is not logged: an awaited task that failed, a thread that ended itself."""
    server = launch({"careless": CARELESS})
    assert 200 == server.get(f"/careless/{what}").status_code
    assert 200 == server.get("/careless/kept").status_code
    server.wait_for("Task exception was never retrieved")
    assert 1 == len(told(server, "ERROR"))


#: Two background tasks that fail when they are cancelled.
FAILING_TASKS = """
import asyncio
from plugincore.baseplugin import BasePlugin

async def fail(text):
    try:
        await asyncio.sleep(3600)
    finally:
        raise ConnectionResetError(text)

class Failing(BasePlugin):
    async def initialize(self, **kwargs):
        self.seen = asyncio.create_task(fail("it was looked at"))
        self.seen.add_done_callback(lambda task: task.cancelled() or task.exception())
        self.unseen = asyncio.create_task(fail("it was not looked at"))

    async def request_handler(self, **data):
        return 200, {}
"""


@pytest.mark.parametrize("reload", [True, False], ids=["reload", "stop"])
def test_what_becomes_of_cancelled_tasks_is_logged_unless_their_own_code_looks_at_it(
    launch: Launch, reload: bool
) -> None:
    """Libraries have tasks fail and deal with it in a callback, as aiohttp does with the pings of its WebSockets."""
    server = launch({"failing": FAILING_TASKS})
    if reload:
        assert 200 == server.post("/reload/failing").status_code
    server.stop()
    assert 1 + reload == server.log.count("it was not looked at")
    assert "it was looked at" not in server.log


def test_an_exception_before_a_plugin_is_ready_names_its_file(launch: Launch) -> None:
    """It has no id yet."""
    source = CARELESS.replace("class Careless", "threading.Thread(target=Thing().fall, name='early').start()\nclass X")
    server = launch({"early": source})
    server.wait_for(rf"plugincore - thread early: plugins/early\.py:{LINE}: LookupError")


def test_an_exception_in_a_helper_names_both(launch: Launch) -> None:
    """The place is the helper's, the plugin the one that called it."""
    helper = "def fall():\n    raise LookupError('in the helper')\n"
    source = "import zhelper\n" + CARELESS.replace('raise LookupError("nobody looks")', "zhelper.fall()")
    server = launch({"careless": source, "zhelper": helper})
    server.get("/careless/thread")
    server.wait_for(r"plugin careless: thread worker: plugins/zhelper\.py:2: LookupError: in the helper")


def test_a_plugin_s_own_hooks_get_what_they_ask_for(launch: Launch) -> None:
    """They are called in place of the server's, and may pass on to those that they found."""
    hooks = """
import asyncio
found = threading.excepthook
def in_thread(args):
    print("own thread", args.exc_value, flush=True)
    found(args)
threading.excepthook = in_thread
sys.unraisablehook = lambda args: print("own final", args.exc_value, flush=True)
def in_loop(loop, context):
    print("own loop", context["exception"], flush=True)
asyncio.get_running_loop().set_exception_handler(in_loop)
"""
    server = launch({"careless": CARELESS + hooks})
    for what, own in (("thread", "thread"), ("final", "final"), ("callback", "loop"), ("kept", "loop")):
        since = len(server.lines)
        server.get(f"/careless/{what}")
        server.wait_for(f"^own {own} nobody looks$", since)
    server.wait_for("plugin careless: thread worker: ")
    assert 1 == len(told(server, "plugincore - plugin careless"))


#: Another plugin, which speaks by `logging`: by a logger from before the other plugin came, and by a later one.
WITNESS = """
import logging
from plugincore.baseplugin import BasePlugin
early = logging.getLogger("witness")
class Witness(BasePlugin):
    async def request_handler(self, **data):
        early.info("early speaks")
        logging.getLogger("witness.late").info("late speaks")
        logging.getLogger("late").info("latest speaks")
        self.log("own speaks")
        return 200, {}
"""

BULLY = """
import logging, logging.config
from plugincore.baseplugin import BasePlugin

def bully():
    BULLYING

class Bully(BasePlugin):
    async def request_handler(self, **data):
        bully()
        return 200, {}
"""
BULLY_LINE = BULLY.splitlines().index("    BULLYING") + 1

CONFIG = "logging.config.dictConfig({'version': 1, ROOT'handlers': {'null': {'class': 'logging.NullHandler'}}})"
ROOT = "'root': {'level': 'ERROR', 'handlers': ['null']}, "


@pytest.mark.parametrize("at_import", [True, False], ids=["at the import", "in a request"])
@pytest.mark.parametrize(
    ("bullying", "reason"),
    [
        (CONFIG.replace("ROOT", ""), "logging.config with disable_existing_loggers"),
        (CONFIG.replace("ROOT", ROOT), "removing the server's handler from the root logger"),
        (
            "logging.basicConfig(force=True, level=logging.CRITICAL)",
            "removing the server's handler from the root logger",
        ),
        ("logging.disable(logging.CRITICAL)", "logging.disable()"),
        ("logging.disable()", "logging.disable()"),
        ("logging.getLogger().handlers.clear()", "removing the server's handler from the root logger"),
        ("logging.getLogger().handlers = []", "removing the server's handler from the root logger"),
        ("del logging.getLogger().handlers[:]", "removing the server's handler from the root logger"),
        ("logging.getLogger().handlers[:] = []", "removing the server's handler from the root logger"),
        (
            "[logging.root.removeHandler(handler) for handler in logging.root.handlers[:]]",
            "removing the server's handler from the root logger",
        ),
        ("logging.root.handlers and logging.root.handlers.pop()", "removing the server's handler from the root logger"),
        ("logging.getLogger().setLevel(logging.ERROR)", "a higher level of the root logger"),
        ("logging.root.handlers[0].setLevel('ERROR')", "a level of the server's own handler"),
        ("logging.root.handlers[0].addFilter(lambda record: False)", "a filter of the server's own handler"),
    ],
)
def test_no_plugin_silences_the_others(launch: Launch, bullying: str, reason: str, at_import: bool) -> None:
    """Whatever it does to `logging`, when imported or when called: the others' records come, and one warning."""
    source = BULLY.replace("BULLYING", bullying)
    server = launch({"awitness": WITNESS, "bully": source + ("\nbully()\n" * at_import)}, args=["-v", "INFO"])
    if not at_import:
        assert 200 == server.get("/bully").status_code
    plugin = "" if at_import else "plugin bully: "
    server.wait_for(rf"WARN - plugincore - {plugin}plugins/bully\.py:{BULLY_LINE}: {re.escape(reason)} would silence")
    for _ in range(2):
        assert 200 == server.get("/bully").status_code
        since = len(server.lines)
        assert 200 == server.get("/witness").status_code
        for speaker in ("early", "late", "latest", "own"):
            server.wait_for(f"{speaker} speaks", since)
        assert 4 == sum(line.startswith("<6>") and "speaks" in line for line in server.lines[since:])
    assert 1 == len(told(server, f"{reason} would silence")), server.log


@pytest.mark.parametrize(
    "setting",
    [
        "logging.getLogger('witness').disabled = True",
        "logging.getLogger('witness').setLevel('ERROR')",
        "logging.getLogger('witness').propagate = False",
    ],
)
def test_one_logger_may_be_turned_off_on_purpose(launch: Launch, setting: str) -> None:
    """A plugin may silence a library that logs too much."""
    server = launch({"awitness": WITNESS, "bully": BULLY.replace("BULLYING", setting)})
    assert [200, 200] == [server.get(path).status_code for path in ("/bully", "/witness")]
    server.wait_for("own speaks")
    assert [] == told(server, "early speaks")
    assert [] == told(server, "would silence")


def test_what_a_plugin_adds_to_logging_works(launch: Launch, tmp_path: Path) -> None:
    """Its handlers get the records, beside the server's."""
    file = tmp_path / "own.log"
    setting = f"logging.basicConfig(force=True, filename={str(file)!r}, level='DEBUG')"
    server = launch({"awitness": WITNESS, "bully": BULLY.replace("BULLYING", setting)})
    assert [200, 200] == [server.get(path).status_code for path in ("/bully", "/witness")]
    server.wait_for("latest speaks")
    assert 3 == file.read_text().count("speaks")


SLOW = """
import asyncio, os, time
from plugincore.baseplugin import BasePlugin

def wait(name):
    while os.path.exists(name):
        time.sleep(0.01)

wait("import")

class Slow(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        wait("__init__")

    async def initialize(self, **kwargs):
        while os.path.exists("initialize"):
            await asyncio.sleep(0.01)

    def terminate_plugin(self):
        wait("terminate_plugin")

    async def request_handler(self, **data):
        return 200, {}
"""


@pytest.mark.parametrize(
    ("step", "shown"),
    [
        ("import", "its import"),
        ("__init__", "__init__ of Slow"),
        ("initialize", "initialize of Slow"),
        ("terminate_plugin", "terminate_plugin of slow"),
    ],
)
def test_a_plugin_that_holds_up_a_reload_is_named_while_it_does(launch: Launch, step: str, shown: str) -> None:
    """By a thread that needs no Python, since the plugin may have it to itself."""
    server = launch({"slow": SLOW})
    (server.folder / step).touch()
    client = server.connect()
    client.sendall(b"POST /reload/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    server.wait_for(rf"WARN - plugincore - plugins/slow\.py: still in {re.escape(shown)} \(3 s\) \.\.\.$")
    (server.folder / step).unlink()
    assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    client.close()


def test_requests_that_hold_up_a_reload_are_named_while_they_do(launch: Launch) -> None:
    """The reload waits for those in the old version."""
    source = SLOW.replace(
        "return 200, {}",
        'print("inside", flush=True)\n        while os.path.exists("go on"):\n            await asyncio.sleep(0.01)\n'
        "        return 200, {}",
    )
    server = launch({"slow": source})
    (server.folder / "go on").touch()
    with server.connect() as client, server.connect() as reloader:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for("^inside$")
        reloader.sendall(b"POST /reload/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        server.wait_for(r"plugins/slow\.py: still in the last requests to the old slow \(3 s\) \.\.\.$")
        (server.folder / "go on").unlink()
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        assert reloader.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_plugin_that_holds_up_the_start_is_named_while_it_does(launch: Launch, tmp_path: Path) -> None:
    """While the clients wait already."""
    folder = tmp_path / "server0"
    folder.mkdir()
    (folder / "import").touch()
    server = launch({"good": WITNESS, "slow": SLOW}, ready=False)
    server.wait_for(r"plugins/slow\.py: still in its import \(3 s\) \.\.\.$")
    (folder / "import").unlink()
    server.ready()
    assert 200 == server.get("/slow").status_code
