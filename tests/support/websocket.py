"""The client's side of the WebSocket protocol (RFC 6455), frame by frame."""

from __future__ import annotations

import base64
import os
import struct

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def handshake_headers(key: bytes | None = None, version: str = "13") -> dict[str, str]:
    """Return the headers that request an upgrade; the key is 16 bytes, random if there is none."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": version,
        "Sec-WebSocket-Key": base64.b64encode(key or os.urandom(16)).decode(),
    }


def handshake_lines(key: bytes | None = None, version: str = "13") -> bytes:
    """Return the same as lines of a head."""
    return "".join(f"{name}: {value}\r\n" for name, value in handshake_headers(key, version).items()).encode()


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    length: int | None = None,
    mask: bytes | None = None,
) -> bytes:
    """Return a frame as a client sends it, which is masked; ``length`` claims another length than there is."""
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    mask = mask or os.urandom(4)
    key = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(len(payload), "big")


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return opcode and payload of each frame that a server has sent."""
    found = []
    while data:
        size, rest = data[1], data[2:]
        assert size < 128, "a server does not mask"
        if size == 126:
            size, rest = struct.unpack("!H", rest[:2])[0], rest[2:]
        elif size == 127:
            size, rest = struct.unpack("!Q", rest[:8])[0], rest[8:]
        assert data[0] & 0x80, "answers are not fragmented"
        found.append((data[0] & 0x0F, rest[:size]))
        data = rest[size:]
    return found


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """Return the payload of a closing frame."""
    return struct.pack("!H", code) + reason
