"""The page at `/-/`: who gets it, how browsers log in, and what a session may do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from support.server import Launch, Server

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class Greet(BasePlugin):
    async def request_handler(self, **data):
        return 200, "hello"
"""

BLOCKING = """
import time
from plugincore.baseplugin import BasePlugin

class Block(BasePlugin):
    async def request_handler(self, **data):
        time.sleep(3)
        return 200, "done"
"""

KEYS = """
[keys]
admin = key=let-me-in&scopes=control
reader = key=read-only&scopes=metrics
"""

BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
#: What browsers send with a request of a page of the same origin.
FROM_PAGE = {"Sec-Fetch-Site": "same-origin"}
#: The same of a proxy in front of the server, for a client elsewhere.
ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}

VENDOR = Path(__file__).parent.parent.parent / "src/edge/control/page/vendor"


def log_in(server: Server, key: str = "let-me-in", **more: str) -> httpx.Response:
    """Log in as the page does."""
    return server.post("/-/api/login", json={"key": key}, headers={**FROM_PAGE, **more})


def session(server: Server) -> dict[str, str]:
    """Return the header of a browser that has logged in."""
    answer = log_in(server)
    assert answer.status_code == 200, answer.text
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_a_browser_finds_the_way_to_the_page_and_a_program_its_404(launch: Launch) -> None:
    """`/` is nobody's, so browsers get a link there."""
    server = launch({"greet": PLUGIN})
    answer = server.get("/", headers=BROWSER)
    assert answer.status_code == 200
    assert '<a href="/-/">' in answer.text
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    for headers in ({}, {"Accept": "application/json"}, {"Accept": "*/*"}):
        refused = server.get("/", headers=headers)
        assert (404, "not_found") == (refused.status_code, refused.json()["code"])
    assert server.post("/", headers=BROWSER).status_code == 404


