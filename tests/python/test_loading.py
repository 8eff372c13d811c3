"""From plugin files to endpoints: what is loaded, with which parameters, and what is reported when it fails."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from support.plugins import INI
from support.server import Launch

GOOD = """
from plugincore.baseplugin import BasePlugin

class Good(BasePlugin):
    async def request_handler(self, **data):
        return 200, "good"
"""

#: A plugin that answers with its parameters.
PARAMETERS = """
from plugincore.baseplugin import BasePlugin

HOSTS = {"config", "log", "task_callback", "args", "prog_args"}

class Parameters(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.at_init = {name: value for name, value in kwargs.items() if name not in HOSTS}
        self.hosts = sorted(HOSTS & set(kwargs))

    async def initialize(self, **kwargs):
        self.at_initialize = {name: value for name, value in kwargs.items() if name not in HOSTS}

    async def request_handler(self, **data):
        return 200, {"init": self.at_init, "initialize": self.at_initialize, "hosts": self.hosts}
"""

HEAD = "from plugincore.baseplugin import BasePlugin\n"
HANDLER = "    async def request_handler(self, **data):\n        return 200, {}\n"
CLASS = HEAD + "class Bad(BasePlugin):\n"


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        pytest.param(HEAD + "def x(:\n", 2, "SyntaxError: invalid syntax", id="syntax error"),
        pytest.param("if True:\nx = 1\n", 2, "IndentationError: expected an indented block", id="indentation"),
        pytest.param("x = '\x00'\n", None, "null bytes", id="null byte"),
        pytest.param(HEAD + "import no_such_module\n", 2, "No module named 'no_such_module'", id="missing module"),
        pytest.param(
            "\n\nfrom json import nothing\n", 3, "ImportError: cannot import name 'nothing'", id="import error"
        ),
        pytest.param("import sys\n\nsys.exit(3)\n", 3, "SystemExit: 3", id="sys.exit at import"),
        pytest.param("raise KeyboardInterrupt\n", 1, "KeyboardInterrupt", id="KeyboardInterrupt at import"),
        pytest.param("import asyncio\nraise asyncio.CancelledError\n", 2, "CancelledError", id="cancelled at import"),
        pytest.param(
            CLASS + "    def __init__(self, **kwargs):\n        1 / 0\n",
            4,
            "class Bad: ZeroDivisionError",
            id="__init__",
        ),
        pytest.param(
            CLASS + "    def __init__(self, **kwargs):\n        raise SystemExit(3)\n",
            4,
            "class Bad: SystemExit: 3",
            id="sys.exit in __init__",
        ),
        pytest.param(
            CLASS + "    def __init__(self):\n        super().__init__()\n",
            None,
            "class Bad: TypeError: .*unexpected keyword argument",
            id="no kwargs",
        ),
        pytest.param(
            CLASS + "    def __init__(self, **kwargs):\n        super().__init__()\n",
            4,
            r"class Bad: ValueError: no args were passed: .*super\(\).__init__\(\*\*kwargs\)",
            id="kwargs not handed on",
        ),
        pytest.param(
            CLASS + "    def __init__(self, **kwargs):\n        pass\n" + HANDLER,
            None,
            r"class Bad: ValueError: it has no _plugin_id: call super\(\).__init__\(\*\*kwargs\)",
            id="no super().__init__",
        ),
        pytest.param(
            CLASS + "    async def initialize(self, **kwargs):\n        {}['missing']\n",
            4,
            "class Bad: KeyError: 'missing'",
            id="async initialize",
        ),
        pytest.param(
            CLASS + "    def initialize(self, **kwargs):\n        raise KeyboardInterrupt\n",
            4,
            "class Bad: KeyboardInterrupt",
            id="KeyboardInterrupt in plain initialize",
        ),
        pytest.param(
            CLASS + "    async def initialize(self, **kwargs):\n        raise SystemExit(4)\n",
            4,
            "class Bad: .*SystemExit: 4",
            id="sys.exit in async initialize",
        ),
        pytest.param(
            CLASS + "    def initialize(self, **kwargs):\n        self._plugin_id = '/'\n" + HANDLER,
            None,
            "class Bad: ValueError: its id is empty",
            id="empty id",
        ),
        pytest.param(
            CLASS + "    def initialize(self, **kwargs):\n        self._plugin_id = 'a/../b'\n" + HANDLER,
            None,
            r"class Bad: ValueError: its id \"a/../b\" has a '\.\.' segment",
            id="unreachable id",
        ),
        pytest.param(
            CLASS + "    http_methods = ('GET', 'TRACE')\n" + HANDLER, None, 'http_methods names "TRACE"', id="methods"
        ),
    ],
)
def test_a_plugin_that_fails_is_reported_and_the_others_serve(
    launch: Launch, source: str, line: int | None, reason: str
) -> None:
    """Whatever a file does when it is loaded, the log has file, line and reason, and nothing else is affected."""
    server = launch({"alpha": GOOD.replace("Good", "Alpha"), "bad": source, "good": GOOD})
    place = r"plugins/bad\.py" + (f":{line}" if line else "")
    assert server.wait_for(rf"ERROR - plugincore - {place}: .*{reason}")
    assert ["alpha", "good"] == server.get("/plugins").json()["loaded_plugins"]
    assert [200, 200, 404] == [server.get(path).status_code for path in ("/alpha", "/good", "/bad")]
    assert 0 == server.stop()


@pytest.mark.parametrize(
    "wait",
    [
        "await asyncio.sleep(3600)",
        "await asyncio.get_running_loop().create_future()",
        # A plugin that swallows cancellations is not waited for, either.
        "while True:\n            try:\n                await asyncio.sleep(3600)\n"
        "            except asyncio.CancelledError:\n                pass",
    ],
    ids=["sleep", "future", "stubborn"],
)
def test_an_initialize_that_does_not_end_is_given_up(launch: Launch, wait: str) -> None:
    """`[server] plugin_timeout` limits an async `initialize`; the others serve."""
    bad = f"import asyncio\n{CLASS}    async def initialize(self, **kwargs):\n        {wait}\n{HANDLER}"
    server = launch({"bad": bad, "good": GOOD}, ini_more="[server]\nplugin_timeout = 100ms\nshutdown_timeout = 100ms\n")
    assert server.wait_for(r"plugins/bad\.py: class Bad: TimeoutError: initialize did not end within 0\.1 s")
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]
    assert 0 == server.stop()


def test_a_plugin_that_fails_leaves_no_background_task(launch: Launch) -> None:
    """Tasks that were started before the failure end with it, and their clean-up runs."""
    bad = f"""
import asyncio
{CLASS}
    async def initialize(self, **kwargs):
        asyncio.create_task(self.work())
        await asyncio.sleep(0)
        raise RuntimeError("changed my mind")

    async def work(self):
        try:
            await asyncio.sleep(3600)
        finally:
            print("work ended")
"""
    server = launch({"bad": bad, "good": GOOD}, ready=False)
    server.wait_for("changed my mind")
    server.ready()
    started = next(number for number, line in enumerate(server.lines) if "Server started" in line)
    assert "work ended" in server.lines[:started]


@pytest.mark.parametrize(
    ("parameters", "files", "reason"),
    [
        ("auth_type=secret", {}, 'auth_type is "secret"; it must be "global" .*"plugin"'),
        ("auth_type=global", {}, "Auth is global but no apikey in auth"),
        ("auth_type=plugin", {}, "Auth is plugin but no plugin apikey"),
        ("route_path=plugins", {}, '"plugins" belongs to the server'),
        ("route_path=reload/x", {}, '"reload/x" belongs to the server'),
        ("route_path=-/ready", {}, '"-/ready" belongs to the server'),
        ("json=p.json", {"p.json": "[1, 2]"}, "parameter file plugins/p.json: the top level must be a JSON object"),
        ("json=p.json", {"p.json": '{"a": }'}, "parameter file plugins/p.json: JSONDecodeError: .*line 1 column 7"),
        ("json=p.json", {"p.json": '{"a": 1}\ufeff'}, "parameter file plugins/p.json: JSONDecodeError"),
    ],
)
def test_bad_parameters_keep_a_plugin_from_loading(
    launch: Launch, parameters: str, files: dict[str, str], reason: str
) -> None:
    """A plugin whose parameters cannot be used is not loaded, above all never loaded open."""
    server = launch({"good": GOOD, "zeta": PARAMETERS, **files}, ini_more=f"[plugin_parms]\nzeta = {parameters}\n")
    assert server.wait_for(
        rf"ERROR - plugincore - (plugins/zeta\.py|server\.ini:\d+: \[plugin_parms\] zeta): .*{reason}"
    )
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]


def test_files_are_loaded_in_sorted_order(launch: Launch) -> None:
    """The order in /plugins is that of the file names, not of the folder; `_x.py` and `my-p.py` count."""
    names = ["zeta", "b", "_under", "my-plugin", "a1", "a", "Upper", "__init__"]
    plugins = {name: GOOD.replace("Good", "P" + re.sub(r"\W", "", name)) for name in names}
    server = launch({**plugins, ".hidden.py": GOOD, "notes.txt": "not Python", "folder.pyc": ""})
    expected = ["pupper", "p__init__", "p_under", "pa", "pa1", "pb", "pmyplugin", "pzeta"]
    assert expected == server.get("/plugins").json()["loaded_plugins"]


def test_a_folder_called_like_a_plugin_is_none(launch: Launch, tmp_path: Path) -> None:
    """Only files are plugins; links to files count, dangling ones do not."""
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(GOOD)
    folder = tmp_path / "server0" / "plugins"
    (folder / "folder.py").mkdir(parents=True)
    (folder / "linked.py").symlink_to(elsewhere)
    (folder / "dangling.py").symlink_to(tmp_path / "absent.py")
    server = launch()
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]
    assert "ERROR" not in server.log


def test_parameters_reach_init_and_initialize(launch: Launch) -> None:
    """`[plugin_parms]` gives text, the JSON file gives typed values and wins; both methods get the same."""
    typed = {"number": 5, "list": [1, "two", None], "flag": True, "text": "from file", "nested": {"a": 1.5}}
    server = launch(
        {"parameters": PARAMETERS, "typed.json": json.dumps(typed)},
        ini_more="[plugin_parms]\nparameters = text=from+ini&json=typed.json&own=a%26b&own=2&empty=\n",
    )
    expected = {"text": "from file", "json": "typed.json", "own": "a&b", **typed}
    answer = server.get("/parameters").json()
    assert (expected, expected) == (answer["init"], answer["initialize"])
    assert ["args", "config", "log", "prog_args", "task_callback"] == answer["hosts"]


def test_json_with_a_colon_names_the_parameter_file(launch: Launch) -> None:
    """The configuration page of pluginserver prints `json:file`; it means `json=file`."""
    server = launch(
        {"parameters": PARAMETERS, "p.json": '{"a": 1}'}, ini_more="[plugin_parms]\nparameters = json:p.json\n"
    )
    assert {"json": "p.json", "a": 1} == server.get("/parameters").json()["init"]


def test_a_parameter_file_may_have_an_absolute_path(launch: Launch, tmp_path: Path) -> None:
    """Relative ones are looked up in the folder of the plugins, absolute ones where they are."""
    (tmp_path / "p.json").write_text('{"a": 2}')
    server = launch({"parameters": PARAMETERS}, ini_more=f"[plugin_parms]\nparameters = json={tmp_path}/p.json\n")
    assert 2 == server.get("/parameters").json()["init"]["a"]


def test_precedence_is_that_of_pluginserver(launch: Launch) -> None:
    """An ini parameter replaces `log`, `task_callback`, `args`; only the JSON file replaces `config`, `prog_args`."""
    source = """
    from plugincore.baseplugin import BasePlugin

    class Names(BasePlugin):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seen = {name: type(value).__name__ for name, value in kwargs.items()}

        async def request_handler(self, **data):
            return 200, self.seen
    """
    ini = "[plugin_parms]\nfirst = log=a&task_callback=b&args=c&config=d&prog_args=e&route_path=first\n"
    ini += "second = route_path=second&json=second.json\n"
    server = launch({"first": source, "second": source, "second.json": '{"config": null}'}, ini_more=ini)
    first = server.get("/first").json()
    assert {"str"} == {first[name] for name in ("log", "task_callback", "args")}
    assert ("Config", "Namespace") == (first["config"], first["prog_args"])
    assert "NoneType" == server.get("/second").json()["config"]


@pytest.mark.parametrize("key", ["MyPlugin", "myplugin", "MYPLUGIN"])
def test_a_stem_with_capitals_finds_its_parameters(launch: Launch, key: str) -> None:
    """Configparser lower-cases keys; a file name with capitals still gets its parameters, its key above all."""
    server = launch({"MyPlugin": GOOD}, ini_more=f"[plugin_parms]\n{key} = auth_type=plugin&apikey=k\n")
    assert [403, 200] == [server.get(path).status_code for path in ("/good", "/good?apikey=k")]


@pytest.mark.parametrize(
    "where",
    [
        "    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n        self._plugin_id = 'moved'\n",
        "    async def initialize(self, **kwargs):\n        self._plugin_id = 'moved'\n",
        "    def initialize(self, **kwargs):\n        self._plugin_id = '/moved'\n",
        "    def _get_plugin_id(self):\n        return 'moved'\n",
    ],
    ids=["__init__", "async initialize", "plain initialize", "_get_plugin_id"],
)
def test_a_plugin_may_name_itself(launch: Launch, where: str) -> None:
    """The id is read after `initialize`; it wins over route_path, as the plugin sets it later."""
    source = HEAD + "class Named(BasePlugin):\n" + where + HANDLER
    server = launch({"named": source}, ini_more="[plugin_parms]\nnamed = route_path=elsewhere\n")
    assert ["moved"] == server.get("/plugins").json()["loaded_plugins"]
    assert [200, 404, 404] == [server.get(path).status_code for path in ("/moved", "/named", "/elsewhere")]


@pytest.mark.parametrize(
    ("route_path", "found", "missing"),
    [
        ("a/b/c", "/a/b/c/tail", "/a/b"),
        ("/lead", "/lead/tail", "//lead"),
        ("p{x}", "/p{x}/tail", "/pa/tail"),
        ("Caps", "/Caps/tail", "/caps"),
        ("with+space", "/with%20space/tail", "/with"),
        ("%C3%BC", "/%C3%BC/tail", "/u"),
    ],
)
def test_route_path_names_the_endpoint(launch: Launch, route_path: str, found: str, missing: str) -> None:
    """`route_path` may hold slashes and any letters; braces are no pattern."""
    source = GOOD.replace('"good"', 'data["subpath"]')
    server = launch({"good": source}, ini_more=f"[plugin_parms]\ngood = route_path={route_path}\n")
    answer = server.get(found)
    assert (200, "tail") == (answer.status_code, answer.text)
    assert [404, 404] == [server.get(path).status_code for path in (missing, "/good")]


def test_the_first_of_two_equal_ids_serves(launch: Launch) -> None:
    """A second plugin with a taken id is reported, terminated, and the first serves."""
    second = GOOD.replace('"good"', '"second"') + "    def terminate_plugin(self):\n        print('second is ended')\n"
    server = launch({"a": GOOD, "b": second, "c": GOOD.replace("Good", "Other")})
    assert server.wait_for(r'ERROR - plugincore - plugins/b\.py: the plugin id "good" is taken')
    assert server.wait_for("^second is ended$")
    assert "good" == server.get("/good").text
    assert ["good", "other"] == server.get("/plugins").json()["loaded_plugins"]


def test_two_plugins_in_one_file_serve_both(launch: Launch) -> None:
    """Each class derived from BasePlugin that a file defines is an endpoint; what it imports is not."""
    source = GOOD + GOOD.replace("Good", "Better").replace('"good"', '"better"') + "\nAlias = Better\n"
    server = launch({"both": source})
    assert ["better", "good"] == server.get("/plugins").json()["loaded_plugins"]
    assert ["good", "better"] == [server.get(path).text for path in ("/good", "/better")]


def test_one_of_two_classes_may_fail(launch: Launch) -> None:
    """At the start the other class of the file serves."""
    source = GOOD + CLASS + "    def __init__(self, **kwargs):\n        raise ValueError('no')\n"
    server = launch({"both": source})
    assert server.wait_for(r"plugins/both\.py:10: class Bad: ValueError: no")
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]


def test_a_subclass_of_an_imported_subclass_is_an_endpoint(launch: Launch, tmp_path: Path) -> None:
    """Base classes may come from packages; only the file's own classes become endpoints."""
    base = (
        HEAD + "class Middle(BasePlugin):\n"
        "    async def request_handler(self, **data):\n        return 200, self.greeting\n"
    )
    plugin = "from basis.middle import Middle\nclass Final(Middle):\n    greeting = 'from the base'\n"
    package = tmp_path / "server0" / "plugins" / "basis"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "middle.py").write_text(base)
    server = launch({"final": plugin})
    assert ["final"] == server.get("/plugins").json()["loaded_plugins"]
    assert "from the base" == server.get("/final").text


