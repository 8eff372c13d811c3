"""Fixed parameter strings, and the script that hands them to a plugin."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.values.sides import Case

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


FIXED = [
    *(
        "",
        "a",
        "a=",
        "a=1",
        "a=1&b=2",
        "a=1&a=2",
        "a=&a=2",
        "a=1&a=",
        "=1",
        "=",
        "&",
        "&&",
        "a=1&&b=2",
        "&a=1&",
        "a&b=1",
    ),
    *("a=b=c", "a==", "a=%3D", "a%3Db=c", "a%26b=c", "a=x+y", "a+b=1", "a=%20", "a=+", "a=%2B", "a=%zz", "a=%", "a=%4"),
    *("a=%00", "a=%C3%A9", "a=%c3%a9", "a=%E9", "a=%F0%9F%98%80", "a=%ED%A0%80", "a=%FF%FE", "a=é", "é=1", "%C3%A9=1"),
    *(
        "a=1;b=2",
        "a;b=1",
        ";",
        "a=1#x",
        "a=1?b=2",
        "?a=1",
        "a= 1 ",
        " a = 1 ",
        "a=\t1",
        "a=1\nb=2",
        "a=1&\nb=2",
        "a=1\n&b=2",
    ),
    *("A=1&a=2", "a[]=1&a[]=2", "a.b=1", "a-b=1", "a=int:5", "a=bool:true", "a=list:1 2", "a=${x}", "a=$5", "a=%25s"),
    *(
        "auth_type=plugin&apikey=k",
        "auth_type=&apikey=k",
        "route_path=a/b",
        "route_path=%2Fa",
        "json=",
        "json=none.json",
    ),
    *(
        "log=x",
        "args=x",
        "task_callback=x",
        "config=x",
        "prog_args=x",
        "self=1",
        "class=1",
        "json=a&json=b",
        "x=json:y",
    ),
    *("json:seen.json", "a=1&json:seen.json", "json:", "json:none.json", "json=seen.json", "json=seen%2Ejson&b=2"),
    *("a=" + "x" * 10000, "&".join(f"k{n}={n}" for n in range(500)), "a=\u2028", "a=\x1f", "a=\u00a0b"),
]


def case_of(texts: list[str], name: str = "") -> Case:
    """Return the case of these parameter strings."""
    files = {"seen.py": PLUGIN, "seen.json": '{"from": "json", "a": [1]}'}
    return Case("parameters", SCRIPT, files, given=texts, name=name)


def cases() -> Iterator[Case]:
    """All fixed cases of parameter strings."""
    for text in FIXED:
        yield case_of([text], repr(text[:30]))
