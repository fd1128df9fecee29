"""If this fails, a step is refused by the API server in the middle of its work, or may do more than it must."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {"trainjobs.trainer.kubeflow.org": ("trainer.kubeflow.org", "trainjobs")}


def test_the_account_has_exactly_the_verbs_that_the_client_asks_with() -> None:
    """Every call names its verb and resource, for its own error message; the manifests grant these and no others."""
    asked = re.findall(r'_ask\(\s*"(\w+) ([\w./]+)"', (ROOT / "components" / "launcher" / "client.py").read_text())
    used = {(*GROUPS.get(resource, ("", resource)), verb) for verb, resource in asked}
    documents = yaml.safe_load_all((ROOT / "manifests" / "base" / "accounts.yaml").read_text())
    [role] = [d for d in documents if d["kind"] == "Role" and d["metadata"]["name"] == "pipeline"]
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        if "resourceNames" not in rule and "argoproj.io" not in rule["apiGroups"]  # those are KFP's own
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used == granted