def test_a_module_beside_the_plugins_can_be_imported(launch: Launch) -> None:
    """Helper modules are imported from the plugins' folder, once; a helper is no endpoint and no error."""
    helper = "VALUE = 'helped'\nprint('helper runs as', __name__)\n"
    source = "import sys\nfrom zz_helper import VALUE\n" + GOOD.replace('"good"', "VALUE")
    server = launch({"zz_helper": helper, "good": source, "other": source.replace("Good", "Other")})
    assert ["helped", "helped"] == [server.get(path).text for path in ("/good", "/other")]
    assert ["good", "other"] == server.get("/plugins").json()["loaded_plugins"]
    assert "ERROR" not in server.log


def test_data_classes_and_pickles_work(launch: Launch) -> None:
    """The module is known to Python, which data classes with postponed annotations, pickle and type hints need."""
    source = """
    from __future__ import annotations
    import dataclasses, pickle, sys, typing
    from plugincore.baseplugin import BasePlugin

    @dataclasses.dataclass
    class Point:
        x: int
        kind: typing.ClassVar[str] = "point"

    class Modern(BasePlugin):
        async def request_handler(self, **data):
            point = pickle.loads(pickle.dumps(Point(3)))
            hints = typing.get_type_hints(Point)
            return 200, {
                "x": point.x,
                "same": type(point) is Point,
                "fields": [field.name for field in dataclasses.fields(Point)],
                "hint": hints["x"].__name__,
                "name": __name__,
                "package": __package__,
                "file": __file__,
                "known": sys.modules[__name__].Point is Point,
            }
    """
    server = launch({"modern": source})
    expected = {"x": 3, "same": True, "fields": ["x"], "hint": "int", "name": "modern", "known": True}
    expected["package"] = ""
    answer = server.get("/modern").json()
    assert str(server.plugins / "modern.py") == answer.pop("file")
    assert expected == answer


