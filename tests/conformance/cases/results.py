"""What becomes of a handler's result, or of its failure."""

from __future__ import annotations

from conformance.case import Case, get, run, run_by_get

#: Handlers' sources, by what they show.
SOURCES = {
    # JSON
    "an empty dict": "return 200, {}",
    "a dict of everything": "return 200, {'a': 1, 'b': [True, None, 1.5], 'c': {'d': 'ä€😀'}}",
    "separators and escapes": r"return 200, {'a': '\"\\\\/\\b\\f\\n\\r\\t\\x00\\x1f\\x7f'}",
    "an integer beyond 64 bits": "return 200, {'n': 2 ** 200, 'm': -2 ** 63}",
    "floats": "return 200, {'f': [0.1, 1e100, 1e-7, -0.0, 1e16, 123456789012345680.0, 5e-324]}",
    "NaN and Infinity": "return 200, {'n': float('nan'), 'i': float('inf'), 'm': float('-inf')}",
    "keys of other types": "return 200, {1: 'a', 1.5: 'b', None: 'c', False: 'd'}",
    "keys that become equal": "return 200, {'1': 'text', 1: 'number'}",
    "the order of keys": "return 200, {'z': 1, 'a': 2, 'm': 3}",
    "a namedtuple inside": "return 200, {'p': Point(1, 2)}",
    "a tuple inside": "return 200, {'p': (1, 2)}",
    "an IntEnum inside": "return 200, {'c': Colour.RED}",
    "a subclass of str inside": "return 200, {'w': Word('x')}",
    "an OrderedDict": "return 200, OrderedDict(b=1, a=2)",
    "a list": "return 200, [1, 'two', None]",
    "an empty list": "return 200, []",
    "a list of dicts": "return 200, [{'a': 1}, {'a': 2}]",
    "a deep dict": "v = {}\nfor _ in range(300): v = {'a': v}\nreturn 200, v",
    "a long answer": "return 200, {'a': 'x' * 300_000}",
    "a lone surrogate": r"return 200, {'s': '\ud800'}",
    # text and bytes
    "text": "return 200, 'plain <b>text</b> ä'",
    "empty text": "return 200, ''",
    "text that holds JSON": "return 200, json.dumps({'a': 1})",
    "a subclass of str": "return 200, Word('x')",
    "a lone surrogate in text": r"return 200, 'a\ud800'",
    "bytes": r"return 200, b'\x00\xffabc'",
    # other values
    "None": "return 200, None",
    "an int": "return 200, 42",
    "a float": "return 200, 1.5",
    "true": "return 200, True",
    "a tuple in the place of the body": "return 200, (1, 2, 'x')",
    "a namedtuple in the place of the body": "return 200, Point(1, 2)",
    "a set": "return 200, {'x'}",
    "an object": "return 200, plugin",
    "a UserDict": "return 200, UserDict(a=1)",
    "an IntEnum": "return 200, Colour.RED",
    # codes
    "code 201 with a dict": "return 201, {'made': 1}",
    "code 404 with a dict": "return 404, {'error': 'no such thing'}",
    "code 404 with text": "return 404, 'nowhere'",
    "code 503 with a list": "return 503, ['busy']",
    "code 204": "return 204, {}",
    "code 304": "return 304, ''",
    "code 418": "return 418, {}",
    "code 500": "return 500, {'error': 'mine'}",
    "code None": "return None, {'a': 1}",
    "code as text": "return '200', {'a': 1}",
    "code 0": "return 0, {'a': 1}",
    "code 99": "return 99, {'a': 1}",
    "code 100": "return 100, {'a': 1}",
    "code 600": "return 600, {'a': 1}",
    "code 1000": "return 1000, {'a': 1}",
    "code true": "return True, {'a': 1}",
    "code as float": "return 200.0, {'a': 1}",
    "code as IntEnum": "import http\nreturn http.HTTPStatus(404), {'a': 1}",
    "code and body as a list": "return [200, {'a': 1}]",
    # bare results
    "a bare dict of one key": "return {'a': 1}",
    "a bare dict of two keys": "return {'a': 1, 'b': 2}",
    "a bare dict of three keys": "return {'a': 1, 'b': 2, 'c': 3}",
    "a bare list": "return [1, 2, 3]",
    "a bare list of two": "return ['a', 'b']",
    "bare text": "return 'some text'",
    "bare text of two letters": "return 'ab'",
    "bare None": "return None",
    "a bare int": "return 5",
    "a bare Response": "return web.Response(text='bare', status=203)",
    "an empty tuple": "return ()",
    "a tuple of one": "return (200,)",
    "a tuple of three": "return 200, {'a': 1}, {'X-Plugin': 'b'}",
    "a tuple of four": "return 200, {'a': 1}, {}, {}",
    # aiohttp's objects
    "json_response": "return 200, web.json_response({'a': [1, 2]})",
    "json_response with a status": "return 200, web.json_response({'a': 1}, status=404)",
    "Response with text": "return 200, web.Response(text='ä')",
    "Response with a body": "return 200, web.Response(body=b'\\x00\\x01', content_type='image/png')",
    "Response with status and type": "return 200, web.Response(text='a,b', status=202, content_type='text/csv')",
    "Response with a charset": "return 200, web.Response(text='ä', content_type='text/plain', charset='latin-1')",
    "Response with headers": "return 200, web.Response(headers={'X-Plugin': 'a', 'Cache-Control': 'no-store'})",
    "Response with repeated headers": (
        "r = web.Response(text='x')\nr.headers.add('X-Plugin', 'a')\nr.headers.add('X-Plugin', 'b')\nreturn 200, r"
    ),
    "Response without a body": "return 200, web.Response()",
    "Response 204": "return 200, web.Response(status=204)",
    "Response 205": "return 200, web.Response(text='x', status=205)",
    "Response 304": "return 200, web.Response(status=304, headers={'ETag': '\"a\"'})",
    "Response with a reason": "return 200, web.Response(status=299, reason='Odd', text='x')",
    "a cookie": "r = web.json_response({})\nr.set_cookie('a', 'b')\nreturn 200, r",
    "a cookie with all attributes": (
        "r = web.json_response({})\n"
        "r.set_cookie('id', 'v', expires='Thu, 01 Jan 2032 00:00:00 GMT', domain='a.example', max_age=60, path='/x',\n"
        "             secure=True, httponly=True, samesite='Lax')\nreturn 200, r"
    ),
    "two cookies": "r = web.json_response({})\nr.set_cookie('b', '1')\nr.set_cookie('a', '2')\nreturn 200, r",
    "a deleted cookie": "r = web.json_response({})\nr.del_cookie('a')\nreturn 200, r",
    "a cookie with odd letters": "r = web.json_response({})\nr.set_cookie('a', 'b c;\"ä')\nreturn 200, r",
    "a returned HTTPNotFound": "return 200, web.HTTPNotFound(text='gone')",
    "a returned HTTPFound": "return 200, web.HTTPFound('/elsewhere')",
    "last_modified and etag": (
        "r = web.Response(text='x')\nr.last_modified = 1000000000\nr.etag = 'abc'\nreturn 200, r"
    ),
    # failures
    "an exception": "raise KeyError('x')",
    "an exception with a line break": "raise ValueError('a\\nb')",
    "an exception outside ASCII": "raise ValueError('ä')",
    "an exception without a text": "raise RuntimeError",
    "an exception of the plugin's own": "class Odd(Exception): pass\nraise Odd('x')",
    "an exception whose text fails": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError('no text')\nraise Odd()"
    ),
    "StopIteration": "raise StopIteration(5)",
    "StopAsyncIteration": "raise StopAsyncIteration(5)",
    "RecursionError": "def f(): return f()\nreturn f()",
    "CancelledError": "raise asyncio.CancelledError()",
    "GeneratorExit": "raise GeneratorExit()",
    "SystemExit": "raise SystemExit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt()",
    "BaseException": "raise BaseException('x')",
    "an ExceptionGroup": "raise ExceptionGroup('several', [ValueError('a'), KeyError('b')])",
    "a raised HTTPNotFound": "raise web.HTTPNotFound(text='gone')",
    "a raised HTTPFound": "raise web.HTTPFound('/elsewhere')",
    "a raised HTTPUnauthorized": "raise web.HTTPUnauthorized(headers={'WWW-Authenticate': 'Basic'})",
    "a raised HTTPMethodNotAllowed": "raise web.HTTPMethodNotAllowed('GET', ['POST'])",
    "a raised HTTPNoContent": "raise web.HTTPNoContent()",
    "a time-out": "await asyncio.wait_for(asyncio.sleep(60), 0.01)",
    # not serialisable
    "a datetime": "return 200, {'d': datetime.datetime(2020, 1, 2)}",
    "a Decimal": "return 200, {'d': Decimal('1.5')}",
    "bytes inside": "return 200, {'d': b'x'}",
    "a set inside": "return 200, {'d': {1}}",
    "a tuple as a key": "return 200, {(1, 2): 'a'}",
    "bytes as a key": "return 200, {b'a': 'a'}",
    "a dict in itself": "v = {}\nv['v'] = v\nreturn 200, v",
    "too deep a dict": "v = {}\nfor _ in range(5000): v = {'a': v}\nreturn 200, v",
    "an object inside": "return 200, {'a': [1, {'b': object}]}",
    # life with the loop
    "awaiting": "await asyncio.sleep(0)\nawait asyncio.sleep(0.01)\nreturn 200, {'ok': 1}",
    "gather": "return 200, {'r': await asyncio.gather(*(asyncio.sleep(0, i) for i in range(3)))}",
    "a TaskGroup": (
        "async with asyncio.TaskGroup() as group:\n    task = group.create_task(asyncio.sleep(0, 'done'))\n"
        "return 200, {'r': task.result()}"
    ),
    "a thread": "return 200, {'r': await asyncio.to_thread(lambda: 5)}",
    "a subprocess": (
        "p = await asyncio.create_subprocess_exec('echo', 'hi', stdout=-1)\nout, _ = await p.communicate()\n"
        "return 200, {'r': out.decode(), 'code': p.returncode}"
    ),
    "a failing task": (
        "async def fail(): raise ValueError('task')\n"
        "plugin.task = asyncio.create_task(fail())\nawait asyncio.sleep(0.01)\nreturn 200, {'ok': 1}"
    ),
    "a task that exits": (
        "async def leave(): raise SystemExit(4)\n"
        "plugin.task = asyncio.create_task(leave())\nawait asyncio.sleep(0.01)\nreturn 200, {'ok': 1}"
    ),
    "an awaitable that is no coroutine": (
        "future = asyncio.get_running_loop().create_future()\nfuture.set_result(7)\nreturn 200, {'r': await future}"
    ),
    "StreamResponse that was not prepared": "return 200, web.StreamResponse()",
}

