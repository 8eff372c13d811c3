"""Fixed cases of the Python interface: ``Config`` as an object, ``LogJam``, ``BasePlugin`` and ``PluginManager``."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.values.sides import Case

#: Scripts about ``Config``. ``C`` makes one of items, ``F`` one of a file.
CONFIG = {
    "nothing given": "result = Config()",
    "an empty file name": "result = Config(file='')",
    "no items": "result = Config(items=None)",
    "empty items": "result = Config(items={})",
    "items": "result = C(a=1, b='x', c=[1, 2], d=None, e=True)",
    "items are not typed": "result = C(a='int:5', b='${a}')",
    "items win over a file": "result = Config(file='server.ini', items={'x': 1})",
    "a file when items are empty": "result = Config(file='server.ini', items={})",
    "a missing file": "result = Config(file='none.ini')",
    "a positional file": "result = Config('server.ini')",
    "an unknown argument": "result = Config(items={'a': 1}, colour='red')",
    "a path object": "from pathlib import Path\nresult = Config(file=Path('server.ini'))",
    "a bytes path": "result = Config(file=b'server.ini')",
    "nested items are kept": "c = C(a={'b': 1}); result = [c.a, type(c.a), c['a'] is c.a]",
    "nested configs": "c = C(a=C(b=1)); result = [c.a.b, c['a']['b'], c.a.top_config]",
    "items may begin with anything outside of sections": "result = Config(items={'1x': 1, '_y': 2, '-': 3})",
    "items of a section begin with a letter": "result = Config(items={'1x': 1}, section_name='s')",
    "an empty key in a section": "result = Config(items={'': 1}, section_name='s')",
    "an empty key": "result = Config(items={'': 1})",
    "a key that is no text": "result = Config(items={1: 2})",
    "a refused key": "result = [attempt(lambda: Config(items={k: 1})) for k in ('if', 'print', 'copy', 'self', 'data')]",
    "keys of the class": "result = [attempt(lambda: Config(items={k: 1})) for k in ('top_config', '_keys', '_keyok')]",
    "top_config of items": "result = C(a=1).top_config",
    "top_config given": "c = C(a=1); result = Config(items={'b': 1}, top_config=c).top_config is c",
    "masterConfig at first": "result = type(configfile.masterConfig) in (dict, Config)",
    "masterConfig of items": "c = C(a=1); result = configfile.masterConfig is c",
    "masterConfig of a file": "c = F(); result = configfile.masterConfig is c",
    "masterConfig is the last": "a = F(); b = C(a=1); result = configfile.masterConfig is b",
    "masterConfig after a section by hand": (
        "c = F(); s = Config(items={'a': 1}, top_config=c, section_name='z'); result = configfile.masterConfig is c"
    ),
    "items overridden": "os.environ['A'] = '2'; result = Config(items={'a': 1}, env_override=True)",
    "items overridden with a prefix": (
        "os.environ.update(P_A='2', A='3'); result = Config(items={'a': 1}, env_override=True, env_prefix='p')"
    ),
    "items of a section overridden": (
        "os.environ.update(P_S_A='2', S_A='3')\n"
        "result = Config(items={'a': 1}, env_override=True, env_prefix='p', section_name='s')"
    ),
    "an override in words": "os.environ['A'] = 'int:2'; result = Config(items={'a': 1}, env_override='yes')",
    "missing": "c = F(); result = [attempt(lambda: c.none), attempt(lambda: c['none']), attempt(lambda: c.s.none)]",
    "missing from a section": "c = F(); result = [attempt(lambda: c.s['none']), c.get('none'), c.s.get('none', 5)]",
    "membership": "c = F(); result = ['s' in c, 'none' in c, 1 in c, 'x' in c.s, None in c, 'data' in c]",
    "length and truth": "c = F(); result = [len(c), len(c.s), bool(c), bool(c.s)]",
    "iteration": "c = F(); result = [list(c), list(c.keys()), list(c.s.values()), list(c.s.items()), list(reversed(list(c)))]",
    "_keys": "c = F(); result = [list(c._keys), list(c.s._keys), len(c._keys), 's' in c._keys]",
    "dict of a section": "result = dict(F().s)",
    "unpacking": "result = {**F().s}",
    "keyword arguments": "result = (lambda **k: k)(**F().s)",
    "setting an item": "c = F(); c['y'] = 1; c.s['x'] = 2; result = [c.y, c['y'], c.s.x, c.s['x'], list(c)]",
    "setting an attribute": "c = F(); c.y = 1; c.s.x = 'new'; result = [c.y, c.s.x]",
    "setting an attribute and the item": "c = F(); c.s.x = 'new'; result = c.s['x']",
    "deleting an item": "c = F(); del c['s']; result = ['s' in c, list(c), attempt(lambda: c['s'])]",
    "deleting an item and the attribute": "c = F(); del c['s']; result = hasattr(c, 's')",
    "deleting what is not there": "c = F(); result = attempt(lambda: c.__delitem__('none'))",
    "hasattr": "c = F(); result = [hasattr(c, 's'), hasattr(c, 'none'), hasattr(c.s, 'x'), getattr(c, 'none', 5)]",
    "pop": "c = F(); result = [c.s.pop('x'), c.s.pop('none', 3), attempt(lambda: c.s.pop('none')), 'x' in c.s]",
    "popitem": "c = F(); result = [c.s.popitem(), list(c.s)]",
    "setdefault": "c = F(); result = [c.s.setdefault('x', 1), c.s.setdefault('y', 2), c.s.y]",
    "update": "c = F(); c.s.update({'x': 9}, y=8); result = [c.s.x, c.s['y']]",
    "clear": "c = F(); c.s.clear(); result = [len(c.s), list(c.s)]",
    "equality": "c = F(); result = [c == F(), c.s == dict(c.s), c.s == {}, c != F(), c == 5]",
    "str": "result = [str(C(a=1, b='x')), repr(C(a=1, b='x')), str(F().s), str(F())]",
    "format": "result = f'{C(a=1)}'",
    "a hash": "result = attempt(lambda: hash(C(a=1)))",
    "json": "import json\nresult = attempt(lambda: json.dumps(F()))",
    "json of the data": "import json\nresult = json.dumps(F().s.data)",
    "not a dict": "c = F(); result = [isinstance(c, dict), isinstance(c, __import__('collections').UserDict)]",
    "a mapping": "import collections.abc as abc\nresult = [isinstance(F(), abc.Mapping), isinstance(F(), abc.MutableMapping)]",
    "a shallow copy": "c = F(); d = c.copy(); result = [d == c, d is c, d.s is c.s, d.s.x, list(d)]",
    "copy.copy": "import copy\nc = F(); d = copy.copy(c); result = [d == c, d is c, d.s is c.s, d.s.x, list(d)]",
    "a deep copy": "import copy\nc = F(); d = copy.deepcopy(c); result = [d == c, d.s is c.s, d.s.x, d.top_config is d]",
    "pickling": "import pickle\nc = F(); d = pickle.loads(pickle.dumps(c)); result = [d == c, d.s.x, d.s['x'], type(d) is Config]",
    "union": "c = C(a=1); result = attempt(lambda: c | {'b': 2})",
    "union in place": "c = C(a=1); c |= {'b': 2}; result = [c['b'], c.b, c.a]",
    "merge": "a = C(x=1, y=2); a.merge(C(y=3, z=4)); result = [a, a.x, a.y, a.z]",
    "merge without overwriting": "a = C(x=1, y=2); a.merge(C(y=3, z=4), overwrite=False); result = [a, a.y, a.z]",
    "merge positionally": "a = C(x=1); a.merge(C(x=2), False); result = a",
    "merge returns nothing": "a = C(x=1); result = a.merge(C(x=2))",
    "merge sections": "a = F(); a.merge(C(s=C(x='new', y=1), z=5)); result = [a, a.s.x, a['s']['y'], a.z]",
    "merge sections without overwriting": "a = F(); a.merge(C(s=C(x='new', y=1)), overwrite=False); result = a",
    "merge a section over a value": "a = C(s=1); a.merge(C(s=C(x=1))); result = a",
    "merge a value over a section": "a = C(s=C(x=1)); a.merge(C(s=1)); result = a",
    "merge takes the section itself": "a = C(x=1); s = C(y=1); a.merge(C(s=s)); result = a.s is s",
    "merge itself": "a = F(); a.merge(a); result = a",
    "merge a dict": "a = C(x=1); result = attempt(lambda: a.merge({'y': 1}))",
    "merge nothing": "a = C(x=1); result = attempt(lambda: a.merge(None))",
    "merge a file": "a = C(s=C(x='old', k=1)); a.merge(F()); result = a",
    "top_config after a merge": "a = C(x=1); b = F(); a.merge(b); result = a.s.top_config is b",
    "data is the dict": "c = F(); result = [type(c.data), list(c.data), c.data['s'] is c.s]",
    "a subclass": "class Mine(Config):\n    extra = 5\nc = Mine(items={'a': 1}); result = [c.a, c['a'], c.extra, type(c) is Mine]",
    "a subclass of a file": "class Mine(Config): pass\nc = Mine(file='server.ini'); result = [type(c) is Mine, type(c.s) is Config, c.s.x]",
    "dir": "result = ['s' in dir(F()), 'merge' in dir(F())]",
    "vars": "c = F(); result = 'data' in vars(c)",
    "names of the module": "result = sorted(n for n in dir(configfile) if n in ('Config', 'masterConfig'))",
}
CONFIG_BEFORE = """\
def C(**items): return Config(items=items)
def F(**more): return Config(file='server.ini', **more)
"""

#: Scripts about ``LogJam``; ``lines`` gives the file's lines with the time cut out.
LOG = {
    "each method": (
        "log = L(level='DEBUG')\nfor m in ('debug', 'info', 'warn', 'error', 'critical', 'exception'): getattr(log, m)(m)\n"
        "log('called'); result = [lines(), output()]"
    ),
    **{
        f"level {level!r}": (
            f"log = L(level={level!r})\n"
            "for m in ('debug', 'info', 'warn', 'error', 'critical', 'exception'): getattr(log, m)(m)\n"
            "result = [lines(), log.threshold]"
        )
        for level in (
            "DEBUG",
            "debug",
            "Info",
            "WARN",
            "WARNING",
            "ERROR",
            "CRITICAL",
            "EXCEPTION",
            "loud",
            "",
            " DEBUG",
            "10",
        )
    },
    "a level that is no text": "result = attempt(lambda: L(level=10))",
    "no level": "result = attempt(lambda: L(level=None))",
    "the default level": "log = LogJam(name='n'); log.debug('a'); log.info('b'); result = [output(), log.threshold]",
    "no name": "result = attempt(lambda: LogJam())",
    "an empty name": "result = attempt(lambda: LogJam(name=''))",
    "a positional name": "result = attempt(lambda: LogJam('n'))",
    "a name that is no text": "log = LogJam(name=5); log('x'); result = output()",
    "an unknown argument": "result = attempt(lambda: LogJam(name='n', colour=1))",
    "several arguments": "log = L(); log('a', 1, None, [2], {'b': 3}, 4.5, True); result = lines()",
    "no arguments": "log = L(); log(); log.info(); result = lines()",
    "an empty text": "log = L(); log(''); result = lines()",
    "blanks": "log = L(); log('  a  ', 'b '); result = lines()",
    "a percent sign": "log = L(); log('100% %s %d', 5); result = lines()",
    "braces": "log = L(); log('{x} {} {0}'); result = lines()",
    "braces in a name": "log = LogJam(name='{x}', file='log'); log('x'); result = lines()",
    "unicode": "log = L(); log('größe ☃ 𝄞'); result = [lines(), output()]",
    "a keyword argument": "log = L(); result = attempt(lambda: log.info('x', extra={}))",
    "a line feed": "log = L(); log('a\\nb'); result = [lines(), output()]",
    "a terminal sequence": "log = L(); log('\\x1b[31mred'); result = lines()",
    "a tab": "log = L(); log('a\\tb'); result = lines()",
    "a lone surrogate": "log = LogJam(name='n'); result = attempt(lambda: log('a\\udc80'))",
    "an exception object": "log = L(); log.error(ValueError('bad')); log.error('got', KeyError('k')); result = lines()",
    "exception within except": "log = L()\ntry: 1 / 0\nexcept ZeroDivisionError as e: log.exception('Oh', e)\nresult = lines()",
    "exception outside of except": "log = L(); log.exception('Oh'); result = lines()",
    "a failing str": (
        "class Odd:\n    def __str__(self): raise RuntimeError\nlog = L(); result = attempt(lambda: log(Odd()))"
    ),
    "returns nothing": "log = L(); result = [log('x'), log.info('x'), log.error('x'), log.debug('x')]",
    "a file is appended to": "open('log', 'w').write('before\\n'); log = L(); log('x'); result = open('log').read()[:7]",
    "two logs of one file": "a = L(); b = LogJam(name='m', file='log'); a('1'); b('2'); a('3'); result = lines()",
    "a path object": "from pathlib import Path\nlog = LogJam(name='n', file=Path('log')); log('x'); result = lines()",
    "a file in no folder": "result = attempt(lambda: LogJam(name='n', file='no/log'))",
    "a folder as file": "result = attempt(lambda: LogJam(name='n', file='.'))",
    "no file": "log = LogJam(name='n', file=None); log('x'); result = output()",
    "an empty file name": "log = LogJam(name='n', file=''); log('x'); result = output()",
    "without stdio": "log = LogJam(name='n', stdio=False); log('x'); result = output()",
    "attributes": "log = L(level='warn'); result = [log.name, log.file, log.stdio, log.tty, log.threshold, sorted(log.levels.items())]",
    "attributes without a file": "log = LogJam(name='n', stdio=False); result = [log.file, log.stdio, log.tty]",
    "a threshold of its own": "log = L(); log.threshold = 10; log.debug('x'); log.threshold = 50; log.error('y'); result = lines()",
    "attributes of its own": "log = L(); log.mine = 5; result = log.mine",
    "a subclass": (
        "class Mine(LogJam):\n    def info(self, *m): super().info('mine', *m)\n"
        "log = Mine(name='n', file='log'); log.info('x'); log('y'); result = lines()"
    ),
    "signature": "result = [one[:2] for one in signature(LogJam)]",
    "common_log": "log = L(); result = hasattr(log, 'common_log')",
    "warning": "log = L(); result = hasattr(log, 'warning')",
    "the time": (
        "import re, time\nlog = L(); before = time.strftime('%Y-%m-%d %H:'); log('x')\n"
        "line = open('log').read(); result = [line.startswith(before), bool(re.fullmatch(r'[\\d-]{10} [\\d:]{8},\\d{3} - n - INFO - x\\n', line))]"
    ),
}
LOG_BEFORE = """\
import re
def L(**more): return LogJam(**{'name': 'n', 'file': 'log', **more})
def lines(): return re.sub(r'(?m)^\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d,\\d{3}', 'T', open('log', newline='').read())
"""

#: Scripts about ``BasePlugin``; ``P`` makes a plugin of the class ``Probe``.
PLUGIN = {
    "what it has": "p = P(); result = [p._auth_type, p._apikey, p._plugin_id, p._get_plugin_id(), p.config, type(p.log)]",
    "no arguments at all": "result = attempt(lambda: Probe())",
    "no prog_args": "result = attempt(lambda: Probe(config=None))",
    "only prog_args": "p = Probe(prog_args=args); result = [p.config, p._plugin_id]",
    "a positional argument": "result = attempt(lambda: Probe(1))",
    "route_path": "result = P(route_path='My/Path')._plugin_id",
    "an empty route_path": "result = attempt(lambda: P(route_path='')._plugin_id)",
    "the class's name in lower case": "class MixedCase(BasePlugin): pass\nresult = MixedCase(prog_args=args)._plugin_id",
    "a class's name with capitals beyond ASCII": "class ÄpfelÖl(BasePlugin): pass\nresult = ÄpfelÖl(prog_args=args)._plugin_id",
    "auth_type plugin": "p = P(auth_type='plugin', apikey='k'); result = [p._auth_type, p._apikey]",
    "auth_type in capitals": "p = P(auth_type='PLUGIN', apikey='k'); result = [p._auth_type, p._apikey]",
    "auth_type plugin without key": "result = attempt(lambda: P(auth_type='plugin'))",
    "auth_type plugin with an empty key": "result = attempt(lambda: P(auth_type='plugin', apikey=''))",
    "auth_type global": "p = P(auth_type='global', config=G()); result = [p._auth_type, p._apikey]",
    "auth_type global and a key of its own": "p = P(auth_type='global', apikey='own', config=G()); result = [p._auth_type, p._apikey]",
    "auth_type global without section": "result = attempt(lambda: P(auth_type='global', config=Config(items={'a': 1})))",
    "auth_type global without key": "result = attempt(lambda: P(auth_type='global', config=Config(items={'auth': Config(items={'x': 1})})))",
    "auth_type empty": "p = P(auth_type='', apikey='k'); result = [p._auth_type, p._apikey]",
    "auth_type None": "p = P(auth_type=None, apikey='k'); result = [p._auth_type, p._apikey]",
    "a key without auth_type": "p = P(apikey='k'); result = [p._auth_type, p._apikey]",
    "auth_type misspelt": "result = attempt(lambda: P(auth_type='plugins', apikey='k')._auth_type)",
    "args": "p = P(a='1', b=2); result = [sorted(p.args), p.args['a'], p.args['b'], p.args['log'] is p.log]",
    "args is a copy": "given = {'prog_args': args, 'x': 1}; p = Probe(**given); p.args['x'] = 2; result = given['x']",
    "log": "p = P(); p.log.error('x'); result = [output(), p.log.name, p.log.threshold]",
    "log of a routed plugin": "result = P(route_path='a/b').log.name",
    "log level": "args.level = 'debug'; p = P(); result = p.log.threshold",
    "log file": "args.log = 'log'; p = P(); p.log.error('x'); result = [open('log').read()[23:], p.log.file]",
    "_check_auth of an open plugin": "result = [P()._check_auth({}), P()._check_auth({'apikey': 'x'})]",
    **{
        f"_check_auth {data}": f"result = K()._check_auth({data})"
        for data in (
            "{}",
            "{'apikey': 'k'}",
            "{'apikey': 'x'}",
            "{'apikey': ''}",
            "{'apikey': None}",
            "{'request_headers': {}}",
            "{'request_headers': {'Authorization': 'Bearer k'}}",
            "{'request_headers': {'Authorization': 'Bearer  k  '}}",
            "{'request_headers': {'Authorization': 'Bearer x'}, 'apikey': 'k'}",
            "{'request_headers': {'Authorization': 'Bearer '}, 'apikey': 'k'}",
            "{'request_headers': {'Authorization': 'Basic k'}, 'apikey': 'k'}",
            "{'request_headers': {'Authorization': 'k'}}",
            "{'request_headers': {'Authorization': ''}, 'apikey': 'k'}",
            "{'request_headers': {'X-Custom-Auth': 'k'}}",
            "{'request_headers': {'X-Custom-Auth': ' k '}}",
            "{'request_headers': {'X-Custom-Auth': 'x'}, 'apikey': 'k'}",
            "{'request_headers': {'X-Custom-Auth': ''}, 'apikey': 'k'}",
            "{'request_headers': {'Authorization': 'Bearer k', 'X-Custom-Auth': 'x'}}",
            "{'request_headers': {'Authorization': 'Bearer x', 'X-Custom-Auth': 'k'}}",
            "{'apikey': 'K'}",
            "{'apikey': 'k '}",
            "{'apikey': 5}",
            "{'apikey': ['k']}",
        )
    },
    "_check_auth lower-case bearer": "result = K()._check_auth({'request_headers': {'Authorization': 'bearer k'}})",
    "a key set later": "p = P(); p._auth_type = 'plugin'; p._apikey = 'z'; result = [p._check_auth({}), p._check_auth({'apikey': 'z'})]",
    "an id set later": "p = P(); p._plugin_id = 'other'; result = [p._get_plugin_id(), p.log.name]",
    "terminate_plugin": "result = P().terminate_plugin()",
    "a subclass with its own constructor": (
        "class Own(BasePlugin):\n    def __init__(self, **kwargs):\n        self.before = 1\n        super().__init__(**kwargs)\n"
        "        self.after = self._plugin_id\np = Own(prog_args=args); result = [p.before, p.after]"
    ),
    "a subclass of a subclass": "class Deep(Probe): pass\nresult = Deep(prog_args=args)._plugin_id",
    "attributes may be anything": "p = P(); p.anything = 5; p.config = 6; p.log = 7; p.args = 8; result = [p.anything, p.config, p.log, p.args]",
    "_get_client_ip": "result = [P()._get_client_ip(R()), P()._get_client_ip(R({'X-Forwarded-For': '9.8.7.6'}))]",
    "_get_client_ip of a chain": "result = P()._get_client_ip(R({'X-Forwarded-For': '9.8.7.6, 1.2.3.4'}))",
    "_get_client_ip without a peer": "result = P()._get_client_ip(R(peer=None))",
    "signatures": "result = [signature(getattr(BasePlugin, n))[1:] for n in ('terminate_plugin', '_check_auth', '_get_plugin_id', '_get_client_ip')]",
    "mixins": "class Mix:\n    def extra(self): return 5\nclass M(Mix, BasePlugin): pass\nresult = M(prog_args=args).extra()",
    "an abstract base": (
        "import abc\nclass A(BasePlugin, abc.ABC):\n    @abc.abstractmethod\n    def x(self): ...\nresult = attempt(lambda: A(prog_args=args))"
    ),
    "initialize": "result = hasattr(BasePlugin, 'initialize')",
    "request_handler": "result = hasattr(BasePlugin, 'request_handler')",
}
PLUGIN_BEFORE = """\
class Probe(BasePlugin): pass
def P(**more): return Probe(**{'prog_args': args, 'config': None, **more})
def K(): return P(auth_type='plugin', apikey='k')
def G(): return Config(items={'auth': Config(items={'apikey': 'whole'})})
class R:
    def __init__(self, headers={}, peer=('5.6.7.8', 1)): self.headers, self.transport, self.peer = headers, self, peer
    def get_extra_info(self, name): return self.peer
"""

#: Scripts about ``PluginManager``; ``M`` makes one of the folder ``plugins``.
MANAGER = {
    "load_plugins": "m = M(); r = await m.load_plugins(); result = [r, sorted(m.plugins), sorted(m.modules)]",
    "load_plugin": "m = M(); r = await m.load_plugin('plugins/one.py'); result = [r, list(m.plugins), list(m.modules)]",
    "load a file that is not there": "m = M(); result = [await tried(m.load_plugin('plugins/none.py')), list(m.plugins)]",
    "load a file that does not compile": "m = M(); result = [await tried(m.load_plugin('broken.py')), list(m.plugins)]",
    "load a file that raises": "m = M(); result = [await tried(m.load_plugin('raising.py')), list(m.plugins)]",
    "load a file without plugins": "m = M(); result = [await m.load_plugin('none.py'), list(m.plugins), list(m.modules)]",
    "load a constructor that raises": "m = M(); result = [await m.load_plugin('init.py'), list(m.plugins)]",
    "load an initialize that raises": "m = M(); result = [await m.load_plugin('initialize.py'), list(m.plugins)]",
    "load two plugins of a file": "m = M(); await m.load_plugin('two.py'); result = sorted(m.plugins)",
    "load twice": "m = M(); await m.load_plugins(); a = m.plugins['one']; await m.load_plugins(); result = [sorted(m.plugins), m.plugins['one'] is a]",
    "an empty folder": "os.mkdir('empty'); m = M('empty'); result = [await tried(m.load_plugins()), m.plugins]",
    "a folder that is not there": "m = M('nothing'); result = [await tried(m.load_plugins()), m.plugins]",
    "get_plugin": "m = M(); await m.load_plugins(); result = [(await m.get_plugin('one')) is m.plugins['one'], await m.get_plugin('none')]",
    "all_plugins": "m = M(); await m.load_plugins(); a = await m.all_plugins(); result = [sorted(a), a['one'] is m.plugins['one'], type(a)]",
    "all_plugins is the dict itself": "m = M(); result = (await m.all_plugins()) is m.plugins",
    "remove_plugin": "m = M(); await m.load_plugins(); p = m.plugins['one']; r = await m.remove_plugin('one'); result = [r, sorted(m.plugins), p.events]",
    "remove_plugin and its module": "m = M(); await m.load_plugins(); await m.remove_plugin('one'); result = sorted(m.modules)",
    "remove an unknown plugin": "m = M(); result = await m.remove_plugin('none')",
    "remove a plugin that raises": "m = M(); await m.load_plugin('ending.py'); result = [await m.remove_plugin('ending'), list(m.plugins)]",
    "reload_plugin": (
        "m = M(); await m.load_plugins(); old = m.plugins['one']\n"
        "text = open('plugins/one.py').read(); open('plugins/one.py', 'w').write(text.replace('VERSION = 1', 'VERSION = 222'))\n"
        "r = await m.reload_plugin('one'); new = m.plugins['one']\n"
        "result = [r, new is old, old.version(), new.version(), 'terminate' in old.events, sorted(m.plugins)]"
    ),
    "reload an unknown plugin": "m = M(); result = await m.reload_plugin('none')",
    "reset_config": (
        "m = M(); a, b = m.config, Config(items={'b': 1}); r = m.reset_config(b); await m.load_plugin('plugins/one.py')\n"
        "result = [r, m.config is b, m.plugins['one'].config is b, a is b]"
    ),
    "no args": "result = attempt(lambda: PluginManager('plugins', config=None, log=None))",
    "only args": "m = PluginManager('plugins', args=args); result = [m.config, m.log, m.task_callback, m.prog_args is args, m.plugins, m.modules]",
    "an unknown argument": "m = attempt(lambda: PluginManager('plugins', args=args, colour=1)); result = isinstance(m, PluginManager)",
    "attributes": "m = M(); result = [os.fspath(m.plugin_dir), type(m.plugins), type(m.modules), m.prog_args is args, type(m.log)]",
    "plugin_dir is text": "result = type(M().plugin_dir)",
    "without config": "m = PluginManager('plugins', args=args, log=Log()); await m.load_plugin('plugins/one.py'); result = list(m.plugins)",
    "what a plugin gets": "m = M(); await m.load_plugin('plugins/one.py'); k = m.plugins['one'].kwargs; result = sorted(k)",
    "what a plugin gets is the manager's": (
        "m = M(); await m.load_plugin('plugins/one.py'); k = m.plugins['one'].kwargs\n"
        "result = [k['config'] is m.config, k['log'] is m.log, k['prog_args'] is args, k['args'] is args, k['task_callback'] is m.task_callback]"
    ),
    "events": "m = M(); await m.load_plugin('plugins/one.py'); result = m.plugins['one'].events",
    "the name of a module": "m = M(); await m.load_plugin('plugins/one.py'); result = [m.modules['one'].__name__, type(m.plugins['one']).__module__]",
    "an imported base class": "m = M(); await m.load_plugin('borrowing.py'); result = sorted(m.plugins)",
    "a route": "m = M(params={'one': 'route_path=a/b'}); await m.load_plugin('plugins/one.py'); result = list(m.plugins)",
    "what is told of a plugin that was loaded": "m = M(); await m.load_plugin('plugins/one.py'); result = [level for level, text in m.log.told]",
    "what is told of one that was not": "m = M(); await m.load_plugin('init.py'); result = [level for level, text in m.log.told]",
    "a json file": "m = M(params={'one': 'json=one.json'}); await m.load_plugin('plugins/one.py'); k = m.plugins['one'].kwargs; result = [k['a'], k['json']]",
    "a json file that replaces": "m = M(params={'one': 'json=over.json&x=1'}); await m.load_plugin('plugins/one.py'); k = m.plugins['one'].kwargs; result = [k['config'], k['x']]",
    "a json file that is not there": "m = M(params={'one': 'json=none.json'}); await m.load_plugin('plugins/one.py'); result = sorted(m.plugins['one'].kwargs)",
    "a json file of a list": "m = M(params={'one': 'json=list.json'}); result = [await tried(m.load_plugin('plugins/one.py')), list(m.plugins)]",
    "a json file that is none": "m = M(params={'one': 'json=one.py'}); result = [await tried(m.load_plugin('plugins/one.py')), list(m.plugins)]",
}
MANAGER_BEFORE = """\
class Log:
    def __init__(self): self.told = []
    def __call__(self, *a): self.info(*a)
    def info(self, *a): self.told.append(('info', ' '.join(map(str, a))))
    def exception(self, *a): self.told.append(('exception', ' '.join(map(str, a))))
    warning = error = debug = exception
