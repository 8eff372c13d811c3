"""`/plugins` and `/reload/…`: a new version takes over while the server serves."""

from __future__ import annotations

import os
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from support.errors import without_ids
from support.plugins import INI
from support.server import Launch, Server

#: A plugin that answers with its version and notes what happens to it in the file ``events``.
PLUGIN = """
import asyncio
import os
from plugincore.baseplugin import BasePlugin

VERSION = 1

def note(text):
    with open("events", "a") as events:
        events.write(text + "\\n")

class Versioned(BasePlugin):
    async def initialize(self, **kwargs):
        note(f"start {VERSION}")

    async def request_handler(self, **data):
        if "gate" in data:
            print("inside", VERSION)
            while not os.path.exists(data["gate"]):
                await asyncio.sleep(0.002)
        return 200, {"version": VERSION}

    def terminate_plugin(self):
        note(f"end {VERSION}")
"""


def edit(server: Server, old: str, new: str, name: str = "versioned.py") -> None:
    """Replace a text in a plugin file."""
    file = server.plugins / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def events(server: Server) -> list[str]:
    """Return what plugins noted."""
    return (server.folder / "events").read_text().splitlines()


def version(server: Server) -> int:
    """Ask which version serves."""
    return server.get("/versioned").json()["version"]


def test_plugins_lists_the_ids_in_load_order(launch: Launch) -> None:
    """`/plugins` answers with pluginserver's words."""
    server = launch({"b": PLUGIN, "a": PLUGIN.replace("Versioned", "Zeta")})
    answer = server.get("/plugins")
    assert (200, '{"loaded_plugins":["zeta","versioned"]}') == (answer.status_code, answer.text.replace(" ", ""))


@pytest.mark.parametrize("target", ["versioned", "all"])
def test_a_reload_has_the_new_version_serve(launch: Launch, target: str) -> None:
    """The new instance is started first, then the old one is terminated, once."""
    server = launch({"versioned": PLUGIN})
    edit(server, "VERSION = 1", "VERSION = 2")
    answer = server.get(f"/reload/{target}")
    assert 200 == answer.status_code
    assert 2 == version(server)
    assert ["start 1", "start 2", "end 1"] == events(server)
    assert 0 == server.stop()
    assert ["start 1", "start 2", "end 1", "end 2"] == events(server)


def test_the_answers_of_reloads_are_those_of_pluginserver(launch: Launch) -> None:
    """`reloaded` and `success` for one plugin, a list for all, 404 for an unknown one."""
    server = launch({"versioned": PLUGIN})
    assert {"reloaded": "versioned", "success": True} == server.get("/reload/versioned").json()
    expected = {"status": "All plugins reloaded", "loaded_plugins": ["versioned"]}
    assert expected == server.post("/reload/all").json()
    unknown = server.get("/reload/unknown")
    assert (404, {"error": 'Plugin "unknown" not found'}) == (unknown.status_code, without_ids(unknown.json()))


@pytest.mark.parametrize("target", ["versioned", "all", "unknown"])
def test_a_look_at_the_head_reloads_nothing(launch: Launch, target: str) -> None:
    """HEAD, as `curl -I` sends it, is a 405 with the methods that do: POST, and GET for old clients."""
    server = launch({"versioned": PLUGIN})
    head = server.request("HEAD", f"/reload/{target}")
    assert (405, "GET, POST, OPTIONS", b"") == (head.status_code, head.headers["allow"], head.content)
    assert ["start 1"] == events(server)
    if target != "unknown":
        for number, method in enumerate(["POST", "GET"], 2):
            edit(server, f"VERSION = {number - 1}", f"VERSION = {number}")
            assert 200 == server.request(method, f"/reload/{target}").status_code
            assert 1 == events(server).count(f"start {number}")


