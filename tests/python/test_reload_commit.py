"""A reload counts as a whole or not at all: settings, certificate, static files and plugins change in one step."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme

from support.server import Launch, Server
from test_reload import hammered, index_of
from test_tls import issue

#: Everything of one generation holds the same word.
CHANGING = """
import asyncio
import helper
from plugincore import configfile
from plugincore.baseplugin import BasePlugin

class Changing(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.word = kwargs["word"]

    async def initialize(self, **kwargs):
        print("changing begins", self.word)

    async def request_handler(self, **data):
        import lazily
        config = configfile.masterConfig
        words = [VERSION, self.word, helper.VERSION, lazily.VERSION, self.config.shop.word, config["shop"]["word"]]
        return 200, {"words": words}

    def terminate_plugin(self):
        print("changing ends", self.word)

VERSION = "first"
"""

OTHER = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, {{"id": self._plugin_id, "word": self.config.shop.word}}

    def terminate_plugin(self):
        print("{name} ends", self.config.shop.word)
"""

PLUGINS = {
    "changing": CHANGING,
    "helper": "VERSION = 'first'\n",
    "lazily": "VERSION = 'first'\n",
    "alpha": OTHER.format(name="Alpha"),
    "zeta": OTHER.format(name="Zeta"),
}

INI_MORE = """
[SSL]
enabled = bool:true
certfile = first/cert.pem
keyfile = first/key.pem
[auth]
apikey = first-key
[cors]
enabled = bool:true
origin_url = https://first.example
[server]
body_limit = 1000
plugin_timeout = 1s
[file_server]
documents = docs:first
[shop]
word = first
[plugin_parms]
changing = word=first&auth_type=global
"""

#: What a second generation does not have in common with the first.
LIMITS = ("body_limit = 1000", "body_limit = 3000")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make the authority that all certificates of these tests come from."""
    return trustme.CA()


@pytest.fixture
def server(launch: Launch, tmp_path: Path, authority: trustme.CA) -> Server:
    """Serve the first generation."""
    for word in ("first", "second"):
        issue(authority, tmp_path / "server" / word)
        (tmp_path / "server" / word / "page.txt").write_text(word)
    return launch(PLUGINS, ini_more=INI_MORE, folder=tmp_path / "server")


def seen(server: Server) -> dict[str, object]:
    """Return everything about the server that a client can see and a reload could change."""
    found: dict[str, object] = {}
    with server.client(verify=False) as client:
        for key in ("first-key", "second-key"):
            headers = {"X-Custom-Auth": key}
            for path in ("/plugins", "/changing"):
                answer = client.get(path, headers=headers)
                body = answer.json()
                body.pop("request_id", None)  # it is another one each time
                found[f"{path} with {key}"] = (answer.status_code, body)
        for path in ("/alpha", "/zeta", "/docs/page.txt"):
            answer = client.get(path)
            found[path] = (answer.status_code, answer.text)
        for size in (900, 2900, 3900):
            found[f"{size} bytes"] = client.post("/alpha", content=b"x" * size).status_code
        for origin in ("https://first.example", "https://second.example"):
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            for method in ("GET", "OPTIONS"):
                answer = client.request(method, "/alpha", headers=headers)
                allowed = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
                found[f"{method} from {origin}"] = (answer.status_code, allowed)
    found["certificate"] = ssl.get_server_certificate(("127.0.0.1", server.port))
    return found


def change_everything(server: Server) -> None:
    """Write the second generation: the ini file, the certificate that it names, the files, a plugin, the helpers."""
    for name in ("changing.py", "helper.py", "lazily.py"):
        file = server.plugins / name
        file.write_text(file.read_text().replace("first", "second"))
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("first", "second").replace(*LIMITS))


def replace(name: str, old: str, new: str) -> Callable[[Server], None]:
    """Break a file by a change in its text."""

    def change(server: Server) -> None:
        file = server.folder / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


#: What is broken in the second generation, and what the reasons must name.
BREAKAGES: dict[str, tuple[Callable[[Server], None], str]] = {
    "a plugin's syntax": (replace("plugins/changing.py", "VERSION =", "VERSION = ="), "plugins/changing.py:24"),
    "a plugin's import": (replace("plugins/changing.py", "import helper", "import no_such"), "no_such"),
    "a plugin's initialize": (replace("plugins/changing.py", 'gins", self.word)', 'gins"); 1 / 0'), "Changing: Zero"),
    "a plugin's time": (replace("plugins/changing.py", 'gins", self.word)', 'gins"); await asyncio.sleep(60)'), "1 s"),
    "a plugin's id": (replace("server.ini", "word=second&", "word=second&route_path=alpha&"), '"alpha" is taken'),
    "a plugin's class": (replace("plugins/zeta.py", "(BasePlugin)", "(BasePlugin, 5)"), "plugins/zeta.py:4"),
    "a plugin's constructor": (
        replace("plugins/alpha.py", "    async", "    def __init__(s): 5\n    async"),
        "Alpha",
    ),
    "a helper": (replace("plugins/helper.py", "VERSION =", "VERSION = ="), "helper.py:1"),
    "a parameter": (replace("server.ini", "word=second&auth", "auth"), "Changing"),
    "a value of the ini file": (replace("server.ini", "body_limit = 3000", "body_limit = large"), "server.ini:"),
    "the form of the ini file": (replace("server.ini", "[shop]", "[shop"), "server.ini:"),
    "the certificate": (replace("second/cert.pem", "CERTIFICATE", "NOTHING"), "second/cert.pem"),
    "the private key": (lambda server: (server.folder / "second/key.pem").unlink(), "second/key.pem"),
    "the plugins' folder": (replace("server.ini", "plugins = plugins", "plugins = nowhere"), "nowhere"),
}


def reload(server: Server, target: str = "all", key: str = "first-key") -> httpx.Response:
    """Ask for a reload with the server's key."""
    with server.client(verify=False) as client:
        return client.post(f"/reload/{target}", headers={"X-Custom-Auth": key})


def ends(server: Server, plugin: str) -> list[str]:
    """Return what instances of a plugin printed at their end."""
    return [line for line in server.lines if line.startswith(f"{plugin} ends")]


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_reload_that_fails_changes_nothing(server: Server, breakage: str) -> None:
    """Whatever is wrong with the new files, all that clients see is as before; once it is right, all of it is new."""
    before = seen(server)
    change_everything(server)
    right = {file: file.read_bytes() for file in server.folder.rglob("*") if file.suffix in (".py", ".ini", ".pem")}
    break_it, named = BREAKAGES[breakage]
    break_it(server)
    for _ in range(2):
        answer = reload(server)
        assert 500 == answer.status_code, answer.text
        assert any(named in reason for reason in answer.json()["reasons"]), answer.text
        assert ["alpha", "changing", "zeta"] == answer.json()["loaded_plugins"]
        assert before == seen(server)
    server.wait_for("Nothing was reloaded; plugins that serve: alpha, changing, zeta")
    assert not any("first" in end for plugin in ("changing", "Alpha", "Zeta") for end in ends(server, plugin))
    for file, content in right.items():
        file.write_bytes(content)
    assert 200 == reload(server).status_code
    after = seen(server)
    assert {"900 bytes", "3900 bytes"} == {what for what in before if before[what] == after[what]}
    assert (200, {"words": ["second"] * 6}) == after["/changing with second-key"]
    assert 200 == after["2900 bytes"]
    assert 0 == server.stop()
    for plugin in ("changing", "Alpha", "Zeta"):
        assert [f"{plugin} ends first", f"{plugin} ends second"] == ends(server, plugin)[-2:]


def test_a_plugin_that_is_reloaded_alone_changes_alone(server: Server) -> None:
    """It gets its new parameters; the key, CORS, limits, files, certificate and all other plugins stay."""
    before = seen(server)
    change_everything(server)
    assert 200 == reload(server, "changing").status_code
    after = seen(server)
    assert {"/changing with first-key"} == {what for what in before if before[what] != after[what]}
    # Its own configuration is that of the new file, `masterConfig` is what the server goes by.
    assert (200, {"words": ["second"] * 5 + ["first"]}) == after["/changing with first-key"]
    assert 200 == reload(server).status_code
    assert (200, {"words": ["second"] * 6}) == seen(server)["/changing with second-key"]


@pytest.mark.parametrize("target", ["all", "alpha"])
def test_a_stop_in_the_midst_of_a_reload_ends_what_was_loaded(launch: Launch, target: str) -> None:
    """The plugins that were loaded aside are terminated like those that serve, each once."""
    server = launch(
        {"alpha": OTHER.format(name="Alpha"), "zeta": OTHER.format(name="Zeta")}, ini_more="[shop]\nword = first\n"
    )
    slow = "    async def initialize(self, **kwargs):\n        import asyncio\n        print('waits')\n"
    for name in ("zeta", "alpha")[target == "alpha" :]:
        file = server.plugins / f"{name}.py"
        file.write_text(file.read_text() + slow * (name == target or name == "zeta"))
    with (server.plugins / f"{'zeta' if target == 'all' else 'alpha'}.py").open("a") as file:
        file.write("        await asyncio.sleep(600)\n")
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("first", "second"))
    with server.connect() as connection:
        connection.sendall(f"GET /reload/{target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        server.wait_for("^waits$")
        server.send(signal.SIGTERM)
        assert b"503" in connection.recv(1000).split(b"\r\n")[0]
    assert 0 == server.wait()
    assert ["Alpha ends second", "Alpha ends first"] == ends(server, "Alpha")
    assert ["Zeta ends second", "Zeta ends first"][target == "alpha" :] == ends(server, "Zeta")


@pytest.mark.parametrize("breaks", [False, True])
def test_another_folder_of_plugins_has_helpers_of_its_own(launch: Launch, breaks: bool) -> None:
    """With the same names in it: all that is imported comes from the new folder, or from the old one if that fails."""
    server = launch(PLUGINS, ini_more="[shop]\nword = first\n[plugin_parms]\nchanging = word=first\n")
    assert {"words": ["first"] * 6} == server.get("/changing").json()
    others = server.folder / "others"
    others.mkdir()
    for name in ("changing", "helper", "lazily"):
        (others / f"{name}.py").write_text((server.plugins / f"{name}.py").read_text().replace("first", "second"))
    if breaks:
        (others / "zeta.py").write_text("import helper\nfrom nowhere import nothing\n")
        (others / "changing.py").write_text((others / "changing.py").read_text() + "1 / 0\n")
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("plugins = plugins", "plugins = others").replace("first", "second"))
    answer = server.get("/reload/all")
    assert (500 if breaks else 200) == answer.status_code, answer.text
    word = "first" if breaks else "second"
    assert {"words": [word] * 6} == server.get("/changing").json()
    assert (["alpha", "changing", "zeta"] if breaks else ["changing"]) == answer.json()["loaded_plugins"]
    ini.write_text(ini.read_text().replace("plugins = others", "plugins = plugins").replace("second", "first"))
    assert 200 == server.get("/reload/all").status_code
    assert {"words": ["first"] * 6} == server.get("/changing").json()


