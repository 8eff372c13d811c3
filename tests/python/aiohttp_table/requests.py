"""Requests: what is evaluated of each, and which values are meant to differ."""

from __future__ import annotations

MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: application/json\r\n\r\n{"j": 1}\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n'
    b"Content-Type: text/plain; charset=utf-8\r\nX-O: y\r\n\r\nfile\r\n--b--\r\n"
)

#: Requests by name: method, what follows the route, headers, body.
SHAPES: dict[str, tuple[str, str, dict[str, str], bytes | None]] = {
    "get": ("GET", "/t%20l?x=1&y=2&x=3", {"Cookie": "a=1; b=2"}, None),
    "bare": ("GET", "", {}, None),
    "conditions": ("GET", "", {"If-None-Match": '"a"', "Range": "bytes=1-2", "Forwarded": "for=1.2.3.4"}, None),
    "form": ("POST", "?q=1", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1&b=x+y&a=2"),
    "json": ("POST", "", {"Content-Type": "application/json"}, b'{"a": [1, 2]}'),
    "json form": ("POST", "", {"Content-Type": "application/x-www-form-urlencoded"}, b'{"a": 1}'),
    "text": ("PUT", "", {"Content-Type": "text/plain; charset=latin-1"}, b"h\xe9llo\nline2\nline3"),
    "multipart": ("POST", "", {"Content-Type": "multipart/form-data; boundary=b"}, MULTIPART),
}

MAPPING = """
request.query
request.query["x"]
request.query["none"]
request.query.get("x")
request.query.get("none")
request.query.get("none", 5)
request.query.getone("x")
request.query.getone("none")
request.query.getone("none", 5)
request.query.getall("x")
request.query.getall("none")
request.query.getall("none", 5)
request.query.to_dict()
request.query.copy()
list(request.query)
list(request.query.keys())
list(request.query.values())
list(request.query.items())
[len(request.query), len(request.query.items()), len(request.query.values())]
len(request.query.keys())
["x" in request.query, "x" in request.query.keys(), ("x", "1") in request.query.items(), "1" in request.query.values()]
request.query.keys() & {"x"}
request.query.keys() | {"z"}
request.query.items() & {("x", "1")}
dict(request.query)
{**request.query}
request.query == {"x": "1", "y": "2"}
request.query == multidict.MultiDict([("x", "1"), ("y", "2"), ("x", "3")])
isinstance(request.query, multidict.MultiDictProxy)
isinstance(request.query, multidict.CIMultiDictProxy)
isinstance(request.query, multidict.MultiMapping)
isinstance(request.query, Mapping)
multidict.MultiDict(request.query)
multidict.MultiDict(request.headers).getall("cookie")
multidict.CIMultiDict(request.headers)["COOKIE"]
isinstance(request.headers, multidict.CIMultiDictProxy)
isinstance(request.headers, multidict.MultiDictProxy)
isinstance(request.headers, Mapping)
request.headers["cookie"]
request.headers[hdrs.COOKIE]
[hdrs.COOKIE in request.headers, "cookie" in request.headers, "no" in request.headers]
request.headers.get("no", "d")
request.headers.getall("HOST")
request.headers.getone("host")
request.headers.copy()["cookie"]
c = request.headers.copy(); del c["COOKIE"]; return ["cookie" in c, "host" in c]
"""

REQUESTS: dict[str, str] = {
    "get": MAPPING
    + """
request.ATTRS
request.POST_METHODS
request.version
[request.version.major, request.version.minor, request.version == aiohttp.HttpVersion11]
request.method
request.url
request.url.path
request.url.query["x"]
request.rel_url
request.rel_url.query.getall("x")
request.scheme
request.secure
request.forwarded
request.host
request.remote
request.path
request.path_qs
request.raw_path
request.query_string
request.raw_headers[0][0].lower()
[type(request.raw_headers).__name__, *[type(x).__name__ for x in request.raw_headers[0]]]
request.cookies
request.cookies["a"]
request.cookies.get("none")
isinstance(request.cookies, Mapping)
request.content_type
request.charset
request.content_length
request.keep_alive
request.body_exists
request.can_read_body
request.has_body
request.http_range
request.if_match
request.if_none_match
request.if_range
request.if_modified_since
request.if_unmodified_since
request.client_max_size
request.client_max_fields
request.loop is asyncio.get_running_loop()
request.task.done()
isinstance(request.protocol, web.RequestHandler)
request.protocol.transport is request.transport
isinstance(request.writer, aiohttp.abc.AbstractStreamWriter)
request.writer.output_size
request.transport.is_closing()
request.transport.get_extra_info("peername")[0]
request.transport.get_extra_info("sockname")[0]
request.transport.get_extra_info("sslcontext")
request.transport.get_extra_info("none", 5)
request.transport.get_extra_info("socket") is None
request.get_extra_info("peername")[0]
request.get_extra_info("none", 5)
[request.message.method, request.message.path, request.message.version, request.message.url]
[request.message.should_close, request.message.compression, request.message.upgrade, request.message.chunked]
request.message.headers["cookie"]
request.message.raw_headers[0][0].lower()
request.match_info
request.match_info["tail"]
request.match_info.get("none")
request.match_info is request.match_info
isinstance(request.match_info, web.UrlMappingMatchInfo)
isinstance(request.match_info, dict)
[request.match_info.route.method, request.match_info.route.name, request.match_info.http_exception]
request.match_info.current_app is request.app
request.match_info.apps[0] is request.app
sorted(request.match_info.get_info())
[callable(request.match_info.handler), callable(request.match_info.expect_handler)]
request.match_info.add_app(request.app)
request.match_info.freeze()
isinstance(request.app, web.Application)
request.app.loop is asyncio.get_running_loop()
request.app.get("none")
request.app["none"]
request.config_dict.get("none")
isinstance(request.content, aiohttp.StreamReader)
type(request.content).__name__
await request.content.read()
await request.content.readline()
await request.content.readany()
await request.content.readchunk()
await request.content.readexactly(1)
[request.content.is_eof(), request.content.at_eof(), request.content.exception(), request.content.total_bytes]
request.content.read_nowait()
await request.read()
await request.text()
await request.json()
await request.post()
isinstance(await request.post(), multidict.MultiDictProxy)
await request.multipart()
await request.release()
isinstance(request, web.Request)
isinstance(request, web.BaseRequest)
isinstance(request, MutableMapping)
bool(request)
request == request
request == 5
hash(request)
repr(request)
request["none"]
request.get("none")
request.get("none", 5)
del request["none"]
"k" in request
request["k"] = 1; return [request["k"], len(request), list(request), "k" in request, dict(request.items())]
request["k"] = 1; request.update(z=2); return [sorted(request), list(request.keys()), list(request.values())]
request["k"] = 1; return [request.pop("k"), request.pop("k", 5), request.popitem() if len(request) else None]
request["k"] = 1; request.clear(); return len(request)
request.setdefault("k", 5)
k = web.RequestKey("k", int); request[k] = 3; return request[k]
request.nothing
request._custom = 5; return request._custom
request.custom = 5; return [request.custom, hasattr(request, "custom"), "custom" in request]
request.custom = 5; del request.custom; return hasattr(request, "custom")
request.path = "x"
weakref.ref(request)() is request
[name for name in dir(web.Request) if not name.startswith("_") and not hasattr(request, name)]
sorted(name for name in dir(web.Request) if not name.startswith("_") and name not in dir(request))
c = request.clone(method="PUT"); return [c.method, c.path, c.match_info, isinstance(c, web.Request)]
c = request.clone(rel_url="/z?k=1"); return [c.path_qs, c.query["k"], c.url]
request.clone(headers={"A": "b"}).headers
[request.clone(scheme="https").url, request.clone(host="z").host, request.clone(remote="9.9.9.9").remote]
request.clone(client_max_size=5).client_max_size
request["k"] = 1; return request.clone()["k"]
""",
    "bare": """
request.match_info
request.path
request.query
request.query_string
request.cookies
request.charset
request.content_length
""",
    "conditions": """
request.if_none_match
request.if_none_match[0].value
request.http_range
request.forwarded[0]["for"]
""",
    "form": """
await request.post()
(await request.post())["a"]
(await request.post()).getall("a")
(await request.post()) is (await request.post())
isinstance(await request.post(), multidict.MultiDictProxy)
await request.read()
(await request.read()) is (await request.read())
await request.text()
await request.json()
await request.json(loads=len)
await request.json(loads=bytes)
await request.multipart()
[request.body_exists, request.can_read_body, request.has_body, request.content_length, request.charset]
await request.content.read()
await request.content.read(5)
await request.content.read(0)
await request.content.readany()
await request.content.readchunk()
await request.content.readexactly(3)
await request.content.readexactly(300)
await request.content.readuntil(b"&")
await request.content.readuntil()
await request.content.readline()
request.content.read_nowait(3)
[piece async for piece in request.content]
[piece async for piece in request.content.iter_chunked(4)]
[piece async for piece in request.content.iter_any()]
[piece async for piece in request.content.iter_chunks()]
[request.content.total_bytes, request.content.total_raw_bytes, request.content.total_compressed_bytes]
[request.content.is_eof(), request.content.at_eof(), await request.content.wait_eof()]
request.content.unread_data(b"zz"); return await request.content.read()
called = []; request.content.on_eof(lambda: called.append(1)); return called
request.content.set_exception(ValueError("x")); return repr(request.content.exception())
request.content.set_read_chunk_size(100)
request.content.get_read_buffer_limits()[0] > 0
[request.content.feed_data(b"z"), request.content.feed_eof()]
await request.read(); return [request.content.begin_http_chunk_receiving(), request.content.end_http_chunk_receiving()]
await request.content.read(); return request.can_read_body
await request.read(); return request.can_read_body
await request.read(); return await request.content.read()
await request.post(); return await request.read()
await request.release(); return request.can_read_body
await request.content.read(); return await request.read()
await request.content.read(3); return await request.read()
await request.content.read(3); return await request.post()
await request.clone(method="PUT").read()
await request.clone(method="PUT").post()
await request.read(); return request.clone()
""",
    "json": """
await request.json()
await request.json(loads=str.upper)
await request.post()
await request.text()
[request.content_type, request.charset]
""",
    "json form": """
await request.post()
await request.json()
""",
    "text": """
await request.text()
request.charset
[line async for line in request.content]
await request.content.readuntil(b"line")
await request.post()
await request.json()
request.method
""",
    "multipart": """
await request.post()
(await request.post()).to_dict()
isinstance(await request.post(), multidict.MultiDictProxy)
isinstance((await request.post())["f"], web.FileField)
f = (await request.post())["f"]; return [f.name, f.filename, f.content_type, f.headers["x-o"], f.file.read(2)]
f = (await request.post())["f"]; return [f.file.readable(), f.file.seek(0, 2), f.file.tell(), f.file.closed]
isinstance((await request.post())["f"].file, io.IOBase)
(await request.post())["f"].file.name
(await request.post())["f"].headers
isinstance((await request.post())["f"].headers, multidict.CIMultiDictProxy)
dataclasses.replace((await request.post())["f"], name="z").name
isinstance(await request.multipart(), aiohttp.MultipartReader)
m = await request.multipart(); return [m.headers, m.at_eof(), m.part_reader_cls, m.multipart_reader_cls]
[callable(aiohttp.MultipartReader.from_response), callable(aiohttp.MultipartReader.response_wrapper_cls)]
m = await request.multipart(); return (await m.fetch_next_part()).name
m = await request.multipart(); await m.release(); return m.at_eof()
m = await request.multipart(); return [part.name async for part in m]
p = await (await request.multipart()).next(); return [p.name, p.filename, p.headers, p.at_eof(), p.chunk_size]
p = await (await request.multipart()).next(); return [await p.read(), p.at_eof(), await p.read()]
p = await (await request.multipart()).next(); return await p.text()
p = await (await request.multipart()).next(); return await p.json()
p = await (await request.multipart()).next(); return await p.form()
p = await (await request.multipart()).next(); return await p.readline()
p = await (await request.multipart()).next(); return await p.read_chunk(1)
p = await (await request.multipart()).next(); return await p.next()
p = await (await request.multipart()).next(); return [piece async for piece in p]
p = await (await request.multipart()).next(); return [piece async for piece in p.decode_iter(b"x")]
p = await (await request.multipart()).next(); return [await p.decode(b"x"), p.get_charset("d")]
p = await (await request.multipart()).next(); await p.release(); return p.at_eof()
m = await request.multipart(); await m.next(); await (await m.next()).json(); p = await m.next(); return p.filename
m = await request.multipart(); return [await p.read(decode=True) async for p in m]
await request.multipart(); return await request.post()
await request.read(); return await (await (await request.multipart()).next()).read()
await request.text()
""",
}

_CLASS = "our own class, which all plugins share; `isinstance` holds"
_WHOLE = "the body is there, however often it is read"

#: Values that differ on purpose, and why.
DIFFERENCES: dict[str, str] = {
    "len(request.query.keys())": "each pair counts, as in multidict before 7",
    "request.query.copy()": "a `dict` of the first values",
    'request.query.items() & {("x", "1")}': "a list, which can be indexed",
    'request.query == multidict.MultiDict([("x", "1"), ("y", "2"), ("x", "3")])': _CLASS,
    'request.transport.get_extra_info("socket") is None': "the socket belongs to a thread without Python",
    "hash(request)": "a request can be a key",
    "repr(request)": "without the space at the end",
    'request.path = "x"': "the error names the attribute",
    "await request.content.read(); return request.can_read_body": _WHOLE,
    "await request.read(); return request.can_read_body": _WHOLE,
    "await request.release(); return request.can_read_body": _WHOLE,
    "await request.read(); return await request.content.read()": _WHOLE,
    "await request.content.read(); return await request.read()": _WHOLE,
    "await request.content.read(3); return await request.read()": _WHOLE,
    "await request.content.read(3); return await request.post()": _WHOLE,
    "await request.read(); return request.clone()": _WHOLE,
    "await request.read(); return await (await (await request.multipart()).next()).read()": _WHOLE,
    '(await request.post())["f"].file.name': "an `io.BytesIO`, since the body limit bounds it",
}