PLAIN = {
    "plain def, a dict": "return 200, {'a': 1}",
    "plain def, text": "return 200, 'x'",
    "plain def, an exception": "raise KeyError('x')",
}

WHOLE = {
    "handle_request, a dict": "return {'a': 1}",
    "handle_request, a list": "return [1, 'x']",
    "handle_request, text": "return 'text'",
    "handle_request, a Response": "return web.Response(text='x', status=202)",
    "handle_request, a tuple": "return 200, {'a': 1}",
    "handle_request, None": "return None",
    "handle_request, an int": "return 5",
    "handle_request, bytes": "return b'x'",
    "handle_request, an exception": "raise KeyError('x')",
    "handle_request, an HTTPException": "raise web.HTTPNotFound(text='gone')",
    "handle_request, not serialisable": "return {'a': object}",
}

CASES = [
    *(Case(name, (run(source),)) for name, source in SOURCES.items()),
    *(Case(name, (run(source, "/plain"),)) for name, source in PLAIN.items()),
    *(Case(name, (run(source, "/whole"),)) for name, source in WHOLE.items()),
    Case("no request_handler", (get("/silent"),)),
    Case("the documented simple example", (get("/example"),)),
    Case("a handler that is no function", (get("/constant"),)),
    Case("HEAD of a dict", (run_by_get("return 200, {'a': 1}", "HEAD"),)),
    Case("HEAD of text", (run_by_get("return 200, 'text'", "HEAD"),)),
    Case("HEAD of a failure", (run_by_get("raise KeyError('x')", "HEAD"),)),
    Case("several answers on one connection", (run("return 200, 'one'"), run("return 200, {'two': 2}"), get("/alive"))),
    Case("an answer after a failure", (run("raise KeyError('x')"), run("return 200, {'two': 2}"))),
    Case("an answer after one that is not serialisable", (run("return 200, {'a': object}"), run("return 200, 'x'"))),
]
