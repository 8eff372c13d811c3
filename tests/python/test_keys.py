"""Named keys: `[keys]`, their scopes, expiry and rotation, and what plugins and the log get to know of them."""

from __future__ import annotations

import datetime
import hashlib
import json
import signal
from pathlib import Path

import pytest

from support.errors import without_ids
from support.server import Launch, Server
from support.wait import wait_until

PLUGIN = """
from plugincore import configfile
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        config = [self.config, configfile.masterConfig, self.args["config"]]
        seen = [repr({{name: dict(section) for name, section in each.items()}}) for each in config] + [repr(self.args)]
        return 200, {{"in": self._plugin_id, "key": data["request"].key_name, "seen": seen}}
"""

CHECKS = """
    def _check_auth(self, data):
        return "deny" not in data and super()._check_auth(data)
"""

PASSES_ON = """
    async def handle_request(self, **data):
        return await super().handle_request(**data)
"""

PLUGINS = {
    "greet": PLUGIN.format(name="Greet"),
    "clock": PLUGIN.format(name="Clock"),
    "checks": PLUGIN.format(name="Checks") + CHECKS,
    "passes": PLUGIN.format(name="Passes") + PASSES_ON,
    "common": PLUGIN.format(name="Common"),
    "own": PLUGIN.format(name="Own"),
    "free": PLUGIN.format(name="Free"),
}


FAILS = """
from plugincore.baseplugin import BasePlugin

class Fails(BasePlugin):
    async def request_handler(self, subpath, **data):
        if subpath == "raise":
            raise ValueError("on purpose")
        return 200, {"this": object()}
"""

FAILS_KEYS = """
[keys]
two = key=s3cret-two&scopes=fails

[plugin_parms]
fails = auth_type=key
"""


def sha256(key: str) -> str:
    """Return what stands for a key in the ini file."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


KEYS = f"""
[limits]
wrong_keys = none

[auth]
apikey = s3cret-server

[keys]
everywhere = hash={sha256("s3cret-everywhere")}&scopes=*
two = key=s3cret-two&scopes=greet,checks&expires=2901-06-30
old-two = key=s3cret-old-two&scopes=greet
file = file=greet.key&scopes=greet
late = key=s3cret-late&scopes=*,control&expires=2001-01-01
ops = key=s3cret-ops&scopes=control

