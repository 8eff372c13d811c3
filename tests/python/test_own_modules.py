"""Plugin files and the modules beside them belong to the load that ran them: each reload has its own."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from support.server import Launch, Server

#: A plugin that answers with what its helper says, and how often files were run.
USER = """
import pickle
import helper
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        thing = pickle.loads(pickle.dumps(helper.Thing()))
        assert type(thing) is helper.Thing
        return 200, {{"version": helper.VERSION, "name": __name__}}
"""

HELPER = """
import dataclasses
import typing

with open("runs", "a") as runs:
    runs.write(__name__ + "\\n")

VERSION = 1

@dataclasses.dataclass
class Thing:
    size: "int" = 1
    other: "Thing | None" = None

assert typing.get_type_hints(Thing)["size"] is int
"""


def runs(server: Server) -> list[str]:
    """Return which files were run, in order."""
    return (server.folder / "runs").read_text().split()


def write(server: Server, name: str, source: str) -> None:
    """Write a file into the plugin folder, whose folder may be new."""
    file = server.plugins / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)


def version(server: Server, plugin: str) -> object:
    """Ask a plugin which version of the helper it has."""
    response = server.get(f"/{plugin}")
    assert 200 == response.status_code, response.text
    return response.json()["version"]


def reload(server: Server, target: str) -> None:
    """Reload, which has to succeed."""
    response = server.get(f"/reload/{target}")
    assert 200 == response.status_code, response.text


def test_plugins_on_an_old_and_a_new_helper_serve_side_by_side(launch: Launch) -> None:
    """A reload of one plugin leaves the helper, the classes and the pickles of the other alone."""
    server = launch({"a": USER.format(name="A"), "b": USER.format(name="B"), "helper": HELPER})
    assert ["helper"] == runs(server)
    write(server, "helper.py", HELPER.replace("VERSION = 1", "VERSION = 2"))
    reload(server, "a")
    assert [2, 1] == [version(server, plugin) for plugin in "ab"]
    reload(server, "b")
    assert [2, 2] == [version(server, plugin) for plugin in "ab"]
    assert ["helper"] * 3 == runs(server)


@pytest.mark.parametrize("target", ["all", "user"])
def test_an_edited_helper_of_an_unchanged_helper_counts(launch: Launch, target: str) -> None:
    """Also if nothing but the innermost one has changed."""
    server = launch({"user": USER.format(name="User"), "helper": HELPER})
    write(server, "helper.py", HELPER + "from package.deep import VERSION\n")
    for number in (3, 4):
        write(server, "package/deep.py", f"VERSION = {number}\n")
        reload(server, target)
        assert number == version(server, "user")


def test_a_failed_reload_of_all_leaves_every_helper_as_it_was(launch: Launch) -> None:
    """What was loaded for it is gone, and pickles of those that serve work."""
    server = launch({"a": USER.format(name="A"), "b": USER.format(name="B"), "helper": HELPER})
    write(server, "helper.py", HELPER.replace("VERSION = 1", "VERSION = 2"))
    write(server, "b.py", "1 / 0\n")
    assert 500 == server.get("/reload/all").status_code
    assert [1, 1] == [version(server, plugin) for plugin in "ab"]


@pytest.mark.parametrize("order", [("a", "z"), ("z", "a")], ids=["before", "after"])
def test_a_plugin_that_another_one_imports_is_run_once(launch: Launch, order: tuple[str, str]) -> None:
    """Whichever of them comes first."""
    user, used = order
    source = HELPER + "from plugincore.baseplugin import BasePlugin\nclass Used(BasePlugin):\n"
    source += "    async def request_handler(self, **data):\n        return 200, {'version': VERSION}\n"
    server = launch({used: source, user: USER.format(name="User").replace("helper", used)})
    assert [used] == runs(server)
    assert [1, 1] == [version(server, plugin) for plugin in ("used", "user")]
    reload(server, "user")
    assert [used] == runs(server), "the module of a plugin that serves is the one that others import"
    write(server, f"{used}.py", source.replace("VERSION = 1", "VERSION = 2"))
    reload(server, "user")
    assert [1, 2] == [version(server, plugin) for plugin in ("used", "user")], "a changed file is run anew"


PATH = """
import os
import sys
sys.path.{method}(os.path.dirname(os.path.abspath(__file__)))
"""


@pytest.mark.parametrize("how", ["append", "insert", "PYTHONPATH", "importlib", "relative"])
def test_one_file_is_one_module_however_it_is_found(launch: Launch, how: str) -> None:
    """Through whatever entry of `sys.path`, and by whatever function."""
    source, env = USER.format(name="A"), {}
    if how == "importlib":
        source = source.replace("import helper\n", "import importlib\nhelper = importlib.import_module('helper')\n")
        source += "import helper as again\nassert again.Thing is helper.Thing\n"
    elif how == "PYTHONPATH":
        env = {"PYTHONPATH": "plugins"}
    elif how == "relative":
        source = "import sys\nsys.path.insert(0, 'plugins')\n" + source
    else:
        source = PATH.format(method=how).replace("insert(", "insert(0, ") + source
    server = launch({"a": source, "b": USER.format(name="B"), "helper": HELPER}, env=env)
    assert ["helper"] == runs(server)
    assert [1, 1] == [version(server, plugin) for plugin in "ab"]
    write(server, "helper.py", HELPER.replace("VERSION = 1", "VERSION = 2"))
    reload(server, "a")
    assert [2, 1] == [version(server, plugin) for plugin in "ab"]


PACKAGE = {
    "kit/__init__.py": "from .base import Base\nfrom . import base\nVERSION = base.VERSION\n",
    "kit/base.py": "from plugincore.baseplugin import BasePlugin\nfrom .deep.numbers import VERSION\n"
    "class Base(BasePlugin):\n    async def request_handler(self, **data):\n"
    "        return 200, {'version': self.say()}\n",
    "kit/deep/__init__.py": "",
    "kit/deep/numbers.py": "from ..deep import words\nVERSION = words.VERSION\n",
    "kit/deep/words.py": "with open('runs', 'a') as runs:\n    runs.write(__name__ + '\\n')\nVERSION = 1\n",
}

DERIVED = """
import kit.deep.numbers
from kit import Base, base