@pytest.mark.parametrize(
    ("name", "kind"), [("", "text/html"), ("page/app.js", "text/javascript"), ("page/style.css", "text/css")]
)
def test_the_files_of_the_page_can_be_neither_framed_nor_mistaken(launch: Launch, name: str, kind: str) -> None:
    """With a strict policy, compressed, and with a tag by which they are not sent twice."""
    server = launch({"greet": PLUGIN})
    answer = server.get(f"/-/{name}", headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == ("no-cache" if name else "no-store")
    again = server.get(f"/-/{name}", headers={"Accept-Encoding": "gzip", "If-None-Match": answer.headers["etag"]})
    assert (304, "") == (again.status_code, again.text)
    assert server.get("/-/page/none.js").status_code == 404


def test_the_page_is_there_while_python_is_blocked(launch: Launch) -> None:
    """So is what it shows; nothing of it waits for Python."""
    server = launch({"block": BLOCKING})
    with server.connect() as connection:
        connection.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        for path in ("/-/", "/-/page/app.js", "/-/api/session", "/-/api/plugins", "/-/api/status"):
            assert server.get(path, timeout=2).status_code == 200, path


def test_switched_off_there_is_no_page(launch: Launch) -> None:
    """`[page] enabled=off`: nothing of it exists, and `/` is a 404 to browsers too."""
    server = launch({"greet": PLUGIN}, ini_more="[page]\nenabled = off\n" + KEYS)
    for path in ("/", "/-/", "/-/page/app.js", "/-/api/session"):
        assert server.get(path, headers=BROWSER).status_code == 404, path
    assert log_in(server).status_code == 404


def test_elsewhere_the_page_needs_https_and_a_key(launch: Launch) -> None:
    """A trusted proxy says who asks, and by what; without such a proxy only this machine counts as here."""
    https = {**ELSEWHERE, "X-Forwarded-Proto": "https"}
    without, keyed = launch({"greet": PLUGIN}), launch({"greet": PLUGIN}, ini_more=KEYS)
    for server, headers, status in (
        (without, {}, 200),
        (without, ELSEWHERE, 403),
        (without, https, 403),
        (keyed, {}, 200),
        (keyed, ELSEWHERE, 403),
        (keyed, https, 200),
    ):
        answer = server.get("/-/", headers=headers)
        assert status == answer.status_code
        assert status == 200 or answer.json()["code"] == "page_refused"
    assert log_in(keyed, **ELSEWHERE).status_code == 403
    assert "; Secure" in log_in(keyed, **https).headers["set-cookie"]
    landing = keyed.get("/", headers={**BROWSER, **ELSEWHERE})
    assert landing.status_code == 200
    assert "href" not in landing.text


def test_only_names_of_this_machine_and_listed_ones_show_the_page(launch: Launch) -> None:
    """Else a site could have its own name point here, and read what its visitors' browsers get."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS)
    for path in ("/-/", "/-/page/app.js", "/-/api/session"):
        for host, status in (("localhost", 200), ("127.0.0.1:1", 200), ("[::1]", 200), ("evil.example", 403)):
            assert status == server.get(path, headers={"Host": host}).status_code, (path, host)
    assert log_in(server, Host="evil.example", Origin="http://evil.example").json()["code"] == "host_refused"
    cookie = session(server)
    for path in ("/plugins", "/-/api/plugins"):
        assert server.get(path, headers={**cookie, "Host": "evil.example"}).json()["code"] == "host_refused"
    assert server.get("/greet", headers={"Host": "evil.example"}).status_code == 200


def test_a_listed_host_shows_the_page_without_a_key_too(launch: Launch) -> None:
    """`[network] hosts` names what no other site can have."""
    ini = "[network]\nbindto = 127.0.0.1\nport = 0\nhosts = list:app.example\n\n[paths]\nplugins = plugins\n"
    server = launch({"greet": PLUGIN}, ini=ini)
    for path in ("/-/", "/-/api/plugins", "/plugins"):
        assert server.get(path, headers={"Host": "app.example"}).status_code == 200, path


def test_a_log_in_gives_a_cookie_that_opens_what_the_key_opens(launch: Launch) -> None:
    """And that scripts, other sites and plain connections do not get."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS)
    assert server.get("/-/api/session").json() == {"required": True, "key": None}
    answer = log_in(server)
    assert answer.json() == {"required": True, "key": "admin"}
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"} == set(attributes)
    assert "let-me-in" not in cookie
    headers = {"Cookie": cookie}
    assert server.get("/-/api/session", headers=headers).json()["key"] == "admin"
    for path in ("/plugins", "/-/api/plugins", "/-/api/status", "/-/metrics"):
        assert server.get(path).status_code == 403, path
        opened = server.get(path, headers=headers)
        assert opened.status_code == 200, path
    assert server.get("/-/api/plugins", headers=headers).headers["cache-control"] == "no-store"
    changed = server.post("/-/api/plugins/greet/reload", json={}, headers={**headers, **FROM_PAGE})
    assert changed.json() == {"reloaded": "greet", "success": True}
    server.wait_for(r"127.0.0.1 - /-/api/login - with the key admin")
    server.wait_for(r"127.0.0.1 - /-/api/plugins/greet/reload - with the key admin")


def test_a_session_ends_with_its_log_out_and_with_its_key(launch: Launch) -> None:
    """At once; a reload that keeps the key keeps the session."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS)
    first, second = session(server), session(server)
    left = server.post("/-/api/logout", json={}, headers={**first, **FROM_PAGE})
    assert "Max-Age=0" in left.headers["set-cookie"]
    assert server.get("/plugins", headers=first).status_code == 403
    assert server.post("/reload/all", headers={"Authorization": "Bearer let-me-in"}).status_code == 200
    assert server.get("/plugins", headers=second).status_code == 200
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("admin = key=let-me-in", "admin = key=another"))
    assert server.post("/reload/all", headers={"Authorization": "Bearer let-me-in"}).status_code == 200
    assert server.get("/plugins", headers=second).status_code == 403
    server.wait_for(r"127.0.0.1 - /-/api/logout - with the key admin")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "none"},
        {"Content-Type": "application/json", "Origin": "http://evil.example"},
        {"Content-Type": "application/json", "Origin": "null"},
        {"Content-Type": "text/plain", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_session_changes_nothing_unless_the_page_asks_for_it(launch: Launch, headers: dict[str, str]) -> None:
    """Not for a form of another site, nor for a script that did not come from here."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS)
    cookie = session(server)
    for path in ("/-/api/plugins/greet/disable", "/-/api/drain", "/reload/greet"):
        refused = server.post(path, content="{}", headers={**cookie, **headers})
        assert (403, "session_refused") == (refused.status_code, refused.json()["code"]), path
    refused = server.post("/-/api/login", content='{"key": "let-me-in"}', headers=headers)
    assert (403, "session_refused") == (refused.status_code, refused.json()["code"])
    assert server.get("/-/ready").status_code == 200
    with_key = server.post("/-/api/plugins/greet/reload", headers={"Authorization": "Bearer let-me-in"})
    assert with_key.status_code == 200


def test_a_link_cannot_reload_with_a_session(launch: Launch) -> None:
    """`/reload/…` acts on GET, too, so a session alone is not enough for that."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS)
    cookie = session(server)
    assert server.get("/reload/greet", headers={**cookie, "Sec-Fetch-Site": "none"}).status_code == 403
    assert server.get("/reload/greet", headers={**cookie, **FROM_PAGE}).status_code == 200


def test_wrong_keys_lock_a_client_out_of_the_log_in(launch: Launch) -> None:
    """As everywhere; a key for something else opens nothing."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS + "[limits]\nwrong_keys = 3/m\n")
    assert log_in(server, "read-only").status_code == 403
    assert [403, 403, 403, 429] == [log_in(server, "wrong").status_code for _ in range(4)]
    assert log_in(server).status_code == 429
    assert log_in(server, **ELSEWHERE, **{"X-Forwarded-Proto": "https"}).status_code == 200


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"key": 5}', "let-me-in", "\xff"])
def test_a_log_in_that_is_no_log_in_is_a_bad_request(launch: Launch, body: str) -> None:
    """Nothing that was sent comes back."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS)
    headers = {**FROM_PAGE, "Content-Type": "application/json"}
    answer = server.post("/-/api/login", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code == 400
    assert "let-me-in" not in answer.text


def test_the_last_hour_is_kept_in_samples(launch: Launch) -> None:
    """For the server and each plugin that had requests; readers of events get them if they want to."""
    server = launch({"greet": PLUGIN, "idle": PLUGIN.replace("Greet", "Idle")})
    with server.client() as client:
        for _ in range(20):
            client.get("/greet")
        client.get("/none")
        with client.stream("GET", "/-/api/events?figures=1", timeout=20) as events:
            lines = iter(events.iter_lines())
            while next(lines) != "event: figures":
                pass
            figures = json.loads(next(lines).removeprefix("data: "))
        history = client.get("/-/api/history").json()
    assert (5, ["requests", "errors", "in_flight", "p50", "p99"]) == (history["interval"], history["columns"])
    assert 20 == sum(sample[0] for sample in history["plugins"]["greet"])
    assert any(sample[3] > 0 for sample in history["plugins"]["greet"] if sample[0])
    assert "idle" not in history["plugins"]
    assert sum(sample[0] for sample in history["server"]) >= 21
    assert 1 == history["refusals"]["not_found"]
    assert {"time", "server", "plugins", "refusals"} == figures.keys()


def test_keys_are_shown_by_name_with_their_last_use(launch: Launch) -> None:
    """Which a reload keeps; never a key or its hash."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS + "old = key=o&scopes=greet,*&expires=2001-01-01\n")
    with server.client(headers={"Authorization": "Bearer let-me-in"}) as client:
        client.post("/reload/all")
        answer = client.get("/-/api/keys")
    shown = {key.pop("name"): key for key in answer.json()["keys"]}
    assert {"admin", "old", "reader"} == shown.keys()
    assert shown["old"] == {"scopes": ["greet", "*"], "expires": "2001-01-01", "expired": True, "last_used": None}
    assert shown["reader"]["last_used"] is None
    assert shown["admin"]["last_used"].endswith("Z")
    assert "let-me-in" not in answer.text


