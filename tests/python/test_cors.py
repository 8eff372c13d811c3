"""CORS: which origins' scripts may read answers, and preflights."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.errors import without_ids
from support.server import Launch, Server, serving

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class Any(BasePlugin):
    http_methods = ("GET", "POST", "PUT", "DELETE")

    async def request_handler(self, **data):
        if "fail" in data:
            raise ValueError("asked for")
        if "headers" in data:
            return 200, {}, {"Vary": "Accept-Encoding", "Access-Control-Allow-Origin": "*", "X-Own": "1"}
        return 200, {"seen": 1}
"""

ORIGIN = "https://a.example"
OTHER = "http://b.example:8080"

INI = f"""
[cors]
enabled=bool:true
origin_url=list:{ORIGIN} {OTHER}

[plugin_parms]
keyed=auth_type=plugin&apikey=k

[server]
body_limit=1000
"""

#: What pluginserver's answers to an allowed origin carry.
GRANTED = {
    "access-control-allow-origin": ORIGIN,
    "access-control-allow-credentials": "true",
    "access-control-expose-headers": "X-Custom-Header,Content-Length,X-Request-Id,Retry-After,ETag,Location",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that only ask questions."""
    plugins = {"any": PLUGIN, "keyed": PLUGIN.replace("Any", "Keyed")}
    with serving(tmp_path_factory.mktemp("cors"), plugins, INI) as running:
        yield running


def cors(answer: httpx.Response) -> dict[str, str]:
    """All that is CORS in an answer."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def preflight(server: Server, path: str = "/any", **wanted: str | None) -> httpx.Response:
    """Ask for permission; ``origin``, ``method`` and ``headers`` name what for."""
    names = {
        "origin": "Origin",
        "method": "Access-Control-Request-Method",
        "headers": "Access-Control-Request-Headers",
    }
    asked = {"origin": ORIGIN, "method": "POST", **wanted}
    headers = {names[name]: value for name, value in asked.items() if value is not None}
    return server.request("OPTIONS", path, headers=headers)


def test_an_allowed_origin_gets_the_headers_that_pluginserver_sent(server: Server) -> None:
    """The very same ones, and Vary beside them."""
    answer = server.get("/any", headers={"Origin": ORIGIN})
    assert (200, GRANTED, "Origin") == (answer.status_code, cors(answer), answer.headers["vary"])
    assert OTHER == server.get("/any", headers={"Origin": OTHER}).headers["access-control-allow-origin"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "HTTPS://A.EXAMPLE",
        "https://A.example",
        "https://a.example:443",
        "http://a.example",
        "https://a.example/",
        "https://a.example.evil.example",
        "https://sub.a.example",
        "*",
        "",
        None,
    ],
)
def test_any_other_origin_is_served_without_permission(server: Server, origin: str | None) -> None:
    """Origins are compared to the letter; the answer is the same, but browsers keep it from scripts."""
    answer = server.get("/any", headers={} if origin is None else {"Origin": origin})
    assert (200, {"seen": 1}, {}, "Origin") == (
        answer.status_code,
        answer.json(),
        cors(answer),
        answer.headers["vary"],
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_preflight_grants_what_it_was_asked_for(server: Server, method: str) -> None:
    """Status, methods, headers in upper case and the time are pluginserver's, and nothing else is sent."""
    answer = preflight(server, method=method, headers="content-type, Authorization,accept,X-Requested-With")
    assert 200 == answer.status_code
    assert {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": method,
        "access-control-allow-headers": "CONTENT-TYPE,AUTHORIZATION,ACCEPT,X-REQUESTED-WITH",
        "access-control-max-age": "3600",
    } == cors(answer)
    assert ("Origin", b"") == (answer.headers["vary"], answer.content)


def test_a_preflight_without_headers_grants_none(server: Server) -> None:
    """Allow-Headers is there only when it was requested."""
    assert "access-control-allow-headers" not in cors(preflight(server))


def test_a_preflight_needs_no_key_and_may_ask_for_the_header_of_one(server: Server) -> None:
    """Browsers send no key with a preflight; both headers that carry keys may be requested."""
    answer = preflight(server, "/keyed", headers="x-custom-auth,authorization")
    assert (200, "X-CUSTOM-AUTH,AUTHORIZATION") == (
        answer.status_code,
        answer.headers["access-control-allow-headers"],
    )
    assert 200 == preflight(server, "/any/below/it").status_code
    assert 200 == preflight(server, "/plugins").status_code


REFUSED = {
    "origin": ({"origin": "https://evil.example"}, "origin https://evil.example is not allowed"),
    "null": ({"origin": "null"}, "origin null is not allowed"),
    "method": (
        {"method": "PATCH"},
        "method PATCH is not allowed here; allowed are GET, HEAD, POST, PUT, DELETE, OPTIONS",
    ),
    "no method": (
        {"method": "G T"},
        "method G T is not allowed here; allowed are GET, HEAD, POST, PUT, DELETE, OPTIONS",
    ),
    "header": ({"headers": "Content-Type, X-Evil"}, "header X-Evil is not allowed"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_preflight_that_asks_for_more_is_refused_with_the_reason(server: Server, why: str) -> None:
    """403 in JSON, without any permission in it."""
    asked, reason = REFUSED[why]
    answer = preflight(server, **asked)
    assert (403, {"error": f"CORS preflight refused: {reason}"}) == (answer.status_code, without_ids(answer.json()))
    assert ({}, "Origin") == (cors(answer), answer.headers["vary"])


def test_a_preflight_of_an_unknown_path_is_a_404(server: Server) -> None:
    """There is nothing to permit."""
    assert 404 == preflight(server, "/nowhere").status_code


def test_options_without_a_preflights_headers_tells_the_methods(server: Server) -> None:
    """It is an ordinary question then."""
    answer = preflight(server, method=None)
    assert (204, "GET, HEAD, POST, PUT, DELETE, OPTIONS") == (answer.status_code, answer.headers["allow"])


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/keyed", {}, 403),
        ("POST", "/any", {"content": b"x" * 1001}, 413),
        ("PATCH", "/any", {}, 405),
        ("GET", "/any?fail=1", {}, 500),
        ("GET", "/any//x", {}, 400),
        ("GET", "/nowhere", {}, 404),
    ],
)
def test_scripts_may_read_why_they_were_refused(
    server: Server, method: str, path: str, options: dict[str, bytes], status: int
) -> None:
    """Refusals and failures carry the same headers as answers; a script would only see a network error otherwise."""
    answer = server.request(method, path, headers={"Origin": ORIGIN}, **options)
    assert (status, GRANTED, "Origin") == (answer.status_code, cors(answer), answer.headers["vary"])
    assert {} == cors(server.request(method, path, headers={"Origin": "https://evil.example"}, **options))


def test_what_a_plugin_says_about_cors_gives_way(server: Server) -> None:
    """The configured list decides; Vary of the plugin is kept."""
    answer = server.get("/any?headers=1", headers={"Origin": ORIGIN})
    assert (GRANTED, "1") == (cors(answer), answer.headers["x-own"])
    assert ["Accept-Encoding", "Origin"] == answer.headers.get_list("vary", split_commas=True)


def test_a_star_allows_everybody_without_credentials(launch: Launch) -> None:
    """Reflecting any origin with credentials would lend every visitor's cookies to every site."""
    server = launch({"any": PLUGIN}, ini_more=f"[cors]\nenabled=bool:true\norigin_url=list:* {ORIGIN}\n")
    open_to_all = {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": GRANTED["access-control-expose-headers"],
    }
    assert open_to_all == cors(server.get("/any", headers={"Origin": "https://evil.example"}))
    assert GRANTED == cors(server.get("/any", headers={"Origin": ORIGIN}))
    granted = preflight(server, origin="https://evil.example")
    assert (200, "*") == (granted.status_code, granted.headers["access-control-allow-origin"])
    assert "access-control-allow-credentials" not in granted.headers


@pytest.mark.parametrize("switch", ["enabled=bool:false\n", "enabled=off\n", ""])
def test_cors_that_is_not_enabled_says_nothing(launch: Launch, switch: str) -> None:
    """In pluginserver, bool:false was on."""
    server = launch({"any": PLUGIN}, ini_more=f"[cors]\n{switch}origin_url=list:{ORIGIN}\n")
    answer = server.get("/any", headers={"Origin": ORIGIN})
    assert ({}, False) == (cors(answer), "vary" in answer.headers)
    assert (204, {}) == (preflight(server).status_code, cors(preflight(server)))


def test_an_origin_without_a_type_prefix_is_a_list_of_one(launch: Launch) -> None:
    """In pluginserver the letters of such a text were the origins, so that no origin was allowed."""
    server = launch({"any": PLUGIN}, ini_more=f"[cors]\nenabled=bool:true\norigin_url={ORIGIN}\n")
    assert GRANTED == cors(server.get("/any", headers={"Origin": ORIGIN}))


def test_without_a_list_nobody_is_allowed_and_the_log_says_so(launch: Launch) -> None:
    """The server starts all the same."""
    server = launch({"any": PLUGIN}, ini_more="[cors]\nenabled=bool:true\n")
    server.wait_for(r"origin_url.*no origin is allowed")
    assert {} == cors(server.get("/any", headers={"Origin": ORIGIN}))
    assert 403 == preflight(server).status_code


def test_null_is_allowed_only_where_it_is_listed(launch: Launch) -> None:
    """Sandboxed frames and files send it."""
    server = launch({"any": PLUGIN}, ini_more="[cors]\nenabled=bool:true\norigin_url=list:null\n")
    assert "null" == server.get("/any", headers={"Origin": "null"}).headers["access-control-allow-origin"]


SETTINGS = f"""
[cors]
enabled = true
origin_url = {ORIGIN}
allow_headers = list:X-Odd Content-Type
expose_headers = X-Own
max_age = 10m
credentials = off

[plugin other]
origin_url = list:{OTHER}
"""


def test_headers_time_and_credentials_are_as_configured(launch: Launch) -> None:
    """A list replaces the usual one; what is not in it is refused."""
    server = launch({"any": PLUGIN}, ini_more=SETTINGS.partition("[plugin other]")[0])
    granted = preflight(server, headers="x-odd,content-type")
    assert {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "X-ODD,CONTENT-TYPE",
        "access-control-max-age": "600",
    } == cors(granted)
    assert (403, True) == (
        preflight(server, headers="authorization").status_code,
        "header authorization is not allowed" in preflight(server, headers="authorization").text,
    )
    assert {"access-control-allow-origin": ORIGIN, "access-control-expose-headers": "X-Own"} == cors(
        server.get("/any", headers={"Origin": ORIGIN})
    )


def test_scripts_may_trace_a_request_ask_for_changes_and_with_a_star_send_any_header(launch: Launch) -> None:
    """By the names that they ask for, since browsers take `*` for a name where cookies are sent."""
    server = launch({"any": PLUGIN}, ini_more=f"[cors]\nenabled=on\norigin_url={ORIGIN}\n")
    names = preflight(server, headers="traceparent,if-none-match").headers["access-control-allow-headers"]
    assert "TRACEPARENT,IF-NONE-MATCH" == names
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text() + "allow_headers = *\n")
    assert 200 == server.get("/reload/all").status_code
    assert "X-ODD" == preflight(server, headers="x-odd").headers["access-control-allow-headers"]