class {name}(Base):
    def say(self):
        from kit.deep import words
        import kit.deep.words as again
        assert words is again and kit.base is base
        return [kit.VERSION, kit.deep.numbers.VERSION, words.VERSION]
"""


@pytest.mark.parametrize("is_namespace", [False, True], ids=["package", "folder"])
def test_packages_beside_the_plugins_belong_to_the_load(launch: Launch, is_namespace: bool) -> None:
    """With relative imports, subpackages and base classes of plugins in them; with and without ``__init__.py``."""
    server = launch({})
    package, derived = dict(PACKAGE), DERIVED
    if is_namespace:
        del package["kit/__init__.py"], package["kit/deep/__init__.py"]
        derived = derived.replace("from kit import Base, base", "from kit import base\nfrom kit.base import Base")
        derived = derived.replace("kit.VERSION", "base.VERSION")
    for name, source in package.items():
        write(server, name, source)
    for name in "ab":
        write(server, f"{name}.py", derived.format(name=name.upper()))
    reload(server, "all")
    assert [[1, 1, 1]] * 2 == [version(server, plugin) for plugin in "ab"]
    assert ["kit.deep.words"] == runs(server)
    write(server, "kit/deep/words.py", package["kit/deep/words.py"].replace("VERSION = 1", "VERSION = 2"))
    reload(server, "a")
    assert [[2, 2, 2], [1, 1, 1]] == [version(server, plugin) for plugin in "ab"]


def test_a_package_with_a_plugin_class_is_a_plugin(launch: Launch) -> None:
    """Its name is the name of the folder, and its modules are reloaded with it."""
    server = launch({}, ini_more="[plugin_parms]\ngreeter = word=hello\n")
    write(
        server,
        "greeter/__init__.py",
        "from plugincore.baseplugin import BasePlugin\nfrom .words import VERSION\nclass Greeter(BasePlugin):\n"
        "    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n        self.word = kwargs['word']\n"
        "    async def request_handler(self, **data):\n        return 200, {'version': [self.word, VERSION]}\n",
    )
    write(server, "greeter/words.py", "VERSION = 1\n")
    write(server, "kit/__init__.py", "raise RuntimeError('a package without a plugin is run only if imported')\n")
    reload(server, "all")
    assert ["hello", 1] == version(server, "greeter")
    write(server, "greeter/words.py", "VERSION = 2\n")
    reload(server, "greeter")
    assert ["hello", 2] == version(server, "greeter")
    shutil.rmtree(server.plugins / "greeter")
    reload(server, "all")
    assert 404 == server.get("/greeter").status_code


def extension() -> Path:
    """Return a compiled module of Python itself."""
    folder = Path(sysconfig.get_path("stdlib"), "lib-dynload")
    return next(folder.glob(f"_bisect*{sysconfig.get_config_var('EXT_SUFFIX')}"))


@pytest.mark.parametrize("kind", ["compiled", "recorded", "environment", "vendor"])
def test_what_is_installed_below_the_plugins_is_run_once_for_ever(launch: Launch, kind: str) -> None:
    """Even if its folder is that of the plugins: a reload has no new copy, and its byte code stays."""
    user = USER.format(name="User").replace("helper", "library")
    server = launch({}, env={"PYTHONDONTWRITEBYTECODE": ""})
    folder = {"environment": ".venv/lib/site-packages/", "vendor": "vendor/"}.get(kind, "")
    write(server, f"{folder}library/__init__.py", HELPER)
    if kind == "compiled":
        shutil.copy(extension(), server.plugins / "library")
    elif kind == "recorded":
        write(server, "library-1.0.dist-info/RECORD", "library/__init__.py,sha256=,1\n")
    else:
        user = f"import sys\nsys.path.append('plugins/{folder[:-1]}')\n" + user
    write(server, "user.py", user)
    reload(server, "all")
    cached = list((server.plugins / folder / "library").glob("__pycache__/*.pyc"))
    assert cached
    stamp = cached[0].stat()
    for _ in range(2):
        reload(server, "user")
        assert 1 == version(server, "user")
    assert ["library"] == runs(server)
    assert stamp == cached[0].stat()
    assert not list(server.plugins.glob("__pycache__/*"))


def test_a_module_may_put_something_else_in_its_place(launch: Launch) -> None:
    """As ``sys.modules[__name__] = …`` does elsewhere."""
    helper = "import sys\nclass Stand:\n    VERSION = {}\n    class Thing: pass\nsys.modules[__name__] = Stand()\n"
    user = USER.format(name="User").replace("pickle.loads(pickle.dumps(helper.Thing()))", "helper.Thing()")
    server = launch({"user": user, "helper": helper.format(1)})
    assert 1 == version(server, "user")
    write(server, "helper.py", helper.format(2))
    reload(server, "user")
    assert 2 == version(server, "user")


def test_importlib_reload_works_on_a_helper(launch: Launch) -> None:
    """It runs the file again in the same module, which keeps its name."""
    reloading = "import importlib\n        importlib.reload(helper)\n        thing = pickle"
    server = launch({"user": USER.format(name="User").replace("thing = pickle", reloading), "helper": HELPER})
    write(server, "helper.py", HELPER.replace("VERSION = 1", "VERSION = 2"))
    assert 2 == version(server, "user")
    assert ["helper", "helper"] == runs(server)


def test_what_is_not_there_has_its_plain_name_in_errors(launch: Launch) -> None:
    """The private names of modules are nobody's business."""
    server = launch({"user": USER.format(name="User"), "helper": HELPER})
    for source, reason in [
        ("import helper.nothing\n", "No module named 'helper.nothing'; 'helper' is not a package"),
        ("import nothing\n", "No module named 'nothing'"),
        ("from helper import nothing\n", "cannot import name 'nothing' from 'helper'"),
        ("from . import helper\n", "attempted relative import with no known parent package"),
        ("from .. import helper\n", "attempted relative import with no known parent package"),
    ]:
        write(server, "user.py", source + USER.format(name="User"))
        response = server.get("/reload/user")
        assert 500 == response.status_code
        assert "plugins/user.py:1: " in response.json()["reasons"][0]
        assert reason in response.json()["reasons"][0]
        assert "plugincore:" not in response.text