[plugin_parms]
greet = auth_type=key
clock = auth_type=KEY
checks = auth_type=key
passes = auth_type=key
common = auth_type=global
own = auth_type=plugin&apikey=s3cret-own
"""


def opens(server: Server, path: str, key: str) -> bool:
    """Whether a key opens a path; anything but yes and no is a failure."""
    status = server.get(path, headers={"Authorization": f"Bearer {key}"}).status_code
    assert status in (200, 403), (path, key, status)
    return status == 200


def keyed(launch: Launch, keys: str = KEYS) -> Server:
    """Start a server whose plugins ask for keys of all kinds."""
    return launch(PLUGINS | {"../greet.key": "s3cret-file\n"}, ini_more=keys)


def test_a_key_opens_what_its_scopes_name_and_nothing_else(launch: Launch) -> None:
    """Whether it is in the ini file as a hash or in plain text, or in a file; several are alive at once."""
    server = keyed(launch)
    expected = {
        "s3cret-everywhere": {"greet", "clock", "checks", "passes", "free"},
        "s3cret-two": {"greet", "checks", "free"},
        "s3cret-old-two": {"greet", "free"},
        "s3cret-file": {"greet", "free"},
        "s3cret-ops": {"plugins", "-/api/plugins", "free"},
        "s3cret-server": {"greet", "clock", "checks", "passes", "common", "plugins", "-/api/plugins", "free"},
        "s3cret-own": {"own", "free"},
        "s3cret-late": {"free"},
        "s3cret-unknown": {"free"},
    }
    paths = [*(name for name in PLUGINS), "plugins", "-/api/plugins"]
    for key, opened in expected.items():
        assert opened == {path for path in paths if opens(server, f"/{path}", key)}, key


def test_the_name_of_the_key_reaches_the_plugin_and_the_key_does_not(launch: Launch) -> None:
    """Neither by the request nor by the configuration."""
    server = keyed(launch)
    names = {
        ("greet", "s3cret-everywhere"): "everywhere",
        ("checks", "s3cret-two"): "two",
        ("passes", "s3cret-everywhere"): "everywhere",
        ("greet", "s3cret-server"): "default",
        ("common", "s3cret-server"): "default",
        ("own", "s3cret-own"): None,
        ("free", "s3cret-everywhere"): None,
    }
    for (path, key), name in names.items():
        for options in ({"headers": {"X-Custom-Auth": key}}, {"json": {"apikey": key}}, {"params": {"apikey": key}}):
            seen = server.post(f"/{path}", **options).json()
            assert (path, name) == (seen["in"], seen["key"])
    # `[auth]` and `[plugin_parms]` are there as ever.
    shown = "".join(server.get("/greet", headers={"X-Custom-Auth": "s3cret-two"}).json()["seen"])
    assert "s3cret-server" in shown
    assert not [word for word in ("s3cret-two", "everywhere", "sha256", "'keys'") if word in shown]


def test_the_line_of_a_failed_request_names_its_key(launch: Launch) -> None:
    """In text and in JSON, of an exception and of a result that cannot be sent; without a named key, none is named."""
    for more in ("", "[log]\nformat = json\n"):
        server = launch({"fails": FAILS, "free": FAILS.replace("Fails", "Free")}, ini_more=FAILS_KEYS + more)
        for plugin, key in (("fails", "two"), ("free", None)):
            for way, expected in (("raise", "on purpose"), ("send", "cannot be sent")):
                since = len(server.lines)
                headers = {"Authorization": "Bearer s3cret-two", "X-Request-Id": f"{plugin}-{way}"}
                assert 500 == server.get(f"/{plugin}/{way}", headers=headers).status_code
                line = server.wait_for(expected, since) if more else server.wait_for(f"{plugin}-{way}", since)
                if more:
                    assert key == json.loads(line).get("key")
                else:
                    assert f"request {plugin}-{way}{f' key={key}' if key else ''}: " in line
        assert "s3cret" not in server.log


def test_a_plugins_own_check_may_refuse_what_the_key_would_open(launch: Launch) -> None:
    """And asks for the key through the method that it overrides."""
    server = keyed(launch)
    headers = {"X-Custom-Auth": "s3cret-two"}
    assert 200 == server.get("/checks", headers=headers).status_code
    assert 403 == server.get("/checks?deny=1", headers=headers).status_code
    assert 403 == server.get("/checks", headers={"X-Custom-Auth": "s3cret-old-two"}).status_code
    assert 403 == server.get("/checks").status_code


def test_the_log_names_a_key_that_has_expired_or_is_not_for_the_plugin_and_never_shows_one(launch: Launch) -> None:
    """A wrong key, which has no name, is logged as ever."""
    server = keyed(launch)
    for key, line in [
        ("s3cret-late", "127.0.0.1 - request for greet - Not authorized: the key late has expired"),
        ("s3cret-ops", "127.0.0.1 - request for greet - Not authorized: the key ops is not for it"),
        ("s3cret-wrong", r"127.0.0.1 - request for greet - Not authorized$"),
    ]:
        for options in ({"headers": {"X-Custom-Auth": key}}, {"params": {"apikey": key}}):
            mark = len(server.lines)
            assert {"error": "unauthorized"} == without_ids(server.post("/greet", **options).json())
            server.wait_for(line, mark)
    assert not [line for line in server.lines if "s3cret" in line]


def test_a_key_of_scope_control_is_asked_for_where_the_server_is_controlled(launch: Launch) -> None:
    """Without `[auth] apikey` too; one that has expired leaves nothing open. The log names it."""
    only = "[keys]\nops = key=s3cret-ops&scopes=control\nall = key=s3cret-all&scopes=*\n"
    server = launch({"free": PLUGINS["free"]}, ini_more=only)
    for path in ("/plugins", "/reload/free", "/reload/all", "/-/api/plugins", "/-/api/status"):
        assert (True, False, False) == tuple(opens(server, path, key) for key in ("s3cret-ops", "s3cret-all", "-"))
        assert 403 == server.get(path).status_code
    server.wait_for(r"127.0.0.1 - /reload/all - with the key ops")
    server.end()
    expired = "[keys]\nops = key=s3cret-ops&scopes=control&expires=2001-01-01\n"
    server = launch({"free": PLUGINS["free"]}, ini_more=expired)
    assert 403 == server.get("/plugins").status_code
    assert not opens(server, "/reload/all", "s3cret-ops")


def test_a_reload_adds_changes_and_removes_keys_at_once(launch: Launch) -> None:
    """Without loading a plugin anew; a mistake in the file changes nothing."""
    server = keyed(launch)
    ini = server.folder / "server.ini"
    before = ini.read_text()
    after = before.replace("old-two = key=s3cret-old-two", "new = key=s3cret-new").replace(
        "key=s3cret-two", "key=s3cret-2"
    )
    (server.folder / "greet.key").write_text("s3cret-other-file")

    def reload() -> int:
        return server.get("/reload/all", headers={"X-Custom-Auth": "s3cret-server"}).status_code

    ini.write_text(after + "[server]\nio_threads = none\n")
    assert 500 == reload()
    old = ("s3cret-old-two", "s3cret-two", "s3cret-file")
    new = ("s3cret-new", "s3cret-2", "s3cret-other-file")
    assert [True] * 3 + [False] * 3 == [opens(server, "/greet", key) for key in old + new]
    ini.write_text(after)
    mark = len(server.lines)
    assert 200 == reload()
    assert [False] * 3 + [True] * 3 == [opens(server, "/greet", key) for key in old + new]
    assert not [line for line in server.lines[mark:] if "Loaded plugin" in line]


def test_the_end_of_a_key_comes_without_a_reload(launch: Launch) -> None:
    """At the second that the ini file names."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
    line = f"[keys]\nshort = key=s3cret-short&scopes=*&expires={end:%Y-%m-%dT%H:%M:%S.%fZ}\n"
    server = launch({"greet": PLUGINS["greet"]}, ini_more=line + "[plugin_parms]\ngreet = auth_type=key\n")
    assert opens(server, "/greet", "s3cret-short")
    wait_until(lambda: not opens(server, "/greet", "s3cret-short"))
    assert datetime.datetime.now(datetime.UTC) >= end