def test_a_plugin_may_have_origins_of_its_own(launch: Launch) -> None:
    """They replace those of `[cors]` for its requests, refusals and preflights; a reload changes them."""
    server = launch({"any": PLUGIN, "other": PLUGIN.replace("Any", "Other")}, ini_more=SETTINGS)
    for path, own, foreign in (("/any", ORIGIN, OTHER), ("/other", OTHER, ORIGIN), ("/plugins", ORIGIN, OTHER)):
        for below in ("", "?fail=1", "/x"):
            if path != "/plugins":
                answer = server.get(path + below, headers={"Origin": own})
                assert own == answer.headers["access-control-allow-origin"], (path, below)
            assert {} == cors(server.get(path + below, headers={"Origin": foreign})), (path, below)
        assert 200 == preflight(server, path, origin=own).status_code
        assert 403 == preflight(server, path, origin=foreign).status_code
        posted = server.post(path, headers={"Origin": own}, json={})
        assert own == posted.headers["access-control-allow-origin"]
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace(f"[plugin other]\norigin_url = list:{OTHER}\n", ""))
    assert 200 == server.get("/reload/all").status_code
    assert {} == cors(server.get("/other", headers={"Origin": OTHER}))
    assert 200 == preflight(server, "/other", origin=ORIGIN).status_code


def test_origins_of_a_plugin_are_not_used_while_cors_is_off(launch: Launch) -> None:
    """The log says so."""
    server = launch({"any": PLUGIN}, ini_more=f"[plugin any]\norigin_url = {ORIGIN}\n")
    server.wait_for(r"\[plugin any\] origin_url: is not used, since CORS is not enabled")
    assert {} == cors(server.get("/any", headers={"Origin": ORIGIN}))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("allow_headers = list:a b, c", "allow_headers: must be names of headers"),
        ("expose_headers = *", "expose_headers: must be names of headers"),
        ("max_age = 25h", "max_age: must be a time of at most 24 hours"),
        ("max_age = long", "max_age: must be a time of at most 24 hours"),
        ("credentials = perhaps", "credentials: must be on or off"),
    ],
)
def test_a_wrong_value_is_an_error_with_its_place(launch: Launch, line: str, message: str) -> None:
    """The start is refused with code 2."""
    server = launch({"any": PLUGIN}, ini_more=f"[cors]\nenabled = on\norigin_url = {ORIGIN}\n{line}\n", ready=False)
    assert 2 == server.wait()
    assert f"server.ini:11: [cors] {message}" in server.log