@pytest.mark.parametrize("target", ["versioned", "all"])
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("VERSION = 1", "VERSION = = 2", "versioned.py:6: SyntaxError: invalid syntax"),
        ("VERSION = 1", "import sys; sys.exit(5)", "versioned.py:6: SystemExit: 5"),
        ("class Versioned(", "import no_such_module\nclass Versioned(", "No module named 'no_such_module'"),
        ('note(f"start {VERSION}")', "1 / 0", "versioned.py:14: class Versioned: ZeroDivisionError"),
        ("async def initialize", "def __init__(self): pass\n    async def initialize", "class Versioned: TypeError"),
    ],
    ids=["syntax", "exit", "import", "initialize", "constructor"],
)
def test_a_broken_file_leaves_the_old_version_and_says_why(
    launch: Launch, target: str, old: str, new: str, reason: str
) -> None:
    """The answer is a 500 with file, line and reason; the old instance is not touched, and a repaired file loads.

    A new instance whose `initialize` fails is terminated; it is of the same version here.
    """
    discarded = ["end 1"] if new == "1 / 0" else []
    server = launch({"versioned": PLUGIN})
    edit(server, old, new)
    answer = server.get(f"/reload/{target}")
    assert 500 == answer.status_code
    assert any(reason in told for told in answer.json()["reasons"]), answer.text
    assert ["versioned"] == answer.json()["loaded_plugins"]
    assert 1 == version(server)
    assert ["start 1", *discarded] == events(server)
    (server.plugins / "versioned.py").write_text(PLUGIN.replace("VERSION = 1", "VERSION = 3"))
    assert 200 == server.get(f"/reload/{target}").status_code
    assert 3 == version(server)
    assert ["start 1", *discarded, "start 3", "end 1"] == events(server)


def test_an_instance_that_cannot_serve_is_terminated(launch: Launch) -> None:
    """It was initialised, so it gets the chance to release what it holds; the old one serves on."""
    server = launch({"versioned": PLUGIN})
    edit(server, "VERSION = 1", "VERSION = 2")
    edit(server, "async def initialize(", "http_methods = 5\n    async def initialize(")
    answer = server.get("/reload/versioned")
    assert 500 == answer.status_code
    assert "http_methods must be names" in answer.json()["reasons"][0]
    assert ["start 1", "start 2", "end 2"] == events(server)
    assert 1 == version(server)


def test_a_deleted_file_cannot_be_reloaded_alone(launch: Launch) -> None:
    """Its plugin goes on serving, and the reason names the file."""
    server = launch({"versioned": PLUGIN})
    (server.plugins / "versioned.py").unlink()
    answer = server.get("/reload/versioned")
    assert 500 == answer.status_code
    assert "plugins/versioned.py" in answer.json()["reasons"][0]
    assert 1 == version(server)


def test_requests_in_flight_end_in_the_old_version(launch: Launch) -> None:
    """A reload waits for them before it terminates the old one, while the new one serves already."""
    server = launch({"versioned": PLUGIN})
    with ThreadPoolExecutor() as pool:
        in_flight = pool.submit(server.get, "/versioned?gate=open")
        server.wait_for("^inside 1$")
        edit(server, "VERSION = 1", "VERSION = 2")
        reload = pool.submit(server.get, "/reload/versioned")
        server.wait_for("Loaded plugin versioned", since=index_of(server, "inside 1"))
        assert 2 == version(server)
        assert ["start 1", "start 2"] == events(server)
        (server.folder / "open").touch()
        assert {"version": 1} == in_flight.result().json()
        assert 200 == reload.result().status_code
    assert ["start 1", "start 2", "end 1"] == events(server)


def index_of(server: Server, text: str) -> int:
    """Return the number of the first line that holds `text`."""
    return next(number for number, line in enumerate(server.lines) if text in line)