@pytest.mark.parametrize("stem", ["json", "httpx", "sys", "plugincore", "asyncio", "calendar", "email.mime"])
def test_a_plugin_file_shadows_nothing(launch: Launch, stem: str) -> None:
    """A plugin called like a module of the library, or like an installed package, is a plugin and hides nothing."""
    user = GOOD.replace('"good"', f"repr(getattr(importlib.import_module({stem!r}), 'Shadow', None))")
    user = "import importlib\n" + user
    shadow = "from __future__ import annotations\nimport dataclasses\n" + GOOD.replace("Good", "Shadow")
    shadow += "\n@dataclasses.dataclass\nclass Data:\n    x: int\n"
    server = launch({f"{stem}.py": shadow, "user": user})
    assert 200 == server.get("/shadow").status_code
    assert "None" == server.get("/good").text
    assert "ERROR" not in server.log


#: Names of the library that nothing here imports; `this` prints a poem when it is.
UNUSED = ("this", "colorsys")


@pytest.mark.parametrize("stem", ["calendar", "types", "queue", "random", *UNUSED, "json.v3", "my-plugin"])
def test_the_modules_machinery_works_whatever_a_file_is_called(launch: Launch, stem: str) -> None:
    """Data classes, type hints and pickles find the plugin's own names, and no namesake is imported for its name."""
    source = """
    from __future__ import annotations
    import dataclasses, pickle, sys, typing
    from typing import ClassVar as Shared
    from plugincore.baseplugin import BasePlugin

    @dataclasses.dataclass
    class Point:
        x: int
        kind: Shared[str] = "point"
        next: Other | None = None

    class Other(typing.NamedTuple):
        y: Point

    class Modern(BasePlugin):
        async def request_handler(self, **data):
            point = pickle.loads(pickle.dumps(Point(3, Other(None))))
            return 200, {
                "same": type(point) is Point and type(point.next) is Other,
                "fields": [field.name for field in dataclasses.fields(Point)],
                "hints": typing.get_type_hints(Other)["y"] is Point and typing.get_type_hints(Point)["x"] is int,
                "known": sys.modules[__name__].Point is Point,
                "imported": [name for name in ("this", "colorsys") if name in sys.modules],
            }
    """
    server = launch({f"{stem}.py": source})
    expected = {"same": True, "fields": ["x", "next"], "hints": True, "known": True, "imported": []}
    assert expected == server.get("/modern").json()
    assert "ERROR" not in server.log


