"""If these fail, nobody is called when robots stand still, or somebody is called for nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines.minio import Server

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "manifests" / "monitoring"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def promtool() -> str:
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which("promtool", path=places)
    assert found, "promtool is not here: images/setup.sh tests unpacks it"
    return found


@pytest.fixture(scope="module")
def rules() -> Document:
    """The groups, as Prometheus reads them."""
    [document] = yaml.safe_load_all((MONITORING / "rules.yaml").read_text())
    return dict(document["spec"])


@pytest.fixture(scope="module")
def dashboard() -> Document:
    return dict(json.loads((MONITORING / "dashboard.json").read_text()))


def run(promtool: str, *arguments: str) -> None:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_only_then(promtool: str, rules: Document, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    shutil.copy(Path(__file__).with_name("rules.test.yaml"), tmp_path)
    run(promtool, "check", "rules", str(tmp_path / "rules.yaml"))
    run(promtool, "test", "rules", str(tmp_path / "rules.test.yaml"))


def test_every_alert_is_tested_and_says_what_to_do(rules: Document) -> None:
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    tests = yaml.safe_load(Path(__file__).with_name("rules.test.yaml").read_text())["tests"]
    fired = {a["alertname"] for t in tests for a in t["alert_rule_test"] if a.get("exp_alerts")}
    assert fired == {alert["alert"] for alert in alerts}
    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"].keys() == {"summary", "mend"}


def test_dashboard_asks_in_promql(promtool: str, dashboard: Document, tmp_path: Path) -> None:
    """Each question as a rule, because promtool reads those."""
    questions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    group = {"name": "dashboard", "rules": [{"record": f"q{i}", "expr": e} for i, e in enumerate(questions)]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    run(promtool, "check", "rules", str(tmp_path / "rules.yaml"))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_rules_and_dashboard_ask_for_what_there_is(minio: Server, rules: Document, dashboard: Document) -> None:
    """The real MinIO answers with each of its metrics; a recorded one is recorded."""
    text = json.dumps([rules, dashboard])
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    assert set(re.findall(r"orrery:\w+:\w+", text)) == recorded
    asked = set(re.findall(r"\bminio_\w+", text))
    assert asked
    [monitor] = [
        d for d in yaml.safe_load_all((MONITORING / "scrapes.yaml").read_text()) if d["metadata"]["name"] == "minio"
    ]
    [endpoint] = monitor["spec"]["endpoints"]
    with urllib.request.urlopen(minio.endpoint + endpoint["path"], timeout=30) as answer:
        given = set(re.findall(r"^minio_\w+", answer.read().decode(), re.MULTILINE))
    assert asked <= given


def test_prometheus_finds_what_it_scrapes(documents: list[Document]) -> None:
    services = [d for d in documents if d["kind"] == "Service"]
    for monitor in [d for d in documents if d["kind"] == "ServiceMonitor"]:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
