"""The settings of static files: sections, folders, reloads and the access log."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from static_site import fill, serving_files
from support.server import Launch, Server
from support.wire import HOST, Wire


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the files of `static_site` under `/html`."""
    with serving_files(tmp_path_factory.mktemp("static")) as running:
        yield running


def test_requests_are_noted_in_the_access_log(server: Server) -> None:
    """A line of the Common Log Format each, refusals included, without the query."""
    log = server.folder / "access.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    server.get("/html/plain.txt?token=x")
    server.get("/html/missing%22")
    server.post("/html/plain.txt")
    server.request("HEAD", "/html/plain.txt")
    lines = [re.sub(r"\[.*\]", "[]", line) for line in log.read_text().splitlines()[before:]]
    assert lines == [
        '127.0.0.1 - - [] "GET /html/plain.txt HTTP/1.1" 200 10',
        '127.0.0.1 - - [] "GET /html/missing%22 HTTP/1.1" 404 0',
        '127.0.0.1 - - [] "POST /html/plain.txt HTTP/1.1" 405 0',
        '127.0.0.1 - - [] "HEAD /html/plain.txt HTTP/1.1" 200 0',
    ]


def test_the_access_log_is_opened_anew_at_a_hangup(launch: Launch) -> None:
    """After logrotate has moved it away, lines go to a new file; one that cannot be written affects no request."""
    running = launch(ini_more="documents = html\n[file_server]\ncommon_log = access.log")
    fill(running.folder / "html", {"x": b"content"})
    log = running.folder / "access.log"
    running.get("/docs/x")
    log.rename(running.folder / "access.log.1")
    mark = len(running.lines)
    running.send(signal.SIGHUP)
    running.wait_for("Reloaded all plugins", mark)
    running.get("/docs/x")
    assert 1 == len(log.read_text().splitlines()) == len((running.folder / "access.log.1").read_text().splitlines())
    ini = running.folder / "server.ini"
    ini.write_text(ini.read_text().replace("access.log", "not/there.log"))
    running.get("/reload/all")
    running.wait_for(r"\[file_server\] common_log: cannot append to the log file .*not/there.log")
    assert b"content" == running.get("/docs/x").content


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ("documents = html", "/docs/"),
        ("documents = pages:html", "/pages/"),
        ("documents = a/b:html", "/a/b/"),
        ("documents = docs:${ENV:HOME}/html", "/docs/"),
        ("documents = docs:~/html", "/docs/"),
        ("indexfile = start.htm\ndocuments = html", "/docs/"),
        ("[file_server]\ndocuments = html", "/html/"),
        ("[file_server]\ndocuments = ./html/", "/html/"),
        ("[file_server]\ndocuments = pages:html\nmarkdown_css = x.css\nhighlight_css = y.css", "/pages/"),
        ("documents = elsewhere\n[file_server]\ndocuments = html", "/html/"),
    ],
)
def test_the_sections_of_pluginserver_are_understood(launch: Launch, tmp_path: Path, settings: str, path: str) -> None:
    """Each section has its own default for the request path; relative folders begin where the server was started."""
    folder = tmp_path / "here"
    fill(folder / "html", {"index.html": b"start", "start.htm": b"start"})
    running = launch(ini_more=settings, folder=folder, env={"HOME": str(folder)})
    assert b"start" == running.get(path).content
    running.wait_for(rf"Serving http://.*{path} from ")
    assert "is not known" not in running.log
    assert ("is not served" in running.log) == ("elsewhere" in settings)


def test_a_missing_folder_is_told_and_served_once_it_is_there(launch: Launch) -> None:
    """The server comes up without it; file and line are named."""
    running = launch(ini_more="documents = html:later")
    assert re.search(r"server\.ini:\d+: \[paths\] documents: .*later cannot be read: No such file", running.log)
    assert 404 == running.get("/html/x").status_code
    fill(running.folder / "later", {"x": b"there"})
    assert b"there" == running.get("/html/x").content


def test_secrets_among_the_documents_are_told(launch: Launch) -> None:
    """The ini file holds keys and plugins are source: a folder with either in it is served, with a warning for each."""
    running = launch(ini_more="documents = html:.")
    for secret in (r"the ini file there, which is server\.ini", "the plugins' folder there, which is plugins"):
        assert re.search(rf"WARN - .*server\.ini:\d+: \[paths\] documents: everybody can read {secret}", running.log)


@pytest.mark.parametrize("plugins", ["elsewhere", "html/.plugins"])
def test_documents_without_secrets_are_not_warned_of(launch: Launch, tmp_path: Path, plugins: str) -> None:
    """Hidden files are not served."""
    fill(tmp_path / "here", {f"{plugins}/x.txt": b"", "html/index.html": b""})
    ini = f"[network]\nport = 0\n[paths]\nplugins = {plugins}\ndocuments = html:html\n"
    assert "everybody can read" not in launch(ini=ini, folder=tmp_path / "here").log


def test_a_request_path_of_the_server_is_not_served(launch: Launch) -> None:
    """`/plugins` and `/reload` stay what they are."""
    running = launch(ini_more="documents = plugins:plugins")
    assert re.search(r"server\.ini:\d+: \[paths\] documents: is not served", running.log)
    assert {"loaded_plugins": []} == running.get("/plugins").json()


def test_a_plugin_with_the_same_id_answers_instead(launch: Launch) -> None:
    """The file-serving plugin of pluginserver keeps its endpoint, with its paths checked as before."""
    plugin = """
        from pathlib import Path
        from plugincore.baseplugin import BasePlugin

        class FileServe(BasePlugin):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self._plugin_id, _, folder = self.config.paths.documents.partition(":")
                self.folder = Path(folder)

            def request_handler(self, **data):
                return "plugin: " + (self.folder / (data["subpath"] or "index.html")).read_text()
    """
    running = launch({"fileserve": plugin}, ini_more="documents = html:html")
    fill(running.folder / "html", {"x": b"content"})
    assert "plugin: content" == running.get("/html/x").text
    running.wait_for(r"server\.ini:\d+: \[paths\] documents: the plugin in .*fileserve\.py has the id .*html")
    with Wire(running) as wire:
        assert 400 == wire.ask(b"GET /html/%2e%2e/server.ini" + HOST + b"\r\n").status
    assert {"loaded_plugins": ["html"]} == running.get("/plugins").json()
    (running.plugins / "fileserve.py").unlink()
    assert 200 == running.get("/reload/all").status_code
    assert "content" == running.get("/html/x").text
    assert {"loaded_plugins": []} == running.get("/plugins").json()


def test_a_reload_reads_the_setting_again(launch: Launch) -> None:
    """Folder and request path change while the server serves."""
    running = launch(ini_more="documents = one:one")
    fill(running.folder, {"one/x": b"1", "two/x": b"2"})
    assert b"1" == running.get("/one/x").content
    ini = running.folder / "server.ini"
    ini.write_text(ini.read_text().replace("one:one", "two:two"))
    assert 200 == running.get("/reload/all").status_code
    assert (404, b"2") == (running.get("/one/x").status_code, running.get("/two/x").content)
    ini.write_text(ini.read_text().replace("documents = two:two", ""))
    assert 200 == running.get("/reload/all").status_code
    assert 404 == running.get("/two/x").status_code
