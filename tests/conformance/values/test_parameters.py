"""``[plugin_parms]``: what a plugin gets of a parameter string."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.ledger import LEDGER
from conformance.values.parameter_cases import FIXED
from conformance.values.sides import Case, Sides

#: One file and one manager a string; ``given`` has the strings.
SCRIPT = """
class Log:
    def __call__(self, *a): pass
    info = warning = exception = error = debug = __call__
result = []
for text in given:
    parameters = Config(items={'paths': Config(items={'plugins': '.'}), 'plugin_parms': Config(items={'seen': text})})
    manager = PluginManager('.', config=parameters, log=Log(), task_callback=print, args=args)
    await manager.load_plugin('seen.py')
    plugins = list(manager.plugins.values())
    hosts = ('config', 'prog_args', 'log', 'task_callback', 'args')
    result.append({'got': {k: v for k, v in plugins[0].kwargs.items() if k not in hosts or type(v) is str}
                          if plugins else 'not loaded'})
"""
PLUGIN = """
from plugincore.baseplugin import BasePlugin
class Seen(BasePlugin):
    def __init__(self, **kwargs):
        self.kwargs = kwargs
        super().__init__(prog_args=kwargs['prog_args'])
"""


def case_of(texts: list[str], name: str = "") -> Case:
    """Return the case of these parameter strings."""
    files = {"seen.py": PLUGIN, "seen.json": '{"from": "json", "a": [1]}'}
    return Case("parameters", SCRIPT, files, given=texts, name=name)


@pytest.mark.parametrize("text", FIXED, ids=lambda text: repr(text[:30]))
def test_fixed_strings(sides: Sides, text: str) -> None:
    """A parameter string becomes the same keyword arguments on both sides."""
    LEDGER.judge("fixed", case_of([text], "x"), *sides.compare(case_of([text])))


STRINGS = st.lists(
    st.one_of(
        st.sampled_from(
            ["a", "b", "json", "=", "=", "&", "&", ";", "+", "%", "%20", "%C3%A9", "%E9", "%26", "%3D", "1", ":"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
        st.integers(0, 255).map(lambda byte: f"%{byte:02x}"),
    ),
    max_size=8,
).map("".join)


@given(texts=st.lists(STRINGS.filter(lambda text: "json:" not in text), min_size=1, max_size=8))
def test_generated_strings(sides: Sides, texts: list[str]) -> None:
    """Any parameter string becomes what ``parse_qs`` makes of it, first values first, on both sides."""
    case = case_of(texts)
    original, ours = sides.compare(case)
    LEDGER.judge("generated", case, original, ours)
    for number, text in enumerate(texts):
        for name, values in parse_qs(text).items():
            if name not in {"prog_args", "config"}:
                assert values[0] == ours[f"{number}.'got'.{name!r}"]
