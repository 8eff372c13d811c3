"""Starting, reloading, stopping, and what is logged meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from signal import SIGABRT, SIGHUP, SIGINT, SIGTERM, SIGUSR1, Signals

import trustme

from conformance.scenario import INI, Scenario, Stage, plain, plugin, result
from support.wait import wait_until

#: Certificate and key, whether they are good or not.
TLS = INI + "\n[SSL]\nkeyfile = key.pem\ncertfile = cert.pem\nenabled = bool:true\n"
TYPED_KEY = INI + "\n[auth]\napikey = int:5\n"
PARMS = INI + "\n[plugin_parms]\n"
KEYED = INI + "\n[auth]\napikey = key\n"


def start(stage: Stage) -> None:
    """Start, and ask for what was loaded."""
    stage.start()
    if stage.seen["start"] == "serves":
        stage.ask("plugins", "/plugins")


def only_start(stage: Stage) -> None:
    """Start."""
    stage.start()


def start_and_ask(*targets: str) -> Callable[[Stage], None]:
    """Start, and ask for each of these."""

    def play(stage: Stage) -> None:
        stage.start()
        for target in targets:
            stage.ask(target, target)

    return play


def ask_by_name(stage: Stage) -> None:
    """Ask without a key, under a name that any site can direct to the server."""
    stage.start()
    stage.ask("plugins", "/plugins", host="server.example")
    stage.ask("reload", "/reload/all", host="server.example")


def stop_by(number: Signals) -> Callable[[Stage], None]:
    """Start and send a signal."""

    def play(stage: Stage) -> None:
        stage.start()
        stage.ask("before", "/a")
        stage.stop(number)

    return play


def reload(
    changes: Mapping[str, str], *targets: str, address: str = "/reload/a", before: Sequence[str] = ()
) -> Callable[[Stage], None]:
    """Start, change files, reload, and ask."""

    def play(stage: Stage) -> None:
        stage.start()
        for target in before:
            stage.ask(f"{target} before", target)
        for name, text in changes.items():
            stage.write(name, text)
        stage.ask("reload", address)
        for target in targets:
            stage.ask(target, target)
        stage.note_marks()

    return play


def hang_up(stage: Stage) -> None:
    """Send SIGHUP and ask whether it still serves."""
    stage.start()
    stage.write("plugins/a.py", plugin("a", "two"))
    stage.server.send(SIGHUP)
    stage.seen["ended"] = not stage.server.writes("Terminating plugin a")
    stage.ask("after", "/a")
    stage.note_marks()


def restart(stage: Stage) -> None:
    """Send SIGUSR1 and wait until it serves again."""
    stage.start()
    stage.write("plugins/a.py", plugin("a", "two"))
    before = stage.server.pid
    count = len(stage.server.lines)
    stage.server.send(SIGUSR1)

    def has_started() -> bool:
        stage.ask("again", "/a")  # pluginserver does not notice the signal before it has something to do
        return stage.server.has_written("Server started on ", since=count)

    with suppress(AssertionError):
        wait_until(has_started, interval=0.1)
    stage.seen["again"] = has_started() and stage.server.find_port()
    stage.ask("after", "/a")
    stage.seen["same pid"] = stage.server.alive and stage.server.pid == before
    stage.note_marks()


def pid_file(number: Signals) -> Callable[[Stage], None]:
    """Start with a pidfile and stop."""

    def play(stage: Stage) -> None:
        file = stage.folder / "server.pid"
        stage.start()
        stage.seen["holds the pid"] = file.read_text() == f"{stage.server.pid}\n"
        stage.stop(number)
        stage.seen["is left"] = file.exists()

    return play


def taken_port(stage: Stage) -> None:
    """Start on a port that another process listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ini = (stage.folder / "server.ini").read_text().replace("int:0", f"int:{other.getsockname()[1]}")
        stage.write("server.ini", ini)
        stage.start()
        stage.note_marks()


def in_flight(stage: Stage) -> None:
    """Stop while a request is being handled."""
    stage.start()
    with stage.connect() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\nHost: server\r\n\r\n")
        stage.seen["begun"] = stage.appears("begun")
        stage.server.send(SIGINT)
        stage.seen["answer"] = result(wire)
    stage.seen["exit"] = stage.server.wait()


def certificate(stage: Stage) -> None:
    """Write a certificate and its key."""
    made = trustme.CA().issue_cert("localhost")
    made.private_key_pem.write_to_path(str(stage.folder / "key.pem"))
    for blob in made.cert_chain_pems:
        blob.write_to_path(str(stage.folder / "cert.pem"), append=True)


def encrypted(stage: Stage) -> None:
    """Start with a good certificate; ask in TLS and without."""
    certificate(stage)
    stage.start()
    stage.ask("in TLS", "/a", secure=True)
    stage.ask("plain", "/a")


def bad_certificate(stage: Stage) -> None:
    """Start with something that is no certificate."""
    stage.write("key.pem", "nonsense")
    stage.write("cert.pem", "nonsense")
    stage.start()
    stage.ask("plain", "/a") if stage.seen["start"] == "serves" else None


def log_file(stage: Stage) -> None:
    """Write a log to a file, and look at the lines of a plugin."""
    stage.start()
    stage.ask("spoken", "/spoken")
    stage.server.writes("the last")
    text = (stage.folder / "server.log").read_text()
    stage.seen["file"] = [plain(line) for line in text.splitlines() if " - spoken - " in line]
    stage.seen["output"] = stage.written(" - spoken - ")


def output(stage: Stage) -> None:
    """Look at what is written to standard output."""
    stage.start()
    stage.ask("spoken", "/spoken")
    stage.server.writes("the last")
    stage.seen["lines"] = stage.written(" - spoken - ")
    stage.seen["server's name"] = bool(stage.written("^<6> - INFO - pserve - Server started on "))


def secrets(stage: Stage) -> None:
    """Look whether keys and bodies are in the output."""
    stage.start()
    stage.ask("asked", "/spoken?apikey=a-clients-key")
    stage.server.writes("the last")
    stage.seen["the server's key"] = bool(stage.written("the-servers-key"))
    stage.seen["a plugin's answer"] = bool(stage.written("a confidential answer"))


def forged_line(stage: Stage) -> None:
    """Look whether a client can write lines into the log."""
    stage.start()
    stage.ask("asked", "/spoken?text=x%0A%3C2%3E%20-%20CRITICAL%20-%20pserve%20-%20forged")
    stage.server.writes("the last")
    stage.seen["forged"] = bool(stage.written("^<2> - CRITICAL - pserve - forged"))


def full_disk(stage: Stage) -> None:
    """Start with a log that cannot be written."""
    (stage.folder / "server.log").mkdir()
    stage.start()


def help_text(stage: Stage) -> None:
    """Ask for help."""
    stage.server.launch()
    stage.seen["exit"] = stage.server.wait()


def default_ini(stage: Stage) -> None:
    """Start without naming a file."""
    (stage.folder / "server.ini").rename(stage.folder / "pserve.ini")
    stage.start()


SPOKEN = """\
    from plugincore.baseplugin import BasePlugin

    class Spoken(BasePlugin):
        async def request_handler(self, **data):
            self.log("called", 1, None)
            self.log.debug("debug")
            self.log.info("info")
            self.log.warn("warn")
            self.log.error("error")
            self.log.critical("critical")
            self.log.exception("exception")
            self.log.error(data.get("text", ""))
            self.log.error("the last")
            return 200, "a confidential answer"
"""

SLOW = """\
    import asyncio
    from plugincore.baseplugin import BasePlugin

    class Slow(BasePlugin):
        async def request_handler(self, **data):
            open("begun", "w").close()
            await asyncio.sleep(2)
            return 200, "done"
"""

