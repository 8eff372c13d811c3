"""The machine on which a reader of the documentation works: a folder, a shell, and a server that is started anew.

Commands run as they are printed: ``plugincore`` and ``.venv/bin/plugincore`` are the installed server, which a variable
of the environment gives a free port, and curl's own settings lead it there whatever the URL says. What is exported
stays so for the commands below. Folders like /srv and /etc lie in the reader's own.

Caveat: writing a file ends the server, so what plugins hold in memory does not outlive it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import trustme

from doc_pages import printed_plugins
from support.server import Server, command
from support.wait import TIMEOUT

SHIM = """\
#!/bin/sh
export PLUGINCORE_NETWORK_PORT=0 PLUGINCORE_NETWORK_BINDTO=127.0.0.1
exec {program} "$@"
"""
CURL = """\
silent
show-error
write-out = "\\n"
connect-to = "::127.0.0.1:{port}"
"""


class Machine:
    """A reader's machine.

    Attributes:
        folder: The working directory.
        start: The command that starts the server.

    """

    def __init__(self, folder: Path) -> None:
        """Have README's first plugin in the folder, and a certificate where certbot puts it."""
        self.folder = folder
        self.start = "plugincore"
        self._server: Server | None = None
        programs = folder / ".venv" / "bin"
        for name in ("plugincore", "pserve"):
            self.write(f".venv/bin/{name}", SHIM.format(program=command(name)[0])).chmod(0o755)
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "CURL_HOME": str(folder), "no_proxy": "*"}
        self.write("plugins/greet.py", printed_plugins()["plugins/greet.py"])
        certificate = trustme.CA().issue_cert("localhost")
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        self.write("/etc/plugincore/fullchain.pem", chain.decode())
        self.write("/etc/plugincore/privkey.pem", certificate.private_key_pem.bytes().decode())
        for name in ("srv/html", "srv/documents", "var/lib/plugincore"):
            (folder / name).mkdir(parents=True)

    def write(self, name: str, text: str) -> Path:
        """Write a file, and end the server that has not seen it."""
        self.end()
        file = self.folder / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def enter(self, name: str) -> None:
        """Work in a folder below the present one from now on."""
        self.end()
        self.folder /= name
        assert self.folder.is_dir(), f"there is no folder {name}"

    def own_paths(self, text: str) -> str:
        """Return the text of an ini file with its absolute paths moved into the folder."""
        return re.sub(r"(?<=[\s:=])/(?=(?:srv|etc|var)/)", f"{self.folder}/", text)

    def serve(self) -> Server:
        """Return a server that has seen all files."""
        if self._server is None:
            ini = self.folder / (self.start.partition(" -i ")[2].split(" ")[0] or "plugincore.ini")
            encrypted = ini.exists() and re.search(r"^\[SSL\]\nenabled *= *bool:true$", ini.read_text(), re.MULTILINE)
            program = ["bash", "-c", f"exec env {self.start}"]
            self._server = Server(program, self.folder, self._environment, "https" if encrypted else "http")
            self._server.ready()
        return self._server

    def serve_well(self, warning: str | None = None) -> None:
        """Serve and stop; the server must complain of nothing, or of nothing but ``warning``."""
        server = self.serve()
        try:
            assert 0 == server.stop(), server.log
        finally:
            self.end()
        complaints = [line for line in server.lines if re.search(r" - (WARN|ERROR|CRITICAL|EXCEPTION) - ", line)]
        unexpected = [line for line in complaints if warning is None or warning not in line]
        assert not unexpected, "\n".join(unexpected)
        assert warning is None or complaints, f"there was no warning {warning}"

    def end(self) -> None:
        """End the server."""
        if self._server is not None:
            server, self._server = self._server, None
            server.end()
            assert "panicked at" not in server.log, server.log

    def run(self, program: list[str], text: str = "") -> str:
        """Run a program to its end, which must be good; return what it wrote."""
        ended = subprocess.run(
            program,
            cwd=self.folder,
            env=self._environment,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert 0 == ended.returncode, f"exit code {ended.returncode}:\n{ended.stdout}"
        return ended.stdout

    def shell(self, script: list[str]) -> str:
        """Run lines of bash, none of which must fail; return what they wrote.

        An answer of 400 and more is a failure of curl, but in the last line, whose answer a page shows.
        """
        if any(re.match("plugincore (ctl|routes) ?", line) for line in script):
            self.serve()
        if any("curl " in line for line in script):
            settings = CURL.format(port=self.serve().port)
            (self.folder / ".curlrc").write_text(settings)
            (self.folder / "strict").mkdir(exist_ok=True)
            (self.folder / "strict" / ".curlrc").write_text(f"{settings}fail-with-body\n")
        exported = self.folder / "exported"
        *lines, last = script
        lines = [f"CURL_HOME='{self.folder}/strict'", *lines, f"CURL_HOME='{self.folder}'", last]
        lines.append(f"env -0 > '{exported}'")
        output = self.run(["bash", "-e", "-o", "pipefail", "-c", "\n".join(lines)])
        self._environment = dict(one.split("=", 1) for one in exported.read_text().split("\0") if one)
        return output