GATED = """
import asyncio, os
from plugincore.baseplugin import BasePlugin

class Gated(BasePlugin):
    async def initialize(self, **kwargs):
        print("gated begins VERSION")
        while os.path.exists("closed"):
            await asyncio.sleep(0.002)

    def request_handler(self, **data):
        return {"version": "VERSION", "pid": os.getpid()}

    def terminate_plugin(self):
        print("gated ends VERSION")
"""


def test_a_restart_waits_for_the_reloads_before_it(launch: Launch) -> None:
    """Two that were asked for before SIGUSR1 are done and answered, one after the other, and then it starts anew."""
    server = launch({"gated": GATED.replace("VERSION", "1")})
    before = server.get("/gated").json()
    (server.folder / "closed").touch()
    (server.plugins / "gated.py").write_text(GATED.replace("VERSION", "2"))
    ask = b"GET /reload/gated HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with server.connect() as one, server.connect() as other:
        one.sendall(ask)
        server.wait_for("^gated begins 2$")
        other.sendall(ask)
        assert 200 == server.get("/-/ready").status_code
        server.send(signal.SIGUSR1)
        server.wait_for("Received SIGUSR1")
        (server.folder / "closed").unlink()
        for connection in (one, other):
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    server.wait_for("Server started on", since=index_of(server, "Received SIGUSR1"))
    assert {**before, "version": "2"} == server.get("/gated").json()
    assert ["gated ends 1", "gated ends 2", "gated ends 2"] == ends(server, "gated")
    assert 0 == server.stop()


