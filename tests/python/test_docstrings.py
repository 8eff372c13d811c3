"""What the docstrings of the package show is what it does."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import plugincore

#: Every module but the compiled one, whose classes are looked at where they are exported, and the command line's entry.
MODULES = ["plugincore"] + [
    f"plugincore.{module.name}"
    for module in pkgutil.iter_modules(plugincore.__path__)
    if module.name not in ("_core", "__main__")
]
#: Classes that a plugin author makes or derives from: their docstrings begin with how.
WITH_EXAMPLE = {
    "plugincore.baseplugin": {"BasePlugin"},
    "plugincore.configfile": {"Config", "refusal"},
    "plugincore.logjam": {"LogJam"},
    "plugincore.pluginmanager": {"PluginManager"},
    "plugincore._answers": {"Headers"},
    "plugincore.responses": {"FileResponse", "Redirect", "Response"},
    "plugincore._streams": {"Event", "EventSource", "StreamingResponse"},
    "plugincore.testing": {"PluginClient", "Response", "SyncPluginClient"},
}


def exported(module: Any) -> dict[str, Any]:
    """Return what a module exports, by name."""
    return {name: getattr(module, name) for name in getattr(module, "__all__", [])}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name: str) -> None:
    """Module, classes and functions have a docstring, and so has each public method that they define."""
    module = importlib.import_module(name)
    assert module.__doc__
    bare = []
    for known, thing in exported(module).items():
        if not (inspect.isclass(thing) or callable(thing)):
            continue
        own = vars(thing).items() if inspect.isclass(thing) and thing.__module__.startswith("plugincore") else ()
        # Fields of data classes and named tuples are no functions; what they are stands beside them in the source.
        methods = [
            (f"{known}.{member}", value) for member, value in own if callable(value) or isinstance(value, property)
        ]
        for what, value in [(known, thing), *methods]:
            if not what.rpartition(".")[2].startswith("_") and not inspect.getdoc(value):
                bare.append(what)
    assert [] == bare


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str) -> None:
    """Each example gives what it says, those of the compiled classes included."""
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = finder.find(module, name)
    for known, thing in exported(module).items():
        # The finder leaves out what was made elsewhere, which for most of the package is the compiled half.
        if (inspect.isclass(thing) and thing.__module__ != name) or inspect.isbuiltin(thing):
            tests += finder.find(thing, known, module=False, globs={**vars(module), known: thing})
    examples = {test.name.rpartition(".")[2] for test in tests if test.examples}
    assert set() == WITH_EXAMPLE.get(name, set()) - examples
    runner = doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert 0 == runner.failures, "".join(report)


def test_the_examples_are_found() -> None:
    """The test above sees the examples of a compiled class, and sees that a wrong one fails."""
    (test,) = doctest.DocTestFinder().find(plugincore.RequestHeaders, "RequestHeaders", module=False, globs={})[:1]
    assert 3 == len(test.examples)
    test.examples[2].want = "something else\n"
    assert 1 == doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed
