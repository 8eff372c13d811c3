"""Who is let in, parameters of plugins, and what plugins find of the host."""

from __future__ import annotations

import itertools
import json
from urllib.parse import quote

from conformance.case import Case, get, post, post_json

WORLD = "keys"
RIGHT = "the global key"
OWN = "own key&"

#: Requests of `/globalkey` and of `/plugins`, by the way in which they show a key.
WAYS = {
    "no key": get("{}"),
    "Bearer": get("{}", f"Authorization: Bearer {RIGHT}"),
    "Bearer in lower case header": get("{}", f"authorization: Bearer {RIGHT}"),
    "a wrong Bearer": get("{}", "Authorization: Bearer wrong"),
    "an empty Bearer": get("{}", "Authorization: Bearer "),
    "Bearer without a space": get("{}", "Authorization: Bearer"),
    "Bearer with more space": get("{}", f"Authorization: Bearer   {RIGHT}  "),
    "scheme bearer": get("{}", f"Authorization: bearer {RIGHT}"),
    "scheme BEARER": get("{}", f"Authorization: BEARER {RIGHT}"),
    "another scheme": get("{}", f"Authorization: Token {RIGHT}"),
    "Basic": get("{}", "Authorization: Basic dGhlIGdsb2JhbCBrZXk6"),
    "the key without a scheme": get("{}", f"Authorization: {RIGHT}"),
    "X-Custom-Auth": get("{}", f"X-Custom-Auth: {RIGHT}"),
    "x-custom-auth": get("{}", f"x-custom-auth: {RIGHT}"),
    "X-CUSTOM-AUTH": get("{}", f"X-CUSTOM-AUTH: {RIGHT}"),
    "a wrong X-Custom-Auth": get("{}", "X-Custom-Auth: wrong"),
    "an empty X-Custom-Auth": get("{}", "X-Custom-Auth:"),
    "the query": get("{}?apikey=" + quote(RIGHT)),
    "the query with plus": get("{}?apikey=" + RIGHT.replace(" ", "+")),
    "a wrong query": get("{}?apikey=wrong"),
    "an empty query": get("{}?apikey="),
    "a query in capitals": get("{}?APIKEY=" + quote(RIGHT)),
    "a right and a wrong query": get("{}?apikey=" + quote(RIGHT) + "&apikey=wrong"),
    "a wrong and a right query": get("{}?apikey=wrong&apikey=" + quote(RIGHT)),
    "JSON": post_json("{}", {"apikey": RIGHT}),
    "JSON without a type": post("{}", json.dumps({"apikey": RIGHT})),
    "wrong JSON": post_json("{}", {"apikey": "wrong"}),
    "null in JSON": post_json("{}", {"apikey": None}),
    "a number in JSON": post_json("{}", {"apikey": 5}),
    "a list in JSON": post_json("{}", {"apikey": [RIGHT]}),
    "a right key last in JSON": post("{}", json.dumps({"apikey": "wrong"})[:-1] + f', "apikey": "{RIGHT}"}}'),
    "JSON in the body of a GET": post("{}", json.dumps({"apikey": RIGHT}), method="GET"),
    "a form": post("{}", "apikey=" + quote(RIGHT), "Content-Type: application/x-www-form-urlencoded"),
    "a wrong form": post("{}", "apikey=wrong", "Content-Type: application/x-www-form-urlencoded"),
    "headers in the body": post_json("{}", {"request_headers": {"X-Custom-Auth": RIGHT}}),
    "headers in the body as Bearer": post_json("{}", {"request_headers": {"Authorization": f"Bearer {RIGHT}"}}),
    "a cookie": get("{}", f"Cookie: apikey={RIGHT}"),
    "another plugin's key": get("{}", f"X-Custom-Auth: {OWN}"),
    "the key in another case": get("{}", f"X-Custom-Auth: {RIGHT.upper()}"),
    "a part of the key": get("{}", f"X-Custom-Auth: {RIGHT[:-1]}"),
    "more than the key": get("{}", f"X-Custom-Auth: {RIGHT}s"),
    "space around the key in the query": get("{}?apikey=%20" + quote(RIGHT) + "%20"),
    "a key outside ASCII": get("{}", "X-Custom-Auth: \xe4"),
    "two headers, the right one first": get("{}", f"X-Custom-Auth: {RIGHT}", "X-Custom-Auth: wrong"),
    "two headers, the right one last": get("{}", "X-Custom-Auth: wrong", f"X-Custom-Auth: {RIGHT}"),
}


def at(path: str, request: bytes) -> bytes:
    """Address a request to `path`."""
    return request.replace(b"{}", path.encode(), 1)


def combined(bearer: str | None, custom: str | None, query: str | None, body: str | None) -> bytes:
    """Show several keys at once."""
    headers = [f"Authorization: Bearer {bearer}"] if bearer is not None else []
    headers += [f"X-Custom-Auth: {custom}"] if custom is not None else []
    target = "/globalkey" if query is None else "/globalkey?apikey=" + quote(query)
    return get(target, *headers) if body is None else post_json(target, {"apikey": body}, *headers)


#: Two of the four ways, one right and one wrong or empty, in both roles.
COMBINED = {
    f"{first} {value!r}, {second} {other!r}": {first: value, second: other}
    for first, second in itertools.permutations(("bearer", "custom", "query", "body"), 2)
    for value, other in ((RIGHT, "wrong"), (RIGHT, ""))
}

#: Values that plugins look up, as sources of expressions.
SURFACE = [
    "plugin.config.custom.number",
    "plugin.config['custom']['flag']",
    "plugin.config.custom.ratio",
    "plugin.config.custom.names",
    "plugin.config.custom.path",
    "plugin.config.custom.get('words')",
    "plugin.config.custom.get('absent', 'none')",
    "'custom' in plugin.config",
    "'SSL' in plugin.config",
    "'number' in plugin.config.custom",
    "list(plugin.config.custom)",
    "list(plugin.config.custom._keys)",
    "len(plugin.config.custom)",
    "plugin.config.logging['level']",
    "plugin.config.auth.apikey",
    "type(plugin.config).__name__",
    "isinstance(plugin.config, dict)",
    "plugin.config.custom.top_config is not None",
    "list(plugin.config)",
    "plugin._plugin_id",
    "plugin._get_plugin_id()",
    "plugin._auth_type",
    "plugin._apikey",
    "plugin._check_auth({})",
    "plugin._get_client_ip(data['request'])",
    "plugin.helper()",
    "hasattr(plugin, 'log')",
    "plugin.log('info')",
    "plugin.log.debug('a', 1)",
    "plugin.log.error('a')",
    "plugin.log.exception('a')",
    "plugin.log.name",
    "data['log'].name",
    "type(plugin.log).__name__",
    "plugin.log.critical('a')",
    "plugin.log.warn('a')",
    "plugin.terminate_plugin()",
    "sorted(plugin.args)",
    "plugin.args['prog_args'].ini_file",
    "plugin.args['prog_args'].log",
    "plugin.args['prog_args'].level",
    "plugin.args['prog_args'].__class__.__name__",
    "threading.current_thread() is threading.main_thread()",
    "type(plugin).__module__",
    "type(plugin).__mro__[1].__name__",
    "type(plugin).__mro__[1].__module__",
    "plugincore.baseplugin.BasePlugin.__name__",
    "plugincore.configfile.Config.__name__",
    "plugincore.logjam.LogJam.__name__",
    "plugincore.pluginmanager.PluginManager.__name__",
    "asyncio.current_task() is not None",
    "sys.argv[0].rpartition('/')[2]",
    "__import__('sys').modules.get('surface') is None",
    "__import__('os').getcwd() == __import__('os').path.dirname(__import__('os').path.abspath('server.ini'))",
]

CASES = [
    *(
        Case(f"plugin with the server's key: {way}", (at("/globalkey", request),), WORLD)
        for way, request in WAYS.items()
    ),
    *(Case(f"the list of plugins: {way}", (at("/plugins", request),), WORLD) for way, request in WAYS.items()),
    *(
        Case(
            f"both ways: {way}", (combined(**{**dict.fromkeys(("bearer", "custom", "query", "body")), **keys}),), WORLD
        )
        for way, keys in COMBINED.items()
    ),
    *(Case(f"surface: {source}", (get("/surface?source=" + quote(source)),), WORLD) for source in SURFACE),
    *(
        Case(f"{name}: no key", (get(f"/{name}"),), WORLD)
        for name in ("ownkey", "capitals", "openly", "misspelt", "aliased", "typedkey", "nokey", "shouting", "wholekey")
    ),
    *(
        Case(f"{name}: the server's key", (get(f"/{name}", f"X-Custom-Auth: {RIGHT}"),), WORLD)
        for name in ("ownkey", "capitals", "openly", "misspelt", "aliased", "typedkey", "shouting", "wholekey")
    ),
    Case(
        "a wrong key in a header of another case and a right one in the body",
        (post_json("/globalkey", {"apikey": RIGHT}, "x-custom-auth: wrong"),),
        WORLD,
    ),
    Case("ownkey: its own key", (get("/ownkey", f"X-Custom-Auth: {OWN}"),), WORLD),
    Case("ownkey: its own key in the query", (get("/ownkey?apikey=" + quote(OWN)),), WORLD),
    Case("typedkey: the number", (get("/typedkey?apikey=5"),), WORLD),
    Case("typedkey: the text", (get("/typedkey?apikey=int:5"),), WORLD),
    Case("openly: a wrong key", (get("/openly?apikey=wrong"),), WORLD),
    Case("HEAD of a reload", (get("/reload/nobody", method="HEAD"),)),
    Case("HEAD of a reload without a key", (get("/reload/nobody", method="HEAD"),), WORLD),
    Case("HEAD without a key", (get("/globalkey", method="HEAD"),), WORLD),
    Case("POST without a key and a long body", (post("/globalkey", "x" * 100_000),), WORLD),
    Case("a wrong method without a key", (get("/globalkey", method="PUT"),), WORLD),
    Case("below a plugin without a key", (get("/globalkey/x"),), WORLD),
    Case("parameters of a plugin", (get("/parms"),), WORLD),
    Case("the first of several plugins in a file", (get("/first"),), WORLD),
    Case("the second of several plugins in a file", (get("/second"),), WORLD),
    Case("an id set after the base class' initialisation", (get("/3rd"),), WORLD),
    Case("a class whose id was changed", (get("/third"),), WORLD),
    Case("a file with a hyphen", (get("/under"),), WORLD),
    Case("a hidden file", (get("/hidden"),), WORLD),
    Case("a plugin that fails in __init__", (get("/failing"),), WORLD),
    Case("a plugin that fails in initialize", (get("/failinginit"),), WORLD),
    Case("a plain initialize", (get("/plaininit"),), WORLD),
]
