"""What the documentation prints for Kubernetes: a server that is started as it says answers the probes that it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from doc_pages import read
from support.server import Server, command
from support.wait import wait_until


@pytest.fixture
def objects() -> dict[str, Any]:
    """Return the printed objects by their kind."""
    text = next(step.text for step in read("docs/howto-kubernetes.md") if step.kind == "yaml")
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


@pytest.fixture
def mount(tmp_path: Path, objects: dict[str, Any]) -> Callable[[dict[str, str]], None]:
    """Return a function that puts data into a volume as Kubernetes does: links, of which one is exchanged."""
    items = objects["Deployment"]["spec"]["template"]["spec"]["volumes"][0]["configMap"]["items"]
    versions = iter(range(10))

    def put(data: dict[str, str]) -> None:
        version = f"..{next(versions)}"
        for item in items:
            file = tmp_path / version / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(data[item["key"]])
            link = tmp_path / item["path"].split("/")[0]
            if not link.is_symlink():
                link.symlink_to(f"..data/{link.name}")
        (tmp_path / "..new").symlink_to(version)
        (tmp_path / "..new").rename(tmp_path / "..data")

    return put


def test_the_printed_deployment_serves_and_answers_its_probes(
    objects: dict[str, Any], mount: Callable[[dict[str, str]], None], tmp_path: Path
) -> None:
    """And a changed ConfigMap is loaded by itself."""
    data = objects["ConfigMap"]["data"]
    container = objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    mount(data)
    assert "plugincore" == container["command"][0]
    words = [*command(), *container["command"][1:]]
    environment = {"PLUGINCORE_KEY": "secret", "PLUGINCORE_NETWORK_PORT": "0", "PLUGINCORE_NETWORK_BINDTO": "127.0.0.1"}
    with Server(words, tmp_path, {**environment, "PLUGINCORE_SERVER_DRAIN_DELAY": "0s"}) as server:
        server.ready()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert 200 == server.get(container[probe]["httpGet"]["path"]).status_code
        assert {"message": "Hello, world!"} == server.get("/greet").json()
        mount({**data, "greet.py": data["greet.py"].replace("Hello", "Goodbye")})
        wait_until(lambda: server.get("/greet").json() == {"message": "Goodbye, world!"}, lambda: server.log)
        assert 0 == server.stop()


def test_the_printed_objects_belong_together(objects: dict[str, Any]) -> None:
    """Labels, ports and times fit."""
    pods = objects["Deployment"]["spec"]["template"]
    assert objects["Service"]["spec"]["selector"] == pods["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == pods["metadata"]["labels"]
    container = pods["spec"]["containers"][0]
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert f"port = {container['ports'][0]['containerPort']}\n" in objects["ConfigMap"]["data"]["plugincore.ini"]
    assert pods["spec"]["terminationGracePeriodSeconds"] > 5 + 2 * 10
