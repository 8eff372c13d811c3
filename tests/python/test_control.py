"""The server's own addresses: who may use them, which methods they answer, and the same for routes in general."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from support.errors import without_ids
from support.server import Launch, Server, serving

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, {{"subpath": data["subpath"], "client_ip": data["client_ip"]}}
"""

PLUGINS = {"beta": PLUGIN.format(name="Beta"), "alpha": PLUGIN.format(name="Alpha")}

ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}

UNAUTHORIZED = (403, {"error": "unauthorized"})


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with a key."""
    with serving(tmp_path_factory.mktemp("keyed"), PLUGINS, "[auth]\napikey=k\n[limits]\nwrong_keys=none\n") as running:
        yield running


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve without one."""
    with serving(tmp_path_factory.mktemp("keyless"), PLUGINS) as running:
        yield running


def seen(answer: httpx.Response) -> tuple[int, object]:
    """Status and body."""
    return answer.status_code, without_ids(answer.json())


def test_plugins_lists_the_ids_in_load_order(keyed: Server) -> None:
    """Which is the order of the files' names."""
    expected = (200, {"loaded_plugins": ["alpha", "beta"]})
    assert expected == seen(keyed.get("/plugins", headers={"Authorization": "Bearer k"}))
    assert expected == seen(keyed.get("/plugins", headers={"X-Custom-Auth": "k"}))
    assert expected == seen(keyed.get("/plugins?apikey=k"))
    assert expected == seen(keyed.post("/plugins?apikey=k"))
    assert expected == seen(keyed.post("/plugins", json={"apikey": "k"}))
    assert expected == seen(keyed.post("/plugins", data={"apikey": "k"}))


@pytest.mark.parametrize("path", ["/plugins", "/reload/alpha", "/reload/all", "/reload/nobody"])
def test_the_servers_key_guards_its_addresses(keyed: Server, path: str) -> None:
    """Without it a client does not even learn which plugins there are."""
    # A client for each path, since of each client only so many refusals are logged in a minute.
    client = f"192.0.2.{len(path)}"
    headers = {"X-Forwarded-For": client}
    assert UNAUTHORIZED == seen(keyed.get(path, headers=headers))
    assert UNAUTHORIZED == seen(keyed.get(path, params={"apikey": "wrong"}, headers=headers))
    assert UNAUTHORIZED == seen(keyed.post(path, json={"apikey": "wrong"}, headers=headers))
    assert UNAUTHORIZED == seen(keyed.post(path, content=b"x" * 1000, headers=headers))
    keyed.wait_for(rf"{re.escape(client)} - request for {path} - Not authorized")


def test_with_the_key_a_reload_may_come_from_anywhere(keyed: Server) -> None:
    """By GET and POST, the key in any of its places."""
    assert (200, {"reloaded": "alpha", "success": True}) == seen(keyed.get("/reload/alpha?apikey=k", headers=ELSEWHERE))
    assert 200 == keyed.post("/reload/all", json={"apikey": "k"}, headers=ELSEWHERE).status_code
    assert (404, {"error": 'Plugin "nobody" not found'}) == seen(keyed.get("/reload/nobody?apikey=k"))


def test_without_a_key_the_list_is_open(keyless: Server) -> None:
    """To every client, as it was in pluginserver."""
    assert 200 == keyless.get("/plugins").status_code
    assert 200 == keyless.get("/plugins", headers=ELSEWHERE).status_code


def test_an_empty_key_is_no_key_and_is_warned_of(launch: Launch) -> None:
    """It guards nothing, and does not pretend to."""
    server = launch(PLUGINS, ini_more="[auth]\napikey=\n")
    server.wait_for(r"WARN.*\[auth\] apikey: is empty, which is the same as no key")
    assert 200 == server.get("/plugins?apikey=").status_code
    assert 403 == server.get("/reload/alpha?apikey=", headers=ELSEWHERE).status_code


@pytest.mark.parametrize("path", ["/reload/alpha", "/reload/all", "/reload/nobody"])
def test_without_a_key_a_reload_is_taken_only_from_this_machine(keyless: Server, path: str) -> None:
    """What changes the server's state is not for strangers."""
    for answer in (keyless.get(path, headers=ELSEWHERE), keyless.post(path, headers=ELSEWHERE)):
        assert 403 == answer.status_code
        assert "apikey in section [auth]" in answer.json()["error"]
    assert (404 if path.endswith("nobody") else 200) == keyless.get(path).status_code


def test_health_and_readiness_are_open_to_all(keyed: Server) -> None:
    """Monitoring needs no key."""
    assert (200, {"status": "healthy"}) == seen(keyed.get("/-/healthy", headers=ELSEWHERE))
    assert (200, {"status": "ready"}) == seen(keyed.get("/-/ready"))
    for path in ("/-/healthy", "/-/ready"):
        head = keyed.request("HEAD", path)
        assert (200, b"") == (head.status_code, head.content)


GENERAL = "GET, HEAD, POST, OPTIONS"
HEALTH = "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/alpha", GENERAL),
        ("/alpha/a/b", GENERAL),
        ("/plugins", GENERAL),
        ("/reload/all", "GET, POST, OPTIONS"),
        ("/-/healthy", HEALTH),
        ("/-/ready", HEALTH),
    ],
)
def test_a_method_that_an_address_does_not_have_is_a_405(keyed: Server, method: str, path: str, allow: str) -> None:
    """With the methods that it does have, and before any key is required."""
    answer = keyed.request(method, path)
    assert (405, allow) == (answer.status_code, answer.headers["allow"])
    assert {"error": f"method not allowed; this address answers {allow}"} == without_ids(answer.json())
    options = keyed.request("OPTIONS", path)
    assert (204, allow, b"") == (options.status_code, options.headers["allow"], options.content)