def test_the_log_can_be_read_from_where_a_reader_stopped(launch: Launch) -> None:
    """Lines of plugins and of the server, in order."""
    source = PLUGIN.replace("return 200", "self.log.warn('sold out')\n        return 200")
    server = launch({"greet": source})
    server.get("/greet")
    lines = server.get("/-/api/log").json()["lines"]
    assert [line["number"] for line in lines] == sorted(line["number"] for line in lines)
    assert any(line["text"].startswith("Server started on ") for line in lines)
    sold = next(line for line in lines if "sold out" in line["text"])
    assert sold["level"] == "WARN"
    later = server.get(f"/-/api/log?after={sold['number']}").json()["lines"]
    assert all(line["number"] > sold["number"] for line in later)


def test_the_configuration_is_shown_without_secrets(launch: Launch) -> None:
    """With the place of each value; sections of plugins are their own."""
    more = "[plugin_parms]\ngreet = auth_type=none&db_password=hidden\n[shop]\nsecret = hidden\n"
    server = launch({"greet": PLUGIN}, ini_more=KEYS + more, env={"PLUGINCORE_AUTH_APIKEY": "hidden-too"})
    answer = server.get("/-/api/config", headers={"Authorization": "Bearer let-me-in"})
    assert answer.json()["file"].endswith("server.ini")
    sections = {section["name"]: section["items"] for section in answer.json()["sections"]}
    assert "shop" not in sections
    assert {"key": "bindto", "value": "127.0.0.1", "place": "server.ini:2"} in sections["network"]
    assert sections["auth"][0]["place"] == "environment variable PLUGINCORE_AUTH_APIKEY"
    for secret in ("hidden", "let-me-in", "read-only"):
        assert secret not in answer.text


@pytest.mark.parametrize("path", ["history", "keys", "log", "config"])
def test_what_the_page_shows_needs_a_key_that_controls(launch: Launch, path: str) -> None:
    """Not one for metrics, and not none."""
    server = launch({"greet": PLUGIN}, ini_more=KEYS)
    assert server.get(f"/-/api/{path}").status_code == 403
    assert server.get(f"/-/api/{path}", headers={"Authorization": "Bearer read-only"}).status_code == 403
    assert server.get(f"/-/api/{path}", headers={"Authorization": "Bearer let-me-in"}).status_code == 200


def test_what_others_wrote_is_what_they_published() -> None:
    """Each file of another project is that of its package, with its licence, and listed with version and hash."""
    listed = json.loads((VENDOR / "vendor.json").read_text())
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDOR.iterdir()}
    del found["vendor.json"]
    assert found == {name: digest for package in listed for name, digest in package["files"].items()}
    for package in listed:
        assert package["licence"] in (VENDOR / f"LICENSE.{package['name']}").read_text()
        assert package["integrity"].startswith("sha512-")