def test_a_request_that_never_ends_does_not_hold_up_the_old_version_for_ever(launch: Launch) -> None:
    """After `shutdown_timeout` the old one is terminated all the same."""
    server = launch({"versioned": PLUGIN}, ini_more="[server]\nshutdown_timeout = 100ms\n")
    with ThreadPoolExecutor() as pool:
        in_flight = pool.submit(server.get, "/versioned?gate=open")
        server.wait_for("^inside 1$")
        assert 200 == server.get("/reload/versioned").status_code
        assert ["start 1", "start 1", "end 1"] == events(server)
        (server.folder / "open").touch()
        assert 200 == in_flight.result().status_code


def test_an_endpoint_moves_when_its_route_path_does(launch: Launch) -> None:
    """Parameters are read again: the old path is 404 from then on, the new one answers."""
    server = launch({"versioned": PLUGIN})
    (server.folder / "server.ini").write_text(INI + "[plugin_parms]\nversioned = route_path=moved/here\n")
    assert 200 == server.get("/reload/versioned").status_code
    assert [200, 404] == [server.get(path).status_code for path in ("/moved/here", "/versioned")]
    assert ["moved/here"] == server.get("/plugins").json()["loaded_plugins"]
    assert 200 == server.get("/reload/moved/here").status_code


def test_a_broken_ini_file_fails_the_reload_with_file_and_line(launch: Launch) -> None:
    """The plugins and the settings stay as they were."""
    server = launch({"versioned": PLUGIN})
    (server.folder / "server.ini").write_text("[network]\nport = many\n[paths]\nplugins = plugins\n")
    answer = server.get("/reload/all")
    assert 500 == answer.status_code
    assert "server.ini:2" in answer.json()["reasons"][0]
    assert 1 == version(server)
    assert ["start 1"] == events(server)


def test_new_files_are_found_and_deleted_ones_let_go(launch: Launch) -> None:
    """`/reload/all` makes the folder and the endpoints agree; plugins of deleted files are terminated."""
    server = launch(
        {"versioned": PLUGIN, "gone": PLUGIN.replace("Versioned", "Gone").replace("VERSION = 1", "VERSION = 9")}
    )
    (server.plugins / "gone.py").unlink()
    (server.plugins / "fresh.py").write_text(PLUGIN.replace("Versioned", "Fresh"))
    assert ["versioned", "fresh"] == server.get("/reload/all").json()["loaded_plugins"]
    assert [404, 200, 200] == [server.get(path).status_code for path in ("/gone", "/fresh", "/versioned")]
    assert 1 == events(server).count("end 9")


def test_a_renamed_file_keeps_its_endpoint(launch: Launch) -> None:
    """The id of a deleted file is free for another one in the same reload; no request meets a gap."""
    server = launch({"versioned": PLUGIN})
    (server.plugins / "versioned.py").rename(server.plugins / "renamed.py")
    edit(server, "VERSION = 1", "VERSION = 2", name="renamed.py")
    with hammered(server, "/versioned") as statuses:
        answer = server.get("/reload/all")
    assert (200, ["versioned"]) == (answer.status_code, answer.json()["loaded_plugins"])
    assert {200} == set(statuses)
    assert 2 == version(server)
    assert ["start 1", "start 2", "end 1"] == events(server)


def test_a_new_file_that_fails_is_told_and_the_rest_reloads(launch: Launch) -> None:
    """It served nothing before, so the reload as a whole is not a failure; `failed` names the plugin."""
    server = launch({"versioned": PLUGIN})
    (server.plugins / "bad.py").write_text("\n1 / 0\n")
    edit(server, "VERSION = 1", "VERSION = 2")
    answer = server.get("/reload/all")
    assert 200 == answer.status_code
    assert ["plugins/bad.py:2: ZeroDivisionError: division by zero"] == answer.json()["failed"]
    assert 2 == version(server)


PAIR = """
    from plugincore.baseplugin import BasePlugin

    class Good(BasePlugin):
        def request_handler(self, **data):
            return {"version": 1}

        def terminate_plugin(self):
            print("end of a good one", flush=True)

    class Hopeless(BasePlugin):
        def __init__(self, **kwargs):
            raise OSError("no such device")
"""


