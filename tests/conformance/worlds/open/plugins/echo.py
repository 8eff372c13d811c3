"""Answers with everything that a handler is given, as text that can be compared."""

from plugincore.baseplugin import BasePlugin

HOST = ("log", "request_headers", "request", "subpath", "client_ip")
ATTRIBUTES = (
    "method", "path", "raw_path", "path_qs", "query_string", "host", "scheme", "secure", "content_type", "charset",
    "content_length", "body_exists", "can_read_body", "has_body", "keep_alive", "remote",
)  # fmt: skip


def text(value):
    """Show a value with its type, since 1, True and 1.0 are equal."""
    return f"{type(value).__name__} {value!r}"


async def outcome(coroutine):
    """Show what a coroutine returns or raises."""
    try:
        return text(await coroutine)
    except Exception as error:
        return f"raises {type(error).__name__}"


class Echo(BasePlugin):
    async def request_handler(self, **data):
        request = data["request"]
        headers = data["request_headers"]
        seen = {name: text(getattr(request, name)) for name in ATTRIBUTES}
        seen["query"] = repr(list(request.query.items()))
        # Among headers of one name their order counts, among others it says nothing.
        pairs = [(name.lower(), value) for name, value in request.headers.items()]
        seen["headers"] = repr(sorted(pairs, key=lambda pair: pair[0]))
        seen["cookies"] = repr(dict(request.cookies))
        seen["match_info"] = repr(dict(request.match_info))
        seen["version"] = repr(tuple(request.version))
        seen["peer"] = text(request.transport.get_extra_info("peername")[0])
        seen["read"] = await outcome(request.read())
        seen["text"] = await outcome(request.text())
        seen["json"] = await outcome(request.json())
        return 200, {
            "echo": True,
            "data": {name: text(value) for name, value in data.items() if name not in HOST},
            "host keys": {
                "names": sorted(name for name in data if name in HOST),
                "subpath": text(data["subpath"]),
                "client_ip": text(data["client_ip"]),
                "log": callable(data["log"]) and callable(data["log"].debug),
                "request_headers": isinstance(headers, dict),
            },
            "request_headers": {name: value for name, value in headers.items()},
            "request": seen,
        }
