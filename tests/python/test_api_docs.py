"""The page at ``/-/docs``: Swagger UI out of the wheel, for a browser without the internet."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

from support.server import Launch

FOLDER = Path(__file__).parents[2] / "src/edge/control/docs"
PLUGIN = """
    from plugincore.baseplugin import BasePlugin

    class Greet(BasePlugin):
        def request_handler(self, **data):
            return 200, {}
"""


def test_the_page_loads_files_of_this_server_alone(launch: Launch) -> None:
    """All that it names is there; its policy lets scripts come from nowhere else, and no text become one."""
    server = launch({"greet": PLUGIN})
    page = server.get("/-/docs")
    assert (200, "text/html; charset=utf-8") == (page.status_code, page.headers["Content-Type"])
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert ("'none'", "'self'", "'self'") == (policy["default-src"], policy["script-src"], policy["connect-src"])
    assert "unsafe" not in policy["script-src"]
    assert "'none'" == policy["frame-ancestors"]
    assert "nosniff" == page.headers["X-Content-Type-Options"]
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert ["docs/swagger-ui.css", "data:,", "openapi.json", "docs/swagger-ui-bundle.js", "docs/start.js"] == named
    assert "<script>" not in page.text
    assert not re.search(r"\son\w+=", page.text)
    for name in named:
        if name != "data:,":
            assert 200 == server.get(f"/-/{name}").status_code, name
    assert "http" not in server.get("/-/docs/start.js").text
    assert 404 == server.get("/-/docs/other.js").status_code
    assert 405 == server.post("/-/docs").status_code


def test_the_files_of_swagger_ui_are_those_that_were_published(launch: Launch) -> None:
    """Sent compressed, or not if a client does not take that; their hashes and licence stand beside them."""
    server = launch({"greet": PLUGIN})
    known = json.loads((FOLDER / "vendor/vendor.json").read_text())["sha256"]
    assert known
    for name, digest in known.items():
        whole = server.get(f"/-/docs/{name}", headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in whole.headers
        assert digest == hashlib.sha256(whole.content).hexdigest()
        assert digest == hashlib.sha256(gzip.decompress((FOLDER / f"vendor/{name}.gz").read_bytes())).hexdigest()
        packed = server.get(f"/-/docs/{name}", headers={"Accept-Encoding": "gzip"})
        assert ("gzip", whole.content) == (packed.headers["Content-Encoding"], packed.content)
        again = server.get(f"/-/docs/{name}", headers={"If-None-Match": packed.headers["ETag"]})
        assert (304, b"") == (again.status_code, again.content)
    assert "Apache License" in (FOLDER / "vendor/LICENSE.swagger-ui").read_text()


def test_with_keys_the_page_asks_for_any_of_them(launch: Launch) -> None:
    """In the query, too, since that is what a browser can send; its scripts and styles are for everyone."""
    more = "[keys]\nreader = key=a-key-of-enough-letters&scopes=greet\n"
    server = launch({"greet": PLUGIN}, ini_more=more)
    assert 403 == server.get("/-/docs").status_code
    assert 200 == server.get("/-/docs?apikey=a-key-of-enough-letters").status_code
    assert 200 == server.get("/-/docs/start.js").status_code
    public = launch({"greet": PLUGIN}, ini_more=more + "[openapi]\npublic = true\n")
    assert 200 == public.get("/-/docs").status_code


def test_a_browser_that_has_logged_in_needs_no_key_in_the_address(launch: Launch) -> None:
    """Its session of the page at ``/-/`` counts."""
    server = launch({"greet": PLUGIN}, ini_more="[keys]\nadmin = key=a-key-of-enough-letters&scopes=control\n")
    headers = {"Sec-Fetch-Site": "same-origin"}
    login = server.post("/-/api/login", json={"key": "a-key-of-enough-letters"}, headers=headers)
    cookie = {"Cookie": login.headers["Set-Cookie"].partition(";")[0]}
    assert 403 == server.get("/-/docs").status_code
    assert 200 == server.get("/-/docs", headers=cookie).status_code
    assert 200 == server.get("/-/openapi.json", headers=cookie).status_code
