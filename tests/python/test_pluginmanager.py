"""`plugincore.pluginmanager.PluginManager`: plugins in plain asyncio, without a server."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugincore.configfile import Config
from plugincore.pluginmanager import PluginManager

ARGS = argparse.Namespace(ini_file="server.ini", log=None, level="ERROR")

COUNTER = """
    from plugincore.baseplugin import BasePlugin

    class Counter(BasePlugin):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.kwargs = kwargs
            self.events = ["init"]

        async def initialize(self, **kwargs):
            self.events.append("initialize")
            assert kwargs == self.kwargs

        async def request_handler(self, **data):
            return 200, {"version": VERSION, **data}

        async def terminate_plugin(self):
            self.events.append("terminate")

    VERSION = 1
"""
SECOND = "from plugincore.baseplugin import BasePlugin\n\nclass Second(BasePlugin):\n    pass\n"


class Log:
    """A log that keeps what it is told, with the interface of LogJam."""

    def __init__(self) -> None:
        """Begin empty."""
        self.lines: list[tuple[str, str]] = []

    def __call__(self, *args: object) -> None:
        """Keep an INFO line."""
        self.info(*args)

    def info(self, *args: object) -> None:
        """Keep an INFO line."""
        self.lines.append(("info", " ".join(map(str, args))))

    def warning(self, *args: object) -> None:
        """Keep a WARN line."""
        self.lines.append(("warning", " ".join(map(str, args))))

    def exception(self, *args: object) -> None:
        """Keep an EXCEPTION line."""
        self.lines.append(("exception", " ".join(map(str, args))))

    def text(self, level: str) -> str:
        """Return all that was told at `level`."""
        return "\n".join(text for known, text in self.lines if known == level)


@pytest.fixture(autouse=True)
def _clean_modules() -> Iterator[None]:
    """Put `sys.modules` and `sys.path` back."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two plugin files."""
    write(tmp_path, "counter", COUNTER)
    write(tmp_path, "second", SECOND)
    return tmp_path


def write(folder: Path, name: str, source: str) -> Path:
    """Write a plugin file."""
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(source))
    return file


def manager_of(folder: Path, **options: Any) -> tuple[PluginManager, Log]:
    """Return a manager and its log."""
    log = Log()
    config = Config(items={})
    return PluginManager(str(folder), **{"config": config, "log": log, "args": ARGS, **options}), log


def test_a_manager_needs_the_program_s_arguments(tmp_path: Path) -> None:
    """As in the original, `args` is required, and told."""
    with pytest.raises(ValueError, match="no args object passed"):
        PluginManager(str(tmp_path))


def test_a_manager_shows_what_it_was_made_of(tmp_path: Path) -> None:
    """Its attributes are the original's; at first there are no plugins."""
    config = Config(items={})

    def callback(task: object) -> None:
        pass

    manager, log = manager_of(tmp_path, config=config, task_callback=callback)
    assert (str(tmp_path), {}, {}) == (manager.plugin_dir, manager.plugins, manager.modules)
    assert (config, log, ARGS, callback) == (manager.config, manager.log, manager.prog_args, manager.task_callback)


def test_plugins_are_loaded_in_sorted_order_and_can_be_called(folder: Path) -> None:
    """All of it happens in the caller's own loop."""

    async def check() -> None:
        manager, log = manager_of(folder)
        assert await manager.load_plugins() is None
        assert ["counter", "second"] == list(await manager.all_plugins()) == list(manager.plugins)
        assert ["counter", "second"] == list(manager.modules)
        plugin = await manager.get_plugin("counter")
        assert plugin is manager.plugins["counter"]
        assert ["init", "initialize"] == plugin.events
        assert '{"version": 1, "n": 2}' == (await plugin.handle_request(n=2)).text
        assert await manager.get_plugin("nobody") is None
        assert "Loaded plugin counter\nLoaded plugin second" == log.text("info")

    asyncio.run(check())


def test_plugins_get_the_manager_s_objects_and_their_parameters(folder: Path) -> None:
    """The arguments are those of the server, precedence included."""
    (folder / "more.json").write_text('{"size": 7}')
    parameters = {"plugin_parms": {"counter": "size=3&colour=red&config=mine&prog_args=mine&json=more.json"}}
    config = Config(items={"plugin_parms": Config(items=parameters["plugin_parms"], section_name="plugin_parms")})

    async def check() -> None:
        tasks: list[object] = []
        manager, log = manager_of(folder, config=config, task_callback=tasks.append)
        await manager.load_plugin(folder / "counter.py")
        plugin: Any = await manager.get_plugin("counter")
        kwargs = dict(plugin.kwargs)
        kwargs.pop("task_callback")("a task")
        assert ["a task"] == tasks
        expected = {
            "config": config,
            "log": log,
            "args": ARGS,
            "prog_args": ARGS,
            "size": 7,
            "colour": "red",
            "json": "more.json",
        }
        assert expected == kwargs
        assert plugin.config is config

    asyncio.run(check())


