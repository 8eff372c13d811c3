"""`/-/metrics`: what is counted, who may read it, and in which formats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics

from support.metrics import increase, labelled, parsed, read, value
from support.server import Launch, Server, serving

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class Shop(BasePlugin):
    http_methods = ("GET", "POST", "PUT")

    async def request_handler(self, *, code="200", **data):
        if code == "raise":
            raise LookupError("no such thing")
        return int(code), {}
"""

GUARDED = """
from plugincore.baseplugin import BasePlugin

class Guarded(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(auth_type="key", **kwargs)

    async def request_handler(self, **data):
        return 200, {}
"""

#: Sleeps in the handler, so that Python does nothing else.
BLOCKING = """
import time
from pathlib import Path
from plugincore.baseplugin import BasePlugin

class Blocking(BasePlugin):
    def request_handler(self, **data):
        while not Path("go").exists():
            time.sleep(0.01)
        return 200, {}
"""

KEYS = """
[auth]
challenge = false
[keys]
scraper = key=s3cret&scopes=metrics
operator = key=c0ntrol&scopes=control
shopper = key=sh0p&scopes=guarded
former = key=0ld&scopes=guarded,metrics&expires=2020-01-01
"""

LIMITS = """
[limits]
body_size = 1000
target_size = 1000
"""

REQUESTS = "plugincore_requests_total"
DURATION = "plugincore_request_duration_seconds"
REFUSALS = "plugincore_refusals_total"

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