TASK = """\
    import asyncio
    from plugincore.baseplugin import BasePlugin

    class A(BasePlugin):
        async def initialize(self, **kwargs):
            self.task = asyncio.create_task(self.run())

        async def run(self):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                open("marks", "a").write("cancelled" + chr(10))
                raise

        async def request_handler(self, **data):
            return 200, "a"
"""

ASYNC_END = plugin("a").replace("    def terminate_plugin", "    async def terminate_plugin")
FAILING_END = plugin("a").replace('mark("ended a")', 'mark("ended a"); raise ValueError("no")')
ANNOTATED = """\
    from __future__ import annotations
    import dataclasses
    from plugincore.baseplugin import BasePlugin

    @dataclasses.dataclass
    class Point:
        x: int

    class A(BasePlugin):
        async def request_handler(self, **data):
            return 200, dataclasses.asdict(Point(1))
"""
PARAMETER = """\
    from plugincore.baseplugin import BasePlugin

    class A(BasePlugin):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.word = kwargs.get("word")
            self.json = kwargs.get("from_json")

        async def request_handler(self, **data):
            return 200, {"word": self.word, "json": self.json}
"""
LEAVING = plugin("b").replace('mark("made b")', "raise SystemExit(4)")
MADE = "super().__init__(**kwargs)"
CALLED_PLUGINS = plugin("a").replace(MADE, f'{MADE}; self._plugin_id = "plugins"')
UNMADE = plugin("b").replace(MADE, "pass")
TWO = plugin("a") + plugin("b").partition("\n\n\n")[2].partition("\n\n\n")[2]
SAME_ID = plugin("a") + plugin("a", "two").partition("\n\n\n")[2].partition("\n\n\n")[2].replace("class A", "class B")
SAME_ID = SAME_ID.replace(MADE, f'{MADE}; self._plugin_id = "a"')