def test_code_is_found_wherever_a_plugin_goes(launch: Launch) -> None:
    """Its file names are absolute, so sources and tracebacks can be read after another plugin changed the folder."""
    source = """
    import inspect, os, sys, traceback
    from plugincore.baseplugin import BasePlugin

    class Mover(BasePlugin):
        async def initialize(self, **kwargs):
            os.chdir("/")

        async def request_handler(self, **data):
            if "fail" in data:
                raise KeyError("gone")  # the line that is shown
            frame = sys._getframe().f_code.co_filename
            return 200, [frame, inspect.getsource(type(self)).splitlines()[0], traceback.extract_stack()[-1].line]
    """
    server = launch({"mover": source})
    expected = [f"{server.plugins}/mover.py", "class Mover(BasePlugin):"]
    assert expected == server.get("/mover").json()[:2]
    assert "traceback.extract_stack()" in server.get("/mover").json()[2]
    assert 500 == server.get("/mover?fail=1").status_code
    server.wait_for(f'File "{server.plugins}/mover.py", line 11, in request_handler.*# the line that is shown')
    assert 200 == server.get("/reload/mover").status_code


@pytest.mark.parametrize("stem", ["my-plugin", "my.plugin", "json.v2"])
def test_a_file_name_need_not_be_a_name_in_python(launch: Launch, stem: str) -> None:
    """Such a module is known to Python all the same."""
    data = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Data:\n    x: int\n"
    server = launch({f"{stem}.py": data + GOOD})
    assert "good" == server.get("/good").text