PAGE = (Path(__file__).parent.parent.parent / "docs" / "metrics.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve without keys."""
    with serving(tmp_path_factory.mktemp("metrics"), {"shop": PLUGIN}, LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with keys."""
    with serving(tmp_path_factory.mktemp("keyed"), {"guarded": GUARDED}, KEYS) as running:
        yield running


def test_requests_are_counted_by_plugin_method_and_code(server: Server) -> None:
    """Each once, whatever the plugin answers."""
    made = {("GET", "200"): 3, ("POST", "201"): 2, ("PUT", "503"): 1, ("GET", "418"): 1}
    before = read(server)
    for (method, code), times in made.items():
        for _ in range(times):
            assert int(code) == server.request(method, "/shop", params={"code": code}).status_code
    after = read(server)
    for (method, code), times in made.items():
        assert times == increase(before, after, REQUESTS, plugin="shop", method=method, code=code)
    assert sum(made.values()) == increase(before, after, f"{DURATION}_count", plugin="shop")
    assert increase(before, after, f"{DURATION}_sum", plugin="shop") > 0
    assert value(after, f"{DURATION}_count", plugin="shop") == value(
        after, f"{DURATION}_bucket", plugin="shop", le="+Inf"
    )
    assert increase(before, after, "plugincore_http_requests_total", version="1.1") == sum(made.values()) + 1


def test_what_no_plugin_answers_is_counted_under_one_name(server: Server) -> None:
    """However many addresses a client makes up, and for heads that are no requests, too."""
    before = read(server)
    for number in range(5):
        assert 404 == server.get(f"/nothing-{number}").status_code
    assert 405 == server.request("BREW", "/shop").status_code
    assert server.raw(b"GET /shop HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert server.raw(b"\x00\x01\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    after = read(server)
    assert 5 == increase(before, after, REQUESTS, plugin="-", method="GET", code="404")
    assert 1 == increase(before, after, REQUESTS, plugin="shop", method="other", code="405")
    assert 1 == increase(before, after, REQUESTS, plugin="-", method="GET", code="400")
    assert 1 == increase(before, after, REQUESTS, plugin="-", method="other", code="400")
    assert 5 == increase(before, after, REFUSALS, plugin="-", reason="not_found")
    assert 1 == increase(before, after, REFUSALS, plugin="shop", reason="not_found")
    assert 2 == increase(before, after, REFUSALS, plugin="-", reason="malformed")
    assert {"-", "shop"} == labelled(after, REQUESTS, "plugin")


def test_refusals_are_counted_by_their_reason(keyed: Server, launch: Launch) -> None:
    """For the plugin that they concern."""
    with_key = {"headers": {"Authorization": "Bearer s3cret"}}
    before = read(keyed, **with_key)
    assert [403, 403, 403] == [keyed.get("/guarded", params={"apikey": key}).status_code for key in ("", "x", "s3cret")]
    assert 403 == keyed.get("/guarded", params={"apikey": "0ld"}).status_code
    after = read(keyed, **with_key)
    assert 3 == increase(before, after, REFUSALS, plugin="guarded", reason="wrong_key")
    assert 1 == increase(before, after, REFUSALS, plugin="guarded", reason="expired")
    limited = launch({"shop": PLUGIN}, ini_more="[plugin shop]\nrate = 1/h\nrate_burst = 1\nbody_size = 10\n")
    assert [200, 429] == [limited.get("/shop").status_code for _ in range(2)]
    assert 200 == limited.post("/-/api/plugins/shop/disable").status_code
    assert 503 == limited.get("/shop").status_code
    figures = read(limited)
    for reason in ("rate", "overload"):
        assert 1 == value(figures, REFUSALS, plugin="shop", reason=reason)
    assert 1 == value(figures, "plugincore_plugins", state="disabled")


def test_a_body_over_the_limit_is_counted_as_such(server: Server) -> None:
    """And so is a target that is too long."""
    before = read(server)
    assert 413 == server.post("/shop", content=b"x" * 1001).status_code
    assert 414 == server.get("/" + "x" * 1001).status_code
    after = read(server)
    assert 1 == increase(before, after, REFUSALS, plugin="shop", reason="limit")
    assert 1 == increase(before, after, REFUSALS, plugin="-", reason="limit")


def test_exceptions_are_counted_by_their_type(server: Server) -> None:
    """Beside the 500 that the client gets."""
    before = read(server)
    assert 500 == server.get("/shop?code=raise").status_code
    after = read(server)
    assert 1 == increase(before, after, "plugincore_exceptions_total", plugin="shop", type="LookupError")
    assert 1 == increase(before, after, REQUESTS, plugin="shop", method="GET", code="500")
    assert 0 == increase(before, after, f"{REFUSALS}", plugin="shop", reason="malformed")


def test_figures_go_on_over_a_reload_and_go_with_their_plugin(launch: Launch) -> None:
    """A new version counts on in the same series."""
    server = launch({"shop": PLUGIN, "other": PLUGIN.replace("Shop", "Other")})
    assert [200, 200] == [server.get(path).status_code for path in ("/shop", "/other")]
    (server.plugins / "shop.py").write_text(PLUGIN + "\n# another version\n")
    (server.plugins / "other.py").unlink()
    assert 200 == server.post("/reload/all").status_code
    assert 200 == server.get("/shop").status_code
    figures = read(server)
    assert 2 == value(figures, REQUESTS, plugin="shop", method="GET", code="200")
    assert 2 == value(figures, "plugincore_plugin_generation", plugin="shop")
    assert {"-", "shop"} == labelled(figures, REQUESTS, "plugin")


def test_the_figures_come_while_a_plugin_blocks_python(launch: Launch) -> None:
    """And show its requests in flight."""
    server = launch({"blocking": BLOCKING})
    with server.client() as client, server.connect() as blocked:
        blocked.sendall(b"GET /blocking HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while not value(parsed(client.get("/-/metrics").text), "plugincore_requests_in_flight", plugin="blocking"):
            pass
        figures = parsed(client.get("/-/metrics").text)
        assert (1, 1) == (value(figures, "plugincore_ready"), value(figures, "plugincore_plugins", state="serving"))
        assert value(figures, "plugincore_connections_open") >= 2
        (server.folder / "go").touch()
        assert blocked.recv(12) == b"HTTP/1.1 200"


def test_openmetrics_is_sent_to_those_who_accept_it(server: Server) -> None:
    """All others get the text of Prometheus, which says the same."""
    plain = server.get("/-/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == plain.headers["content-type"]
    assert "no-store" == plain.headers["cache-control"]
    answer = server.get("/-/metrics", headers={"Accept": OPENMETRICS})
    assert f"{OPENMETRICS}; charset=utf-8" == answer.headers["content-type"]
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(answer.text)}
    assert "counter" == families["plugincore_requests"].type
    assert "seconds" == families["plugincore_request_duration_seconds"].unit
    names = {sample.name for family in families.values() for sample in family.samples}
    assert {name for name, _ in parsed(plain.text)} == names
    head = server.request("HEAD", "/-/metrics")
    assert (200, b"") == (head.status_code, head.content)


def test_the_documentation_lists_each_figure(server: Server) -> None:
    """With its type, its labels and its meaning."""
    text = server.get("/-/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    meanings = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|(.*)\| (.*) \|$", PAGE, re.MULTILINE)
    assert [(name, kind, meanings[name]) for name, kind in kinds.items()] == [
        (name, kind, meaning) for name, kind, _, meaning in rows
    ]
    documented = {name: set(re.findall(r"\w+", labels)) for name, _, labels, _ in rows}
    for name, labels in parsed(text):
        family = name if name in kinds else re.sub(r"_(bucket|count|sum)$", "", name)
        assert documented[family] == set(dict(labels)) - {"le"}, name


def test_without_keys_they_are_for_this_machine_alone(server: Server) -> None:
    """And not for web pages of other sites."""
    assert 200 == server.get("/-/metrics").status_code
    for headers in (
        {"X-Forwarded-For": "192.0.2.7"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
    ):
        answer = server.get("/-/metrics", headers=headers)
        assert 403 == answer.status_code, headers
        assert "plugincore_" not in answer.text


def test_with_keys_one_of_scope_metrics_or_control_is_required(keyed: Server) -> None:
    """Also on this machine; a key for a plugin does not do."""

    def status(key: str | None, **options: object) -> int:
        headers = {"X-Forwarded-For": "192.0.2.9"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
        return keyed.get("/-/metrics", headers=headers, **options).status_code

    assert 403 == keyed.get("/-/metrics").status_code
    assert [200, 200] == [status("s3cret"), status("c0ntrol")]
    assert [403, 403, 403] == [status(None), status("sh0p"), status("0ld")]
    assert 200 == keyed.get("/-/metrics", params={"apikey": "s3cret"}).status_code
    assert 403 == keyed.get("/plugins", params={"apikey": "s3cret"}).status_code


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "BREW"])
def test_they_are_read_only(keyed: Server, method: str) -> None:
    """Whatever the key."""
    answer = keyed.request(method, "/-/metrics")
    assert (405, "GET, HEAD, OPTIONS") == (answer.status_code, answer.headers["allow"])
    options: httpx.Response = keyed.request("OPTIONS", "/-/metrics")
    assert (204, "GET, HEAD, OPTIONS") == (options.status_code, options.headers["allow"])