def M(folder='plugins', params=None):
    items = {'paths': Config(items={'plugins': folder})}
    if params: items['plugin_parms'] = Config(items=params)
    return PluginManager(folder, config=Config(items=items), log=Log(), task_callback=print, args=args)
async def tried(awaitable):
    try: return await awaitable
    except Exception as error: return error
"""
ONE = """\
from plugincore.baseplugin import BasePlugin

class One(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.kwargs = kwargs
        self.events = ['init']
    async def initialize(self, **kwargs): self.events.append('initialize' if set(kwargs) == set(self.kwargs) else 'odd')
    def terminate_plugin(self): self.events.append('terminate')
    def version(self): return VERSION

VERSION = 1
"""
IMPORT = "from plugincore.baseplugin import BasePlugin\n"
MANAGED = {
    "plugins/one.py": ONE,
    "plugins/second.py": IMPORT + "class Second(BasePlugin): pass\n",
    "plugins/one.json": '{"a": [1]}',
    "plugins/list.json": "[1, 2]",
    "plugins/over.json": '{"config": 5, "x": 2}',
    "broken.py": "def",
    "raising.py": "raise KeyError('x')",
    "none.py": "x = 1",
    "two.py": IMPORT + "class A(BasePlugin): pass\nclass B(BasePlugin): pass\n",
    "borrowing.py": IMPORT + "from collections import UserDict\nclass Mine(BasePlugin): pass\n",
    "init.py": IMPORT + "class Init(BasePlugin):\n    def __init__(self, **k): raise KeyError('x')\n",
    "initialize.py": IMPORT
    + "class Initialize(BasePlugin):\n    async def initialize(self, **k): raise KeyError('x')\n",
    "ending.py": IMPORT + "class Ending(BasePlugin):\n    def terminate_plugin(self): raise KeyError('x')\n",
}
INI = "[s]\nx = 1\nn = int:2\n[other]\ny = list:a b\n"


def cases() -> Iterator[Case]:
    """All fixed cases of the Python interface."""
    for topic, before, files, scripts in (
        ("config", CONFIG_BEFORE, {"server.ini": INI}, CONFIG),
        ("log", LOG_BEFORE, {}, LOG),
        ("plugin", PLUGIN_BEFORE, {}, PLUGIN),
        ("manager", MANAGER_BEFORE, MANAGED, MANAGER),
    ):
        for name, script in scripts.items():
            yield Case(topic, before + script, files, name=f"{topic}: {name}")