FIXED = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    def request_handler(self, **data):
        return {{"file": {file!r}, "class": type(self).__name__}}
"""


def fixed(**classes: str) -> dict[str, str]:
    """Return plugin files, each with a class that says where it is."""
    return {file: FIXED.format(name=name, file=file) for file, name in classes.items()}


@pytest.mark.parametrize(
    ("before", "after", "parameters"),
    [
        (fixed(b="Moved"), fixed(a="Moved"), ""),
        (fixed(b="Moved", c="Other"), fixed(b="Third", c="Moved", d="Other"), ""),
        (fixed(b="Moved", c="Other"), fixed(b="Other", c="Moved"), ""),
        (fixed(a="First", b="Moved"), fixed(a="Moved", b="First"), ""),
        (fixed(a="Moved", b="Other"), fixed(a="Moved", b="Other"), "a = route_path=other\nb = route_path=moved\n"),
    ],
    ids=["renamed file", "moved on", "given up", "moved forward", "swapped route_path"],
)
def test_ids_are_decided_over_all_files_of_a_reload(
    launch: Launch, before: dict[str, str], after: dict[str, str], parameters: str
) -> None:
    """After it the endpoints are those of a start with these files, and no request meets a gap meanwhile."""
    server = launch(before, ini_more="[plugin_parms]\n")
    for name in before:
        (server.plugins / f"{name}.py").unlink()
    for name, source in after.items():
        (server.plugins / f"{name}.py").write_text(source)
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text() + parameters)
    with hammered(server, "/moved") as statuses:
        answer = server.get("/reload/all")
    assert 200 == answer.status_code, answer.text
    assert {200} == set(statuses)
    fresh = launch(after, ini_more=f"[plugin_parms]\n{parameters}")
    ids = fresh.get("/plugins").json()["loaded_plugins"]
    assert sorted(ids) == sorted(answer.json()["loaded_plugins"])
    for one in ids:
        assert fresh.get(f"/{one}").json() == server.get(f"/{one}").json()