@pytest.mark.parametrize("target", ["good", "all"])
def test_a_class_that_never_loads_does_not_hold_back_the_rest_of_its_file(launch: Launch, target: str) -> None:
    """What can be renewed is renewed, and the answer names what failed."""
    server = launch({"pair": PAIR})
    (server.plugins / "pair.py").write_text(textwrap.dedent(PAIR).replace('"version": 1', '"version": 2'))
    answer = server.get(f"/reload/{target}")
    assert 200 == answer.status_code
    assert ["plugins/pair.py:13: class Hopeless: OSError: no such device"] == answer.json()["failed"]
    assert {"version": 2} == server.get("/good").json()
    server.wait_for("end of a good one")
    since = len(server.lines)
    (server.plugins / "pair.py").write_text(textwrap.dedent(PAIR).replace("class Good", "class Renamed"))
    answer = server.get(f"/reload/{target}")
    assert 500 == answer.status_code, "what serves must not be lost when something in the file fails"
    assert {"version": 2} == server.get("/good").json()
    server.wait_for(r"plugins/pair\.py:13: class Hopeless: .*; the earlier version goes on serving", since)


WANDERER = """
    import os
    from plugincore.baseplugin import BasePlugin

    class Wanderer(BasePlugin):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.kwargs = kwargs
            os.chdir("/")

        def request_handler(self, **data):
            return {"file": __file__, "size": self.kwargs["size"], "colour": self.config.paint.colour}
"""


@pytest.mark.parametrize("target", ["wanderer", "all"])
def test_a_plugin_that_changes_the_working_folder_does_not_unsettle_reloads(launch: Launch, target: str) -> None:
    """Relative paths of the command line, the ini file and parameters begin where the server was started."""
    more = "[plugin_parms]\nwanderer = json=wanderer.json\n[paint]\ncolour = red\n"
    server = launch({"wanderer": WANDERER, "wanderer.json": '{"size": 1}'}, ini_more=more)
    told = {"file": str(server.plugins / "wanderer.py"), "size": 1, "colour": "red"}
    assert told == server.get("/wanderer").json()
    (server.plugins / "wanderer.json").write_text('{"size": 2}')
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("colour = red", "colour = blue"))
    answer = server.get(f"/reload/{target}")
    assert 200 == answer.status_code, answer.text
    assert {**told, "size": 2, "colour": "blue"} == server.get("/wanderer").json()


@contextmanager
def hammered(server: Server, path: str, threads: int = 4) -> Iterator[list[int]]:
    """Ask for `path` from several threads the whole time; yield the list of statuses."""
    statuses: list[int] = []
    end = threading.Event()
    busy = threading.Barrier(threads + 1)

    def ask() -> None:
        with server.client() as client:
            statuses.append(client.get(path).status_code)
            busy.wait()
            while not end.is_set():
                statuses.append(client.get(path).status_code)

    with ThreadPoolExecutor(threads) as pool:
        asking = [pool.submit(ask) for _ in range(threads)]
        busy.wait()
        try:
            yield statuses
        finally:
            end.set()
            for one in asking:
                one.result()


@pytest.mark.parametrize("target", ["versioned", "all"])
def test_requests_under_reload_never_meet_a_gap(launch: Launch, target: str) -> None:
    """Twenty reloads at once, under load: all succeed, no request sees a 404 or a 5xx, each instance ends once."""
    server = launch({"versioned": PLUGIN, "other": PLUGIN.replace("Versioned", "Other").replace("= 1", "= 2")})

    def reload(number: int) -> int:
        with (server.plugins / "versioned.py").open("a") as file:
            file.write(f"# edit {number}\n")
        return server.get(f"/reload/{target}").status_code

    with hammered(server, "/versioned") as statuses, ThreadPoolExecutor(20) as pool:
        reloads = list(pool.map(reload, range(20)))
    assert [200] * 20 == reloads
    assert {200} == set(statuses)
    starts = events(server).count("start 1")
    # An edit may come in time for the reload before it, after which there is nothing left to load for its own.
    assert 21 == starts if target == "versioned" else 2 <= starts <= 21
    assert starts - 1 == events(server).count("end 1")
    assert 1 == events(server).count("start 2")
    assert 0 == server.stop()
    assert starts == events(server).count("end 1")