@pytest.mark.parametrize(
    "keys",
    ["", "[keys]\nother = key=s3cret&scopes=clock,control\n", "[keys]\nold = key=s3cret&scopes=*&expires=2001-01-01\n"],
)
def test_a_plugin_that_no_key_opens_is_not_loaded(launch: Launch, keys: str) -> None:
    """It is never open, and the log says what to add."""
    server = launch({"greet": PLUGINS["greet"]}, ini_more=keys + "[plugin_parms]\ngreet = auth_type=key\n")
    server.wait_for(r"greet.*no key in \[keys\].*scopes=greet")
    assert 404 == server.get("/greet", headers={"X-Custom-Auth": "s3cret"}).status_code


def test_a_scope_that_fits_no_plugin_is_warned_of(launch: Launch) -> None:
    """With its line and what may be meant; the key itself is not shown."""
    more = "[keys]\nshop = key=s3cret-shop&scopes=gret,greet,control,*\n"
    server = launch({"greet": PLUGINS["greet"]}, ini_more=more)
    server.wait_for(
        r"WARN - .*server\.ini:9: \[keys\] shop: no plugin has the id gret, .* \(is greet meant\?\)",
    )
    assert "s3cret" not in server.log
    assert [] == [line for line in server.lines if "WARN" in line and "gret," not in line]


