"""The configuration of Prometheus that the documentation prints is one, with the rules that it names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from doc_pages import PROJECT, read


def test_prometheus_takes_the_printed_configuration_with_our_rules(tmp_path: Path) -> None:
    """As promtool, which comes with Prometheus, judges."""
    assert shutil.which("promtool"), "make test needs promtool; on Debian: sudo apt-get install prometheus"
    text = next(step.text for step in read("docs/howto-prometheus.md") if step.kind == "yaml")
    assert text.count("/etc/prometheus/") == 2
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/", f"{tmp_path}/"))
    (tmp_path / "plugincore.key").write_text("key")
    shutil.copy(PROJECT / "packaging" / "prometheus" / "rules.yml", tmp_path / "plugincore-rules.yml")
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    assert "rules found" in ended.stdout