def test_a_plugin_can_hand_in_tasks_when_the_manager_has_no_callback(folder: Path) -> None:
    """`task_callback` can always be called; tasks handed in end with the plugin."""

    async def check() -> None:
        manager, _ = manager_of(folder)
        await manager.load_plugin(folder / "counter.py")
        plugin: Any = await manager.get_plugin("counter")
        task = asyncio.create_task(asyncio.sleep(1000))
        plugin.kwargs["task_callback"](task)
        await manager.remove_plugin("counter")
        assert task.cancelled()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def broken(:\n", r"bad\.py:1: SyntaxError: "),
        ("import no_such_module\n", r"bad\.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)\n", r"bad\.py:1: SystemExit: 3"),
        (
            SECOND + "    def __init__(self, **kwargs):\n        1 / 0\n",
            r"bad\.py:6: class Second: ZeroDivisionError: ",
        ),
        (
            SECOND + "    async def initialize(self, **kwargs):\n        raise OSError('x')\n",
            "class Second: OSError: x",
        ),
        (SECOND + "    def __init__(self, **kwargs): pass\n", r"no _plugin_id: call super\(\).__init__\(\*\*kwargs\)"),
    ],
    ids=["syntax", "import", "exit", "constructor", "initialize", "no super"],
)
def test_a_file_that_fails_is_told_and_the_others_load(folder: Path, source: str, reason: str) -> None:
    """The reason names file, line and class."""
    write(folder, "bad", source)

    async def check() -> None:
        manager, log = manager_of(folder)
        await manager.load_plugins()
        assert ["counter"] == [name for name in await manager.all_plugins() if name != "second"]
        assert log.text("exception").startswith(f"Exception loading plugin from {folder}")
        assert re.search(reason, log.text("exception")), log.text("exception")

    asyncio.run(check())


def test_removing_a_plugin_terminates_and_forgets_it(folder: Path) -> None:
    """An async `terminate_plugin` is awaited; an unknown id is told."""

    async def check() -> None:
        manager, log = manager_of(folder)
        await manager.load_plugins()
        plugin: Any = await manager.get_plugin("counter")
        await manager.remove_plugin("counter")
        assert ["init", "initialize", "terminate"] == plugin.events
        assert ["second"] == list(await manager.all_plugins())
        assert "counter" not in manager.modules
        await manager.remove_plugin("counter")
        assert log.text("info").endswith("No plugin with ID counter")

    asyncio.run(check())


def test_reloading_takes_the_file_as_it_is_now(folder: Path) -> None:
    """The new instance is there before the old one is terminated, whatever the time stamps say."""

    async def check() -> None:
        manager, log = manager_of(folder)
        await manager.load_plugins()
        old: Any = await manager.get_plugin("counter")
        write(folder, "counter", COUNTER.replace("VERSION = 1", "VERSION = 2"))
        await manager.reload_plugin("counter")
        new: Any = await manager.get_plugin("counter")
        assert old is not new
        assert (["init", "initialize", "terminate"], ["init", "initialize"]) == (old.events, new.events)
        assert (200, {"version": 2}) == await new.request_handler()
        assert 2 == manager.modules["counter"].VERSION
        await manager.reload_plugin("nobody")
        assert log.text("info").endswith("No such plugin to reload: nobody")

    asyncio.run(check())


def test_a_reload_that_fails_leaves_the_old_instance(folder: Path) -> None:
    """It is neither terminated nor replaced; the reason is told."""

    async def check() -> None:
        manager, log = manager_of(folder)
        await manager.load_plugins()
        old: Any = await manager.get_plugin("counter")
        module = manager.modules["counter"]
        write(folder, "counter", "import no_such_module")
        await manager.reload_plugin("counter")
        assert old is await manager.get_plugin("counter")
        assert (["init", "initialize"], module) == (old.events, manager.modules["counter"])
        assert "counter.py:1: ModuleNotFoundError" in log.text("exception")

    asyncio.run(check())


def test_another_configuration_counts_for_what_is_loaded_afterwards(folder: Path) -> None:
    """`reset_config` touches no plugin that is there already."""

    async def check() -> None:
        before, after = Config(items={"stage": "before"}), Config(items={"stage": "after"})
        manager, _ = manager_of(folder, config=before)
        await manager.load_plugins()
        manager.reset_config(after)
        await manager.reload_plugin("counter")
        counter, second = manager.plugins["counter"], manager.plugins["second"]
        assert (after, after, before) == (manager.config, counter.config, second.config)

    asyncio.run(check())