@pytest.mark.parametrize(
    "path",
    ["/", "/nobody", "/Alpha", "/alphabet", "/plugins/", "/reload", "/reload/", "/-", "/-/unknown", "/-/x", "//alpha"],
)
def test_an_unknown_path_is_a_404_for_every_method(keyed: Server, path: str) -> None:
    """In JSON, with an id to look for in the log."""
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        answer = keyed.request(method, path)
        assert (404, {"error": "not found"}) == seen(answer)
        assert answer.headers["x-request-id"]


def test_a_request_id_of_the_client_is_kept(keyed: Server) -> None:
    """If it is one; anything else is replaced."""
    for sent, kept in (("abc-123", True), ("a b", False), ("x" * 129, False), ("é", False)):
        answer = keyed.get("/nobody", headers=[(b"X-Request-Id", sent.encode())])
        assert kept == (sent == answer.headers["x-request-id"]), sent


def test_a_file_named_like_an_address_of_the_server_is_not_served(launch: Launch) -> None:
    """The server's own addresses stay its own; the plugin is reported with the remedy."""
    server = launch({"plugins": PLUGIN.format(name="Plugins"), "alpha": PLUGIN.format(name="Alpha")})
    assert {"loaded_plugins": ["alpha"]} == server.get("/plugins").json()
    server.wait_for(r"belongs to the server; choose another route_path")


@pytest.mark.parametrize(
    ("site", "expected"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_a_web_page_elsewhere_cannot_reload_through_the_browser_of_this_machine(
    launch: Launch, site: str, expected: int
) -> None:
    """Without a key, loopback is no proof of intent when a browser names another site's page as the origin."""
    server = launch()
    assert expected == server.get("/reload/all", headers={"Sec-Fetch-Site": site}).status_code
    assert 200 == server.get("/plugins", headers={"Sec-Fetch-Site": site}).status_code


@pytest.mark.parametrize("path", ["/plugins", "/reload/alpha", "/reload/all"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:9192"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_without_a_key_no_page_of_another_site_is_answered(keyless: Server, path: str, headers: dict[str, str]) -> None:
    """Not even under a name that its owner directs here; the answer names the fix."""
    for method in ("GET", "POST"):
        answer = keyless.request(method, path, headers=headers)
        assert 403 == answer.status_code
        assert "apikey in section [auth]" in answer.json()["error"]
        assert "http://127.0.0.1" in answer.json()["error"]


def test_without_a_key_the_servers_own_names_and_pages_are_answered(keyless: Server) -> None:
    """Under an address or `localhost`, from the same origin, and by clients that name no host."""
    port = keyless.port
    for headers in (
        {"Host": f"localhost:{port}"},
        {"Host": "[::1]"},
        {"Host": "192.0.2.1:80"},
        {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}"},
    ):
        assert [200, 200] == [keyless.get(path, headers=headers).status_code for path in ("/plugins", "/reload/alpha")]
    assert keyless.raw(b"GET /plugins HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_with_a_key_a_host_of_any_name_is_answered(keyed: Server) -> None:
    """No page can know the key, and health is not a secret."""
    headers = {"Host": "server.example", "Origin": "https://evil.example"}
    assert 200 == keyed.get("/plugins?apikey=k", headers=headers).status_code
    assert 200 == keyed.get("/-/healthy", headers=headers).status_code


def test_an_origin_that_cors_names_is_no_stranger(launch: Launch) -> None:
    """Its pages may ask for the list, as before; those that `*` lets in may not."""
    server = launch(PLUGINS, ini_more="[cors]\nenabled = on\norigin_url = list:https://app.example *\n")
    asked = [server.get("/plugins", headers={"Origin": f"https://{name}.example"}).status_code for name in ("app", "x")]
    assert [200, 403] == asked


@pytest.mark.parametrize("entry", ["unknown", "_hidden", "localhost", '"127.0.0.1"', "", "127.0.0.1, unknown"])
def test_an_entry_of_a_proxy_that_is_no_address_is_a_stranger(keyless: Server, entry: str) -> None:
    """It is not the proxy itself, which is on this machine."""
    headers = {"X-Forwarded-For": entry}
    assert 403 == keyless.get("/reload/all", headers=headers).status_code
    assert "unknown" == keyless.get("/alpha", headers=headers).json()["client_ip"]


def test_every_answer_that_tells_of_trouble_has_a_request_id(launch: Launch) -> None:
    """Refusals, failed reloads and a plugin's own 404 can be found in the log by the id that the client chose."""
    source = """
    from plugincore.baseplugin import BasePlugin

    class Shop(BasePlugin):
        def request_handler(self, **data):
            return int(data["code"]), {}
    """
    server = launch({"shop": source})
    for path in ["/nowhere", "/reload/nowhere", "/shop?code=404", "/shop?code=503", "/shop?code=x", "/shop?code=99"]:
        assert "my-id" == server.get(path, headers={"X-Request-Id": "my-id"}).headers["x-request-id"], path
    assert "x-request-id" not in server.get("/shop?code=200").headers