def test_tabs_coding_lines_and_main_blocks_work(launch: Launch) -> None:
    """Files are read as Python reads them: coding line, BOM, tabs; `__main__` blocks do not run."""
    latin = b"# -*- coding: latin-1 -*-\n" + GOOD.replace('"good"', "'\xe9'").replace("Good", "Latin").encode("latin-1")
    tabs = GOOD.replace("    ", "\t").replace("Good", "Tabs") + "\nif __name__ == '__main__':\n\traise SystemExit(9)\n"
    bom = "\ufeff" + GOOD.replace("Good", "Bom")
    server = launch({"tabs": tabs, "bom": bom})
    assert [200, 200] == [server.get(path).status_code for path in ("/tabs", "/bom")]
    (server.plugins / "latin.py").write_bytes(latin)
    assert 200 == server.get("/reload/all").status_code
    assert "\xe9" == server.get("/latin").text


@pytest.mark.parametrize(
    ("method", "hint"),
    [
        ("def request_hanlder(**args:dict) ->tuple:", "request_hanlder in class Bad is probably meant to be"),
        ("async def request_Handler(self, **data):", "request_Handler in class Bad is probably meant to be"),
        ("async def handler(self, **data):", "define it in class Bad: async def request_handler"),
    ],
)
def test_a_plugin_without_a_handler_says_what_was_meant(launch: Launch, method: str, hint: str) -> None:
    """It is reported with the name that was probably meant, and its endpoint answers 500 with that hint."""
    server = launch({"bad": CLASS + f"    {method}\n        return (200, {{}})\n", "good": GOOD})
    assert server.wait_for(rf"ERROR - plugincore - plugins/bad\.py: class Bad has no request_handler; {hint}")
    answer = server.get("/bad")
    assert 500 == answer.status_code
    assert hint in answer.text
    assert "good" == server.get("/good").text


