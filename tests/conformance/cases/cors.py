"""What scripts of other origins may do."""

from __future__ import annotations

from conformance.case import Case, get, post_json, run

HOME = "Origin: https://home.example"

#: Origins, by what they show.
ORIGINS = {
    "an allowed origin": "https://home.example",
    "another allowed origin": "http://192.168.1.10:8080",
    "another origin": "https://evil.example",
    "null": "null",
    "another case": "https://Home.example",
    "another port": "https://home.example:8443",
    "the usual port": "https://home.example:443",
    "another scheme": "http://home.example",
    "a trailing slash": "https://home.example/",
    "a longer name": "https://home.example.evil",
    "an empty origin": "",
}


def preflight(target: str, method: str | None, *headers: str, origin: str | None = HOME) -> bytes:
    """Return the question of a browser before an unusual request."""
    lines = [origin] if origin else []
    lines += [f"Access-Control-Request-Method: {method}"] if method else []
    lines += [f"Access-Control-Request-Headers: {', '.join(headers)}"] if headers else []
    return get(target, *lines, method="OPTIONS")


#: Preflights, by what they ask for.
PREFLIGHTS = {
    **{f"{method}": preflight("/alive", method) for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD")},
    "PATCH": preflight("/alive", "PATCH"),
    "an unknown method": preflight("/alive", "BREW"),
    "a method in small letters": preflight("/alive", "get"),
    "no method": preflight("/alive", None),
    "no origin": preflight("/alive", "GET", origin=None),
    "another origin": preflight("/alive", "GET", origin="Origin: https://evil.example"),
    "null": preflight("/alive", "GET", origin="Origin: null"),
    "Content-Type": preflight("/alive", "POST", "Content-Type"),
    "content-type": preflight("/alive", "POST", "content-type"),
    "Authorization": preflight("/alive", "POST", "Authorization"),
    "X-Requested-With": preflight("/alive", "POST", "X-Requested-With"),
    "Accept": preflight("/alive", "POST", "Accept"),
    "X-Custom-Auth": preflight("/alive", "POST", "X-Custom-Auth"),
    "traceparent": preflight("/alive", "GET", "traceparent"),
    "If-None-Match": preflight("/alive", "GET", "If-None-Match"),
    "Accept-Language": preflight("/alive", "POST", "Accept-Language"),
    "a header that is not allowed": preflight("/alive", "POST", "X-Odd"),
    "several headers": preflight("/alive", "POST", "authorization", "content-type", "accept"),
    "several headers, one not allowed": preflight("/alive", "POST", "authorization", "x-odd"),
    "a plugin with a key": preflight("/globalkey", "GET", "authorization"),
    "below a plugin": preflight("/alive/x/y", "GET"),
    "the list of plugins": preflight("/plugins", "GET"),
    "a reload": preflight("/reload/alive", "POST"),
    "an unknown address": preflight("/nobody", "GET"),
    "a plain OPTIONS": get("/alive", method="OPTIONS"),
    "OPTIONS with an origin only": get("/alive", HOME, method="OPTIONS"),
}

CASES = [
    *(Case(f"CORS, {name}", (get("/alive", f"Origin: {origin}"),), "cors") for name, origin in ORIGINS.items()),
    *(Case(f"preflight, {name}", (request,), "cors") for name, request in PREFLIGHTS.items()),
    Case("CORS, no origin", (get("/alive"),), "cors"),
    Case("CORS, Vary", (get("/alive", HOME),), "cors", ("vary",)),
    Case("CORS, HEAD", (get("/alive", HOME, method="HEAD"),), "cors"),
    Case("CORS, POST", (post_json("/echo", {"a": 1}, HOME),), "cors"),
    Case("CORS, without a key", (get("/globalkey", HOME),), "cors"),
    Case("CORS, with a key", (get("/globalkey?apikey=key", HOME),), "cors"),
    Case("CORS, the list without a key", (get("/plugins", HOME),), "cors"),
    Case("CORS, an unknown address", (get("/nobody", HOME),), "cors"),
    Case("CORS, a wrong method", (get("/alive", HOME, method="PUT"),), "cors"),
    Case("CORS, an exception", (run("raise KeyError('x')").replace(b"\r\n", f"\r\n{HOME}\r\n".encode(), 1),), "cors"),
    Case(
        "CORS, headers of the plugin's own",
        (
            run("return 200, web.Response(text='x', headers={'X-Plugin': 'a', 'X-Custom-Header': 'b'})").replace(
                b"\r\n", f"\r\n{HOME}\r\n".encode(), 1
            ),
        ),
        "cors",
    ),
    Case("CORS, two origins", (get("/alive", HOME, "Origin: https://evil.example"),), "cors"),
    Case("any origin", (get("/alive", "Origin: https://anybody.example"),), "corsany"),
    Case("any origin, preflight", (preflight("/alive", "GET", origin="Origin: https://anybody.example"),), "corsany"),
    Case("any origin, none", (get("/alive"),), "corsany"),
    Case("an origin as plain text", (get("/alive", HOME),), "corsplain"),
    Case("an origin as plain text, preflight", (preflight("/alive", "GET"),), "corsplain"),
    Case("CORS switched off", (get("/alive", HOME),), "corsoff"),
    Case("CORS switched off, preflight", (preflight("/alive", "GET"),), "corsoff"),
]