def test_its_attributes_may_be_set_and_its_class_derived_from(folder: Path) -> None:
    """As any Python object: what is set counts for the next load, and a subclass may take arguments of its own."""

    class Mine(PluginManager):
        def __init__(self, where: Path, colour: str) -> None:
            super().__init__(where, args=ARGS, log=Log(), colour=colour)
            self.loads = 0

        async def load_plugin(self, path: str | os.PathLike[str]) -> None:
            self.loads += 1
            await super().load_plugin(path)

    async def check() -> None:
        manager = Mine(folder, colour="red")
        manager.config = Config(items={"size": 3})
        await manager.load_plugin(folder / "counter.py")
        assert (1, 3, "red") == (manager.loads, manager.plugins["counter"].config.size, manager.kwargs["colour"])
        assert (folder, ARGS) == (manager.plugin_dir, manager.prog_args)

    asyncio.run(check())


def test_what_else_a_manager_is_given_reaches_the_plugins(folder: Path) -> None:
    """Arguments that the manager does not know are handed on; parameters of the ini file win over them."""
    config = Config(items={"plugin_parms": Config(items={"counter": "colour=red"}, section_name="plugin_parms")})

    async def check() -> None:
        manager, _ = manager_of(folder, config=config, colour="blue", shelf=[1])
        await manager.load_plugin(str(folder / "counter.py"))
        kwargs = manager.plugins["counter"].kwargs
        assert ("red", [1]) == (kwargs["colour"], kwargs["shelf"])

    asyncio.run(check())


def test_the_folder_is_kept_as_it_was_given(folder: Path) -> None:
    """A text stays a text, which callers add to."""
    assert f"{folder}/x" == manager_of(folder)[0].plugin_dir + "/x"  # type: ignore[operator]
    with pytest.raises(TypeError):
        PluginManager(3, args=ARGS)  # type: ignore[arg-type]


def test_a_folder_that_is_not_there_holds_no_plugins(tmp_path: Path) -> None:
    """It is told and not raised."""
    told: list[str] = []

    async def check() -> None:
        manager, _ = manager_of(tmp_path / "none", log=told.append)
        await manager.load_plugins()
        assert {} == await manager.all_plugins()

    asyncio.run(check())
    assert 1 == len(told)
    assert str(tmp_path / "none") in told[0]


def test_a_plugin_whose_id_is_taken_over_is_terminated(folder: Path) -> None:
    """The last one that is loaded has the id, and the one before is not forgotten alive."""
    write(folder, "twin", SECOND.replace("Second", "Counter"))

    async def check() -> None:
        manager, _ = manager_of(folder)
        await manager.load_plugin(folder / "counter.py")
        first: Any = await manager.get_plugin("counter")
        await manager.load_plugin(folder / "twin.py")
        assert first is not await manager.get_plugin("counter")
        assert ["init", "initialize", "terminate"] == first.events

    asyncio.run(check())


def test_what_a_caller_puts_among_the_plugins_stays_there(folder: Path) -> None:
    """`plugins` is a dict like any other; loading and removing touch their own entries only."""

    async def check() -> None:
        manager, _ = manager_of(folder)
        mine = object()
        manager.plugins["mine"] = mine
        await manager.load_plugins()
        await manager.remove_plugin("second")
        assert ["mine", "counter"] == list(manager.plugins)
        assert mine is await manager.get_plugin("mine")

    asyncio.run(check())


def test_without_a_log_it_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A manager made with the least works, and says where it is."""
    manager = PluginManager(folder, args=ARGS)
    asyncio.run(manager.load_plugin(folder / "counter.py"))
    assert "Loaded plugin counter\n" == capsys.readouterr().out


def test_two_files_can_be_loaded_at_the_same_time(folder: Path) -> None:
    """One that waits in `initialize` does not keep the other from coming up."""
    write(
        folder, "slow", SECOND + "    async def initialize(self, **kwargs):\n        await kwargs['log'].gate.wait()\n"
    )

    async def check() -> None:
        manager, log = manager_of(folder)
        log.gate = asyncio.Event()  # type: ignore[attr-defined]
        slow = asyncio.create_task(manager.load_plugin(folder / "slow.py"))
        await manager.load_plugin(folder / "counter.py")
        assert ["counter"] == list(await manager.all_plugins())
        log.gate.set()  # type: ignore[attr-defined]
        await slow
        assert ["counter", "second"] == list(await manager.all_plugins())

    asyncio.run(check())