def test_a_file_without_a_plugin_class_is_no_error(launch: Launch) -> None:
    """Such as a helper module; the log notes it at DEBUG."""
    server = launch({"helper": "VALUE = 1\n", "good": GOOD})
    assert server.wait_for(r"DEBUG - .*plugins/helper\.py: no class derived from BasePlugin")
    assert "ERROR" not in server.log


def test_initialize_runs_on_the_loop_that_serves(launch: Launch) -> None:
    """What an async `initialize` creates (locks, tasks, queues) is used by the handlers later on."""
    source = """
    import asyncio, threading
    from plugincore.baseplugin import BasePlugin

    LOCK = asyncio.Lock()

    class Looped(BasePlugin):
        async def initialize(self, **kwargs):
            self.loop = asyncio.get_running_loop()
            self.thread = threading.current_thread()
            self.queue = asyncio.Queue()
            asyncio.create_task(self.feed())

        async def feed(self):
            await self.queue.put("fed")

        async def request_handler(self, **data):
            async with LOCK:
                same = (self.loop is asyncio.get_running_loop(), self.thread is threading.main_thread())
                return 200, [*same, await self.queue.get()]
    """
    server = launch({"looped": source})
    assert [True, True, "fed"] == server.get("/looped").json()


def test_an_unreadable_file_is_reported(launch: Launch, tmp_path: Path) -> None:
    """Bytes that are not Python's encoding are reported like any other error."""
    folder = tmp_path / "server0" / "plugins"
    folder.mkdir(parents=True)
    (folder / "bad.py").write_bytes(b"x = '\xff'\n")
    if os.geteuid() != 0:
        (folder / "secret.py").write_text(GOOD)
        (folder / "secret.py").chmod(0)
    server = launch({"good": GOOD}, ini=INI)
    assert server.wait_for(r"ERROR - plugincore - plugins/bad\.py.*: SyntaxError: .*(utf-8|Non-UTF-8)")
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]