def test_an_error_in_a_helper_is_logged_without_the_import_system(launch: Launch) -> None:
    """The traceback leads from the plugin to the helper."""
    server = launch({"user": USER.format(name="User"), "helper": HELPER})
    for broken, line in [("VERSION = \n", 1), ("import json\n1 / 0\n", 2)]:
        write(server, "helper.py", broken)
        seen = len(server.lines)
        response = server.get("/reload/user")
        assert f"raised at plugins/helper.py:{line}" in response.json()["reasons"][0]
        server.wait_for(r'File ".*/plugins/helper.py", line', seen)
        assert "importlib" not in "\n".join(server.lines[seen:])


LEAKS = """
import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import helper
from plugincore.baseplugin import BasePlugin

class Own:
    pass

class Leaks(BasePlugin):
    async def initialize(self, **kwargs):
        self.pool = ThreadPoolExecutor(1)
        self.pool.submit(threading.get_ident).result()
        self.task = asyncio.create_task(asyncio.sleep(3600))
        helper.own = Own()
        everything = [self, type(self), helper, helper.proof, self.pool, self.task, Own, helper.own, helper.Thing]
        for one in everything:
            alive().add(one)

    async def request_handler(self, **data):
        gc.collect()
        with open("/proc/self/statm") as memory:
            pages = int(memory.read().split()[1])
        return 200, {"alive": len(alive()), "threads": threading.active_count(), "pages": pages}

def alive():
    import builtins
    if not hasattr(builtins, "alive"):
        builtins.alive = weakref.WeakSet()
    return builtins.alive
"""


def test_an_old_generation_is_really_gone(launch: Launch) -> None:
    """Instance, classes, modules, task and pool: after eleven reloads there is one of each, and after a thousand."""
    server = launch({"leaks": LEAKS, "helper": HELPER + "class Proof: pass\nproof = Proof()\n"})
    with server.client() as client:

        def after(reloads: int) -> dict[str, int]:
            for _ in range(reloads):
                assert 200 == client.get("/reload/leaks").status_code
            return client.get("/leaks").json()

        first = after(0)
        tenth = after(10)
        assert first["alive"] == tenth["alive"] == after(1)["alive"]
        last = after(989)
    assert (first["alive"], first["threads"]) == (last["alive"], last["threads"])
    assert last["pages"] * 4096 <= tenth["pages"] * 4096 + 5 * 1024**2
