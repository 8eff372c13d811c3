"""Responses: how handlers make them, and which answers are meant to differ."""

from __future__ import annotations

#: Shows all attributes of a response.
SHOW = """
def show(response):
    shown = {}
    for name in '''status reason prepared keep_alive chunked compression content_length content_type charset
            last_modified etag body_length'''.split():
        try:
            shown[name] = repr(getattr(response, name))
        except Exception as error:
            shown[name] = repr(error)
    shown["headers"] = sorted((k.lower(), v) for k, v in response.headers.items() if k not in ("Date", "Server"))
    return [shown, str(response.cookies), response.task is None]
"""

_RESPONSES = """
return web.Response(text="x")
----
return web.Response(body=b"abc")
----
return web.Response(text="é", charset="latin-1", content_type="text/x", status=201, reason="Odd", headers={"X-A": "b"})
----
r = web.Response()
r.text = "é"
r.content_type = "a/b"
r.charset = "latin-1"
return r
----
r = web.Response()
r.body = b"b"
return r
----
return web.json_response({"a": 1})
----
return web.json_response(text='{"t": 1}', status=201, reason="R", headers={"X-A": "b"}, content_type="application/x")
----
return web.json_response({"a": 1}, dumps=lambda d: "D")
----
return web.json_bytes_response({"a": 1}, dumps=lambda d: b"D")
----
r = web.Response(text="x")
r.force_close()
return r
----
r = web.json_response({"a": 1})
r.force_close()
return (200, r)
----
return web.Response(text="x", headers={"Connection": "close"})
----
return web.Response(text="x", headers={"Connection": "keep-alive"})
----
r = web.Response(text="x" * 3000)
r.enable_compression()
return r
----
r = web.Response(text="x" * 3000, zlib_executor_size=10)
r.enable_compression(web.ContentCoding.gzip, strategy=2)
r.force_close()
return r
----
r = web.Response(text="x" * 3000)
r.enable_compression(web.ContentCoding.deflate)
return r
----
r = web.Response(text="x")
r.enable_compression(web.ContentCoding.identity)
return r
----
r = web.Response(text="x")
r.enable_chunked_encoding()
return r
----
r = web.Response(text="x")
r.last_modified = 1000000000
r.etag = "abc"
return r
----
r = web.Response(text="x")
r.last_modified = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
r.etag = aiohttp.ETag("abc", is_weak=True)
return r
----
r = web.Response(text="x")
r.set_status(299, "Odd")
return r
----
r = web.Response(text="x")
r.set_status(404)
return r
----
return web.Response(status=204)
----
return web.Response(status=304)
----
return web.Response(status=205)
----
return web.Response(text="x", status=600)
----
r = web.Response(text="x")
r.set_cookie("a", "b c", expires="Thu", domain="d", max_age=5, path="/p", secure=True, httponly=True, samesite="Strict")
r.set_cookie("v", "1", version=1)
r.del_cookie("z", path="/q", domain="e", secure=True, httponly=True, samesite="Lax")
r.cookies["m"] = "v"
r.cookies["m"]["path"] = "/y"
return r
----
r = web.Response(text="x", headers=multidict.CIMultiDict([("A", "1"), ("A", "2")]))
r.headers.add("A", "3")
r.headers["Server"] = "mine"
del r.headers["Content-Type"]
r.headers["content-type"] = "x/y"
return r
----
r = web.Response(text="x")
r["k"] = 1
r.update(z=2)
r.text = repr([sorted(r), r["k"], len(r), "k" in r, bool(r), r == r, r.pop("k"), r.setdefault("n", 5), r.get("none")])
return r
----
return web.json_response(show(web.Response(text="x")))
----
r = web.Response(body=b"x")
return web.json_response([show(r), r.text, str(r.body)])
----
r = web.Response(text="x", status=404)
r.enable_compression()
r.last_modified = 5
r.etag = "e"
r.charset = "u"
r.force_close()
r.del_cookie("x")
return web.json_response(show(r))
----
return web.json_response(show(web.FileResponse("/etc/passwd", chunk_size=5)))
----
return web.json_response(show(web.StreamResponse()))
----
e = web.HTTPFound("/x", text="t")
return web.json_response([show(e), str(e), repr(e), str(e.location), e.status_code, e.empty_body, e.args, e.text])
----
e = web.HTTPMethodNotAllowed("GET", ["A", "B"])
return web.json_response([show(e), e.method, sorted(e.allowed_methods), e.text])
----
return web.Response(body=io.BytesIO(b"bytesio"))
----
return web.Response(body=io.StringIO("stringio"))
----
return web.Response(body=bytearray(b"ba"))
----
return web.Response(body=memoryview(b"mv"))
----
return web.Response(body=aiohttp.payload.JsonPayload({"a": 1}))
----
return web.Response(body=aiohttp.FormData({"a": "1"})())
----
m = aiohttp.MultipartWriter("mixed", boundary="bb")
m.append("x")
return web.Response(body=m)
----
async def pieces():
    yield b"a"
    yield b"b"
return web.Response(body=pieces())
----
return web.FileResponse("/etc/passwd", status=201, headers={"X-A": "b"})
----
return web.FileResponse("/nothing/here")
----
r = web.FileResponse("/etc/passwd")
r.force_close()
return r
----
r = web.StreamResponse(status=202, reason="RR", headers={"X-A": "b"})
r.content_type = "a/b"
r.charset = "utf-8"
r.last_modified = 5
r.etag = "e"
r.set_cookie("c", "d")
await r.prepare(request)
await r.write(json.dumps(show(r)).encode())
await r.drain()
await r.write(repr(r.output_length > 0).encode())
await r.write_eof(b"end")
await r.write_eof()
return r
----
r = web.StreamResponse()
r.content_length = 3
await r.prepare(request)
await r.write(b"abc")
return r
----
r = web.StreamResponse()
r.enable_chunked_encoding()
await r.prepare(request)
await r.write(b"abc")
await r.write_eof(b"d")
return r
----
r = web.StreamResponse()
r.force_close()
await r.prepare(request)
await r.write(b"abc")
return r
----
r = web.StreamResponse()
r.enable_compression()
await r.prepare(request)
await r.write(b"abc" * 1000)
return r
----
r = web.StreamResponse()
outcomes = []
for attempt in (lambda: r.write(b"x"), r.write_eof, r.drain):
    try:
        outcomes.append(repr(await attempt()))
    except Exception as error:
        outcomes.append(repr(error))
await r.prepare(request)
for attempt in (lambda: r.set_status(5), r.enable_chunked_encoding, r.enable_compression, r.force_close):
    try:
        outcomes.append(repr(attempt()))
    except Exception as error:
        outcomes.append(repr(error))
for value in ("text", None, b"", bytearray(b"ba"), memoryview(b"mv")):
    try:
        outcomes.append(repr(await r.write(value)))
    except Exception as error:
        outcomes.append(repr(error))
await r.write(json.dumps(outcomes).encode())
return r
----
r = web.Response(text="prepared")
await r.prepare(request)
await r.write_eof()
return r
----
class Own(web.Response):
    async def prepare(self, request):
        self.headers["X-Mine"] = "1"
        return await super().prepare(request)
return Own(text="x")
----
class Own(web.Response):
    async def _start(self, request):
        self.headers["X-Mine"] = "1"
        return await super()._start(request)
return Own(text="x")
----
class Own(web.Response):
    async def _prepare_headers(self):
        await super()._prepare_headers()
        self.headers["X-Mine"] = "1"
return Own(text="x")
----
class Own(web.StreamResponse):
    async def write_eof(self, data=b""):
        await self.write(b"mine")
        await super().write_eof(data)
return Own()
----
ws = web.WebSocketResponse(protocols=("a",))
ok = ws.can_prepare(request)
shown = [bool(ok), ok.ok, ok.protocol, ws.closed, ws.close_code, ws.ws_protocol, ws.compress, ws.prepared, ws.status]
return web.json_response([*shown, repr(ws.exception()), repr(ws.get_extra_info("peername", "d"))])
----
ws = web.WebSocketResponse()
outcomes = []
attempts = [ws.receive, ws.receive_str, ws.receive_bytes, ws.receive_json, ws.close, ws.ping, ws.pong, ws.write_eof]
attempts += [lambda: ws.send_str("x"), lambda: ws.send_bytes(b"x"), lambda: ws.send_json(1), lambda: ws.write(b"")]
attempts += [lambda: ws.send_frame(b"x", aiohttp.WSMsgType.TEXT), lambda: ws.send_json_bytes(1, dumps=lambda v: b"")]
for attempt in attempts:
    try:
        outcomes.append(repr(await attempt()))
    except Exception as error:
        outcomes.append(repr(error))
return web.json_response(outcomes)
----
ws = web.WebSocketResponse()
await ws.prepare(request)
return ws
----
raise web.HTTPNotFound(text="nf", headers={"X-A": "b"})
----
raise web.HTTPMethodNotAllowed("GET", ["POST", "PUT"])
----
raise web.HTTPRequestEntityTooLarge(max_size=5, actual_size=6)
----
raise web.HTTPUnavailableForLegalReasons("http://x")
----
raise web.HTTPBadRequest(reason="Odd", body=b"b", content_type="a/b")
----
e = web.HTTPBadRequest(text="x")
e.set_cookie("a", "b")
e.force_close()
raise e
----
e = web.HTTPBadRequest(text="x" * 3000)
e.enable_compression()
raise e
----
return web.HTTPForbidden(text="returned")
"""

RESPONSES = [text.strip("\n") for text in _RESPONSES.split("\n----\n")]

_SAME_AS_GET = "a HEAD has the headers of the GET"

#: Answers that differ on purpose, to the method named, and why.
ANSWERS: dict[str, tuple[str, str]] = {
    'return web.Response(body=b"abc")': ("HEAD", _SAME_AS_GET),
    'r = web.Response()\nr.body = b"b"\nreturn r': ("HEAD", _SAME_AS_GET),
    'return web.Response(body=bytearray(b"ba"))': ("HEAD", _SAME_AS_GET),
    'return web.Response(text="x", headers={"Connection": "keep-alive"})': (
        "GET HEAD",
        "the connection is the server's",
    ),
    'r = web.Response(text="x")\nr.enable_chunked_encoding()\nreturn r': ("GET HEAD", "text streams are compressed"),
    'return web.Response(text="x", status=600)': ("GET HEAD", "a status is from 200 to 599"),
}