def test_the_last_key_of_a_plugin_cannot_be_removed(launch: Launch) -> None:
    """The reload is refused, and the key still counts."""
    line = "[plugin_parms]\ngreet = auth_type=key\n[keys]\nops = key=s3cret-ops&scopes=control\n"
    server = launch({"greet": PLUGINS["greet"]}, ini_more=line + "one = key=s3cret&scopes=greet\n")
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("one = key=s3cret&scopes=greet\n", ""))
    answer = server.get("/reload/all", headers={"X-Custom-Auth": "s3cret-ops"})
    assert (500, True) == (answer.status_code, any("scopes=greet" in reason for reason in answer.json()["reasons"]))
    assert opens(server, "/greet", "s3cret")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("greet = s3cret", "[keys] greet: has a part without a value"),
        ("greet = key=s3cret", "[keys] greet: has no scopes"),
        ("greet = key=s3&cret=&scopes=*", "[keys] greet: has a part that is not known"),
        ("greet = key=s3cret&scope=*", "[keys] greet: has a part that is not known (is scopes meant?)"),
        ("greet = key=s3cret&hash=s3cret&scopes=*", "[keys] greet: names more than one of hash, key and file"),
        ("greet = hash=s3cret&scopes=*", "[keys] greet: hash must be sha256: and 64 hexadecimal digits"),
        ("greet = scopes=*", "[keys] greet: names no key"),
        ("greet = key=s3cret&scopes=*&expires=s3cret", "[keys] greet: expires must be a date or a time"),
        ("greet = file=none.key&scopes=*", "none.key cannot be read: No such file"),
        ("greet = key=${ENV:S3CRET_UNSET}&scopes=*", "[keys] greet: the environment variable S3CRET_UNSET is not set"),
        ("greet = int:5", "[keys] greet: must be text"),
        ("one = key=s3cret&scopes=*\ntwo = key=s3cret&scopes=*", "[keys] two: is the same key as one"),
        (
            "default = key=other&scopes=*\n[auth]\napikey=s3cret",
            "[keys] default: is the name of the key in [auth] apikey",
        ),
        ("one = key=s3cret&scopes=*\n[auth]\napikey=s3cret", "[keys] one: is the same key as default"),
    ],
)
def test_a_wrong_line_is_an_error_with_its_place_and_without_the_key(launch: Launch, line: str, message: str) -> None:
    """The start is refused with code 2."""
    server = launch({}, ini_more="[keys]\n" + line + "\n", ready=False)
    assert 2 == server.wait()
    text = "\n".join(server.lines)
    assert message in text, text
    assert "server.ini:" in text
    assert not [line for line in server.lines if "s3cret" in line]


def test_a_key_comes_from_a_file_or_from_the_environment(launch: Launch) -> None:
    """As systemd hands credentials to a service; a variable replaces a whole line."""
    more = "[plugin_parms]\ngreet = auth_type=key\n[keys]\n"
    lines = "a = file=${ENV:CREDENTIALS_DIRECTORY}/a&scopes=*\nb = key=${ENV:B}&scopes=*\nc = key=-&scopes=*\n"
    variables = {"CREDENTIALS_DIRECTORY": ".", "B": "s3cret-b", "PLUGINCORE_KEYS_C": "key=s3cret-c&scopes=greet"}
    server = launch({"greet": PLUGINS["greet"], "../a": "s3cret-a"}, ini_more=more + lines, env=variables)
    assert all(opens(server, "/greet", f"s3cret-{name}") for name in "abc")