def test_two_plugins_of_one_file_are_replaced_together(launch: Launch) -> None:
    """Reloading either terminates both old ones and has both new ones serve."""
    sibling = PLUGIN[PLUGIN.index("class Versioned") :].replace("Versioned", "Sibling")
    server = launch({"versioned": PLUGIN + sibling})
    edit(server, "VERSION = 1", "VERSION = 2")
    assert 200 == server.get("/reload/sibling").status_code
    assert [2, 2] == [server.get(path).json()["version"] for path in ("/versioned", "/sibling")]
    assert ["start 1"] * 2 + ["start 2"] * 2 + ["end 1"] * 2 == events(server)


@pytest.mark.parametrize("helper", ["", "zz_helper", "aa_helper"], ids=["plugin", "later_helper", "earlier_helper"])
def test_an_edit_of_the_same_length_in_the_same_second_is_seen(launch: Launch, helper: str) -> None:
    """No stale byte code, in plugins as in the modules beside them."""
    source = PLUGIN
    name = f"{helper or 'versioned'}.py"
    if helper:
        source = PLUGIN.replace("VERSION = 1", f"from {helper} import VERSION")
    server = launch({helper or "other": "VERSION = 1\n", "versioned": source})
    before = (server.plugins / name).stat()
    for number in (2, 3):
        edit(server, f"VERSION = {number - 1}", f"VERSION = {number}", name=name)
        os.utime(server.plugins / name, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert 200 == server.get("/reload/versioned").status_code
        assert number == version(server)


def test_a_failed_reload_puts_the_helper_modules_back(launch: Launch) -> None:
    """What the old version imports later on is what it was loaded with."""
    source = PLUGIN.replace("VERSION = 1", "import zz_helper\nVERSION = 1").replace(
        "        if ", "        import zz_helper as again\n        assert again is zz_helper\n        if "
    )
    server = launch({"zz_helper": "", "versioned": source})
    edit(server, "VERSION = 1", "VERSION = = 1")
    assert 500 == server.get("/reload/versioned").status_code
    assert 1 == version(server)


def test_pickles_and_data_classes_survive_a_reload(launch: Launch) -> None:
    """The new module replaces the old one under its name; a failed reload puts the old one back."""
    source = PLUGIN.replace("VERSION = 1", "import pickle\nVERSION = 1\nclass Thing:\n    pass\n").replace(
        "        if ", "        pickle.loads(pickle.dumps(Thing()))\n        if "
    )
    server = launch({"versioned": source})
    assert 200 == server.get("/reload/versioned").status_code
    assert 1 == version(server)
    edit(server, 'note(f"start {VERSION}")', "1 / 0")
    assert 500 == server.get("/reload/versioned").status_code
    assert 1 == version(server)


TASKS = """
import asyncio
from plugincore.baseplugin import BasePlugin

def note(text):
    with open("events", "a") as events:
        events.write(text + "\\n")

async def work(name):
    try:
        await asyncio.sleep(3600)
    finally:
        note(f"cleaning {name}")
        await asyncio.sleep(0.01)
        note(f"cleaned {name}")

async def parent():
    await asyncio.gather(work("child"), asyncio.create_task(work("grandchild")))

class Tasks(BasePlugin):
    async def initialize(self, **kwargs):
        asyncio.create_task(work("initialize"))
        asyncio.create_task(parent())
        self.args["task_callback"](asyncio.Task(work("callback"), name="own"))

    async def request_handler(self, **data):
        asyncio.create_task(work("handler"))
        await asyncio.sleep(0)
        return 200, len(asyncio.all_tasks())

    async def terminate_plugin(self):
        await asyncio.sleep(0.01)
        note("terminated")
"""


@pytest.mark.parametrize(
    "end", [lambda server: server.get("/reload/tasks"), lambda server: server.stop()], ids=["reload", "stop"]
)
def test_background_tasks_end_with_their_plugin(launch: Launch, end: Callable[[Server], object]) -> None:
    """An async terminate_plugin is awaited, then the tasks are cancelled and awaited, their clean-up included."""
    server = launch({"tasks": TASKS})
    assert 200 == server.get("/tasks").status_code
    end(server)
    noted = events(server)
    assert "terminated" == noted[0]
    names = ["callback", "child", "grandchild", "handler", "initialize"]
    assert sorted(f"{word} {name}" for name in names for word in ("cleaning", "cleaned")) == sorted(noted[1:])


def test_other_plugins_keep_their_tasks(launch: Launch) -> None:
    """A reload ends the tasks of the reloaded file only."""
    other = TASKS.replace("Tasks", "Other").replace('"events"', '"others"')
    server = launch({"tasks": TASKS, "other": other})
    assert 200 == server.get("/reload/tasks").status_code
    assert "terminated" == events(server)[0]
    assert not (server.folder / "others").exists()


@pytest.mark.parametrize(
    "body",
    ["raise ValueError('no')", "raise SystemExit(3)", "raise KeyboardInterrupt"],
    ids=["error", "exit", "interrupt"],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_terminate_plugin_that_raises_is_logged_and_the_new_version_serves(
    launch: Launch, kind: str, body: str
) -> None:
    """The new version serves by then, so the reload has succeeded."""
    source = PLUGIN.replace("    def terminate", f"    {kind} terminate").replace('note(f"end {VERSION}")', body)
    server = launch({"versioned": source})
    assert 200 == server.get("/reload/versioned").status_code
    assert server.wait_for(r"ERROR - .*plugins/versioned\.py: plugin versioned: terminate_plugin: ")
    assert 1 == version(server)
    assert 0 == server.stop()


def test_without_a_key_only_this_machine_may_reload(launch: Launch) -> None:
    """A forwarded client from elsewhere is refused and nothing is reloaded."""
    server = launch({"versioned": PLUGIN})
    answer = server.get("/reload/all", headers={"X-Forwarded-For": "203.0.113.9"})
    assert 403 == answer.status_code
    assert ["start 1"] == events(server)


def test_a_reload_needs_the_servers_key(launch: Launch) -> None:
    """With `[auth] apikey`, `/plugins` and `/reload` want it, and nothing is read before it was shown."""
    server = launch({"versioned": PLUGIN}, ini_more="[auth]\napikey = k\n")
    for path in ("/plugins", "/reload/versioned", "/reload/all", "/reload/unknown"):
        assert [403, 403] == [server.get(path).status_code, server.get(path + "?apikey=wrong").status_code]
    assert ["start 1"] == events(server)
    assert 200 == server.get("/reload/versioned", headers={"Authorization": "Bearer k"}).status_code


@pytest.mark.parametrize("path", ["/reload", "/reload/", "/reload/all/", "/plugins/"])
def test_other_addresses_below_the_utilities_are_unknown(launch: Launch, path: str) -> None:
    """They are 404 and reload nothing."""
    server = launch({"versioned": PLUGIN})
    assert 404 == server.get(path).status_code
    assert ["start 1"] == events(server)


@pytest.mark.parametrize(("path", "method"), [("/reload/all", "DELETE"), ("/plugins", "PUT")])
def test_other_methods_are_refused(launch: Launch, path: str, method: str) -> None:
    """405 with the methods that the address has."""
    server = launch({"versioned": PLUGIN})
    answer = server.request(method, path)
    assert 405 == answer.status_code
    assert "GET" in answer.headers["allow"]
    assert ["start 1"] == events(server)


def test_the_master_configuration_is_the_one_that_the_server_goes_by(launch: Launch) -> None:
    """A mistake in the ini file, or a plugin that fails, changes nothing that plugins see."""
    source = """
    from plugincore import configfile
    from plugincore.baseplugin import BasePlugin

    class Master(BasePlugin):
        def request_handler(self, **data):
            config = configfile.masterConfig
            return 200, {"word": config["shop"]["word"], "logging": "logging" in config}
    """
    server = launch({"master": source}, ini_more="[shop]\nword = one\n")
    ini = server.folder / "server.ini"
    text = ini.read_text()
    for more in (
        "[SSL]\nenabled = maybe\n",
        "[SSL]\nenabled = on\ncertfile = server.ini\nkeyfile = server.ini\n",
        "[x\n",
    ):
        ini.write_text(text.replace("one", "two") + more)
        assert 500 == server.get("/reload/all").status_code
        assert {"word": "one", "logging": True} == server.get("/master").json()
    ini.write_text(text.replace("one", "two"))
    right = (server.plugins / "master.py").read_text()
    (server.plugins / "master.py").write_text("def broken(:")
    assert 500 == server.get("/reload/all").status_code
    assert {"word": "one", "logging": True} == server.get("/master").json()
    (server.plugins / "master.py").write_text(right)
    assert 200 == server.get("/reload/all").status_code
    assert {"word": "two", "logging": True} == server.get("/master").json()


#: The version after it.
NEXT = PLUGIN.replace("VERSION = 1", "VERSION = 3")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no class in it derives from BasePlugin any more; delete the file to remove versioned"),
        ("# being written\n", "no class in it derives from BasePlugin any more"),
        (NEXT[: NEXT.index("    async def request_handler")], "versioned has no request_handler any more; "),
        (NEXT[:-118], "versioned.py:"),
        ("\udcff" + NEXT, "versioned.py"),
        (NEXT.replace("request_handler", "requesthandler"), "requesthandler in class Versioned is probably"),
        (NEXT.replace("class Versioned", "class Other"), 'the plugin id "other" is taken'),
    ],
    ids=["empty", "a comment", "half", "half a method", "not UTF-8", "renamed handler", "taken id"],
)
@pytest.mark.parametrize("target", ["versioned", "all"])
def test_a_file_that_loses_its_plugin_is_refused(launch: Launch, target: str, content: str, reason: str) -> None:
    """What served goes on serving; a file that defines another plugin instead replaces it."""
    server = launch({"versioned": PLUGIN, "other": PLUGIN.replace("Versioned", "Other").replace("= 1", "= 2")})
    (server.plugins / "versioned.py").write_text(content, errors="surrogateescape")
    for _ in range(2):
        answer = server.get(f"/reload/{target}")
        assert 500 == answer.status_code, answer.text
        assert any(reason in one for one in answer.json()["reasons"]), answer.text
        assert 1 == version(server)
        assert ["other", "versioned"] == answer.json()["loaded_plugins"]
    assert "end 1" not in events(server)
    (server.plugins / "versioned.py").write_text(PLUGIN.replace("class Versioned", "class Renamed"))
    assert 200 == server.get(f"/reload/{target}").status_code
    assert [200, 404] == [server.get(path).status_code for path in ("/renamed", "/versioned")]


def test_a_class_that_moved_may_leave_a_helper_behind(launch: Launch) -> None:
    """Its id is served from the other file, so nothing is lost with the class."""
    server = launch({"versioned": PLUGIN})
    (server.plugins / "moved.py").write_text(PLUGIN.replace("VERSION = 1", "VERSION = 2"))
    (server.plugins / "versioned.py").write_text("VERSION = 2\n")
    assert 200 == server.get("/reload/all").status_code
    assert 2 == version(server)