CASES = [
    # start
    Scenario("no ini file", start, ini=None),
    Scenario("an ini file without a section", start, ini="port = 1\n"),
    Scenario("an ini file with nonsense", start, ini="[network\nnonsense"),
    # The default port may be that of another server.
    Scenario(
        "no network section", only_start, ini="[paths]\nplugins = plugins\n", env={"PLUGINCORE_NETWORK_PORT": "0"}
    ),
    Scenario("no paths section", start, ini="[network]\nbindto = 127.0.0.1\nport = int:0\n"),
    Scenario("no plugins folder named", start, ini=INI.replace("plugins = plugins", "other = 1")),
    Scenario("a folder that is missing", start, ini=INI.replace("= plugins", "= nowhere")),
    Scenario("an empty folder", start, {}),
    Scenario("an empty section", start, ini=PARMS),
    Scenario("a repeated section", start, ini=INI + "\n[network]\nport = 1\n"),
    Scenario("a repeated key", start, ini=INI + "plugins = other\n"),
    Scenario("a percent sign in a value", start, ini=INI + "\n[mine]\nvalue = 100%\n"),
    Scenario("a dollar sign in a value", start, ini=INI + "\n[mine]\nvalue = $5\n"),
    Scenario("an unknown reference", start, ini=INI + "\n[mine]\nvalue = ${no:such}\n"),
    Scenario("a port as text", start, ini=INI.replace("int:", "")),
    Scenario("a comment behind a value", start, ini=INI + "\n[mine]\nvalue = 1 ; one\n"),
    Scenario("a section called like Python's words", start, ini=INI + "\n[class]\nvalue = 1\n"),
    Scenario("a key called like a builtin", start, ini=INI + "\n[mine]\nlist = 1\n"),
    Scenario("CORS without origins", start, ini=INI + "\n[cors]\nenabled = bool:true\n"),
    Scenario("an import error", start, {"a": plugin("a"), "b": "import no_such_module\n" + plugin("b")}),
    Scenario("a syntax error", start, {"a": plugin("a"), "b": "def broken(:\n"}),
    Scenario("an exception at import", start, {"a": plugin("a"), "b": "raise RuntimeError('no')\n"}),
    Scenario("exit at import", start, {"a": plugin("a"), "b": "import sys\nsys.exit(3)\n"}),
    Scenario("exit in __init__", start, {"a": plugin("a"), "b": LEAVING}),
    Scenario("no plugin in a file", start, {"a": plugin("a"), "b": "x = 1\n"}),
    Scenario("a helper beside the plugins", start, {"a": "import helper\n" + plugin("a"), "helper": "x = 1\n"}),
    Scenario(
        "a plugin without super().__init__",
        start,
        {"b": UNMADE},
    ),
    Scenario("two plugins of one id", start_and_ask("/a"), {"a": SAME_ID}),
    Scenario(
        "an id of the server's",
        start_and_ask("/plugins"),
        {
            "a": plugin("a").replace(
                "super().__init__(**kwargs)", 'super().__init__(**kwargs); self._plugin_id = "plugins"'
            )
        },
    ),
    Scenario("data classes with postponed annotations", start_and_ask("/a"), {"a": ANNOTATED}),
    Scenario("an empty server key", start, ini=INI + "\n[auth]\napikey =\n"),
    Scenario("a typed server key", start, ini=TYPED_KEY),
    Scenario("a typed server key that is shown", start_and_ask("/plugins?apikey=5"), ini=TYPED_KEY),
    Scenario("the server's key is missing", start, {"a": plugin("a")}, PARMS + "a = auth_type=global\n"),
    Scenario("a plugin's key is missing", start, {"a": plugin("a")}, PARMS + "a = auth_type=plugin\n"),
    Scenario(
        "a misspelt auth_type", start_and_ask("/a"), ini=KEYED + PARMS.removeprefix(INI) + "a = auth_typ=global\n"
    ),
    Scenario("a bare word as parameters", start_and_ask("/a"), ini=KEYED + PARMS.removeprefix(INI) + "a = global\n"),
    Scenario("a key without auth_type", start_and_ask("/a"), ini=PARMS + "a = apikey=k\n"),
    # parameters from a file
    Scenario(
        "json",
        start_and_ask("/a"),
        {"a": PARAMETER, "a.json": '{"from_json": [1]}'},
        PARMS + "a = word=w&json=a.json\n",
    ),
    Scenario("json is missing", start_and_ask("/a"), {"a": PARAMETER}, PARMS + "a = json=a.json\n"),
    Scenario("json is broken", start, {"a": PARAMETER, "a.json": "{"}, PARMS + "a = json=a.json\n"),
    Scenario("json is a list", start, {"a": PARAMETER, "a.json": "[1]"}, PARMS + "a = json=a.json\n"),
    Scenario(
        "json with a colon",
        start_and_ask("/a"),
        {"a": PARAMETER, "a.json": '{"from_json": 1}'},
        PARMS + "a = json:a.json\n",
    ),
    # addresses
    Scenario("a port that is taken", taken_port),
    Scenario("an address that is not ours", start, ini=INI.replace("127.0.0.1", "192.0.2.1")),
    Scenario("help", help_text, options=["--help"]),
    Scenario("an unknown option", help_text, options=["--no-such-option"]),
    Scenario("the default ini file", default_ini, names_ini=False),
    # TLS
    Scenario("TLS", encrypted, ini=TLS),
    Scenario(
        "TLS switched off",
        encrypted,
        ini=TLS.replace("true", "false"),
    ),
    Scenario("TLS, enabled=false", encrypted, ini=TLS.replace("bool:true", "false")),
    Scenario("TLS, enabled=bool:True", encrypted, ini=TLS.replace("true", "True")),
    Scenario("TLS, enabled=bool:tru", start_and_ask("/a"), ini=TLS.replace("true", "tru")),
    Scenario(
        "TLS, no certificate",
        start_and_ask("/a"),
        ini=TLS,
    ),
    Scenario(
        "TLS, a bad certificate",
        bad_certificate,
        ini=TLS,
    ),
    Scenario("TLS, no key named", start_and_ask("/a"), ini=INI + "\n[SSL]\nenabled = bool:true\n"),
    # stop
    Scenario("SIGINT", stop_by(SIGINT)),
    Scenario("SIGTERM", stop_by(SIGTERM)),
    Scenario("SIGABRT", stop_by(SIGABRT)),
    Scenario("SIGHUP", hang_up),
    Scenario("SIGUSR1", restart),
    Scenario("SIGINT, a task", stop_by(SIGINT), {"a": TASK}),
    Scenario("SIGINT, async terminate_plugin", stop_by(SIGINT), {"a": ASYNC_END}),
    Scenario("SIGINT, failing terminate_plugin", stop_by(SIGINT), {"a": FAILING_END}),
    Scenario("SIGINT during a request", in_flight, {"slow": SLOW}),
    Scenario("pidfile, SIGINT", pid_file(SIGINT), ini=INI + "pidfile = server.pid\n"),
    Scenario("pidfile, SIGTERM", pid_file(SIGTERM), ini=INI + "pidfile = server.pid\n"),
    # reload
    Scenario("reload", reload({"plugins/a.py": plugin("a", "longer text")}, "/a", before=["/a"])),
    Scenario("reload of an unknown plugin", reload({}, "/a", address="/reload/nobody")),
    Scenario("reload of a broken file", reload({"plugins/a.py": "def broken(:\n"}, "/a", "/plugins")),
    Scenario(
        "reload after an edit of the same length", reload({"plugins/a.py": plugin("a", "two")}, "/a", before=["/a"])
    ),
    Scenario("reload of one of two in a file", reload({}, "/a", "/b"), {"a": TWO}),
    Scenario(
        "reload with another parameter",
        reload({"server.ini": PARMS + "a = word=two\n"}, "/a", before=["/a"]),
        {"a": PARAMETER},
        PARMS + "a = word=one\n",
    ),
    Scenario(
        "reload with another route",
        reload({"server.ini": PARMS + "a = route_path=z\n"}, "/a", "/z", "/plugins"),
    ),
    Scenario("reload without a key", reload({}, "/a"), ini=KEYED),
    Scenario("reload with a key", reload({}, "/a", address="/reload/a?apikey=key"), ini=KEYED),
    Scenario("reload, async terminate_plugin", reload({}, "/a"), {"a": ASYNC_END}),
    Scenario("reload of all", reload({"plugins/a.py": plugin("a", "longer text")}, "/a", address="/reload/all")),
    Scenario("reload of all, a new file", reload({"plugins/b.py": plugin("b")}, "/a", "/b", address="/reload/all")),
    Scenario("reload of all without a key", reload({}, "/a", address="/reload/all"), ini=KEYED),
    Scenario("the server's addresses under another name, without a key", ask_by_name),
    # log
    Scenario("log file", log_file, {"spoken": SPOKEN}, options=["-l", "server.log"]),
    Scenario("log file, level ERROR", log_file, {"spoken": SPOKEN}, options=["-l", "server.log", "-v", "ERROR"]),
    Scenario("output", output, {"spoken": SPOKEN}),
    Scenario("output, level INFO", output, {"spoken": SPOKEN}, options=["-v", "INFO"]),
    Scenario("output, a level in small letters", output, {"spoken": SPOKEN}, options=["-v", "error"]),
    Scenario("an unknown level", start, options=["-v", "loud"]),
    Scenario("a log that cannot be written", full_disk, options=["-l", "server.log"]),
    Scenario("secrets in the log", secrets, {"spoken": SPOKEN}, INI + "\n[auth]\napikey = the-servers-key\n"),
    Scenario("a line of the log by a client", forged_line, {"spoken": SPOKEN}),
]
