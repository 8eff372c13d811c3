"""WebSockets: what handlers do with them."""

from __future__ import annotations

#: What happens on open web sockets; the peer sends a text, two messages of bytes and JSON, and reads to the end.
_SOCKETS = """
ws = web.WebSocketResponse()
await ws.prepare(request)
for name in ("closed", "close_code", "ws_protocol", "compress", "prepared", "status", "reason", "keep_alive"):
    await attempt(lambda: getattr(ws, name))
await attempt(ws.exception)
await attempt(lambda: ws.get_extra_info("peername")[0])
await attempt(lambda: ws.get_extra_info("none", 5))
await attempt(ws.receive)
await attempt(ws.receive_str)
await attempt(ws.receive_bytes)
await attempt(ws.receive_json)
await attempt(lambda: ws.receive_str(timeout=0.01))
await attempt(lambda: ws.send_str(5))
await attempt(lambda: ws.send_bytes("x"))
await attempt(lambda: ws.send_json({"a": 1}))
await attempt(lambda: ws.send_json_bytes({"a": 1}, dumps=lambda value: b"json"))
await attempt(lambda: ws.send_bytes(b"x"))
await attempt(lambda: ws.send_frame(b"frame", aiohttp.WSMsgType.TEXT))
await attempt(lambda: ws.ping(b"p"))
await attempt(lambda: ws.pong(b"q"))
await attempt(ws.enable_compression)
await attempt(lambda: ws.write(b"x"))
ws["k"] = 1
await attempt(lambda: [ws["k"], len(ws)])
await ws.send_str(json.dumps(outcomes))
await ws.close(code=4000, message=b"bye")
return ws
----
ws = web.WebSocketResponse(protocols=("b", "a"), heartbeat=5, compress=True, autoping=False, autoclose=False, timeout=1)
ws.set_cookie("a", "b")
ws.headers["X-A"] = "y"
await ws.prepare(request)
await attempt(lambda: [ws.ws_protocol, ws.compress])
await ws.send_str(json.dumps(outcomes), compress=9)
async for message in ws:
    await ws.send_str(repr((message.type, message.data, message.extra)))
    if message.data == b"more":
        break
return ws
----
ws = web.WebSocketResponse(max_msg_size=3, decode_text=False)
await ws.prepare(request)
await attempt(ws.receive)
return ws
"""

SOCKETS = [text.strip("\n") for text in _SOCKETS.split("\n----\n")]