@pytest.mark.parametrize(
    ("sources", "allowed"),
    [
        ("header", {"header"}),
        ("query", {"query"}),
        ("list:body header", {"header", "body"}),
        ("header query body", None),
    ],
)
def test_only_the_sources_that_are_named_are_looked_at(launch: Launch, sources: str, allowed: set[str] | None) -> None:
    """For keys of all kinds, also by a plugin's own check; a key elsewhere is as good as none."""
    server = keyed(launch, KEYS.replace("[auth]", f"[auth]\nkey_sources = {sources}"))
    for path in ("greet", "checks", "passes", "common"):
        ways = {
            "header": {"headers": {"X-Custom-Auth": "s3cret-server"}},
            "query": {"params": {"apikey": "s3cret-server"}},
            "body": {"json": {"apikey": "s3cret-server"}},
        }
        opened = {way for way, options in ways.items() if server.post(f"/{path}", **options).status_code == 200}
        if path == "checks" and {"query", "body"} & (allowed or set()):
            opened -= {"query", "body"}  # its check is given variables, wherever they come from
            assert opened == (allowed or set(ways)) - {"query", "body"}
        else:
            assert (allowed or set(ways)) == opened, path
        if allowed == {"query"}:
            both = {"headers": {"X-Custom-Auth": "wrong"}, "params": {"apikey": "s3cret-server"}}
            assert 200 == server.post(f"/{path}", **both).status_code


def test_a_challenge_is_for_requests_without_a_key(launch: Launch) -> None:
    """401 with `WWW-Authenticate` if it is wanted; a wrong key is a 403 as ever."""
    server = keyed(launch, KEYS.replace("[auth]", "[auth]\nchallenge = true"))
    for path in ("/greet", "/common", "/own", "/plugins", "/reload/all", "/-/api/plugins"):
        answer = server.get(path)
        assert (401, "Bearer", {"error": "unauthorized"}) == (
            answer.status_code,
            answer.headers["www-authenticate"],
            without_ids(answer.json()),
        )
        if path != "/-/api/plugins":
            assert 401 == server.post(path, json={}).status_code
        wrong = server.get(path, headers={"X-Custom-Auth": "wrong"})
        assert (403, False) == (wrong.status_code, "www-authenticate" in wrong.headers)


def test_no_log_and_no_answer_repeats_a_key_in_a_query(launch: Launch, tmp_path: Path) -> None:
    """Neither the access log of files, nor the log at its lowest level, nor events, nor what `ctl` shows."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "page.html").write_text("page")
    more = KEYS + f"[file_server]\ndocuments = docs:{documents}\ncommon_log = access.log\n"
    server = launch(PLUGINS, ini_more=more.replace("file = file=greet.key&scopes=greet\n", ""), args=["-v", "DEBUG"])
    for path in (
        "greet",
        "clock",
        "own",
        "free",
        "nowhere",
        "docs/page.html",
        "docs/none",
        "plugins",
        "reload/none",
        "%2e%2e",
    ):
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            for query in ("apikey=s3cret-two", "%61pikey=s3cret%2dtwo&apikey=s3cret-server", "a=%&apikey=s3cret"):
                answer = server.request(method, f"/{path}?{query}", content=b"x" if method == "POST" else None)
                if method not in ("GET", "POST") or not answer.is_success:  # these plugins show the configuration
                    assert "s3cret" not in answer.text + repr(answer.headers)
    server.raw(b"GET /greet?apikey=s3cret-two HTTP/1.1\r\nHost: a b\r\n\r\n")
    server.raw(b"GET /greet?apikey=s3cret-two HTTP/9.1\r\nHost: localhost\r\n\r\n")
    status = server.get("/-/api/plugins", headers={"X-Custom-Auth": "s3cret-ops"})
    assert "s3cret" not in json.dumps(status.json())
    server.send(signal.SIGTERM)
    server.wait()
    assert not [line for line in server.lines if "s3cret" in line]
    assert "s3cret" not in (server.folder / "access.log").read_text()
    assert "page.html" in (server.folder / "access.log").read_text()
