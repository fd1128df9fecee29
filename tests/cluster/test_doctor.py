"""`orrery doctor --cluster` on a real API server: what it says of one, and that being refused is an answer too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from pipelines import cluster_doctor
from pipelines.cluster_doctor import connect, examine
from pipelines.findings import Finding
from tests.engines.cluster import Cluster


def found(api: client.ApiClient, namespace: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(api, namespace)}


def test_it_sees_what_is_there_and_how_to_mend_what_is_not(newest: Cluster) -> None:
    """The rights of every account are asked of the API server, and not read out of a role."""
    seen = found(newest.api, newest.namespace)
    assert seen["kubernetes"].state == "ok"
    assert seen["account pipeline"] == Finding("account pipeline", "ok", "may do the 9 things it needs, and not more")
    assert (seen["namespace"].state, seen["quota"].state) == ("warn", "warn")
    assert "v1alpha1" in seen["trainer"].what or "Deployment" in seen["trainer"].what
    assert seen["store-secrets"].state == "missing"
    assert all(finding.mend for finding in seen.values() if finding.state == "missing")


def test_an_account_that_lacks_a_right_is_named_with_it(newest: Cluster) -> None:
    """Breaks if a TrainJob could not be started, and nobody had said so before the run."""
    roles = client.RbacAuthorizationV1Api(newest.api)
    role = roles.read_namespaced_role("pipeline", newest.namespace)
    whole = role.rules
    try:
        role.rules = [rule for rule in whole if "trainjobs" not in rule.resources]
        role = roles.replace_namespaced_role("pipeline", newest.namespace, role)
        seen = found(newest.api, newest.namespace)["account pipeline"]
    finally:
        role.rules = whole
        roles.replace_namespaced_role("pipeline", newest.namespace, role)
    assert seen.state == "missing"
    assert "may not create trainjobs.trainer.kubeflow.org" in seen.what


def test_a_kfp_of_one_team_runs_steps_beside_itself_as_its_own_account(
    newest: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if somebody with a plain KFP was sent to install accounts that its steps do not use."""
    monkeypatch.setattr(cluster_doctor, "SYSTEM", newest.namespace)
    assert found(newest.api, newest.namespace)["account pipeline-runner"].state == "missing"
    newest.core.create_namespaced_service_account(newest.namespace, {"metadata": {"name": "pipeline-runner"}})
    try:
        seen = found(newest.api, newest.namespace)
    finally:
        newest.core.delete_namespaced_service_account("pipeline-runner", newest.namespace)
    runner = seen["account pipeline-runner"]
    assert (runner.state, "may not create trainjobs" in runner.what) == ("warn", True), "most recipes start no TrainJob"
    assert "account pipeline" not in seen
    assert seen["store-secrets"].mend.startswith(f"of each: kubectl -n {newest.namespace} create secret generic store-")


def test_a_kfp_that_would_not_try_a_failed_step_again_or_for_ever_is_named(
    newest: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a recipe's retries were in vain, and a night's training with them, or multiplied, unseen."""
    name, where = "workflow-controller-configmap", newest.namespace
    monkeypatch.setattr(cluster_doctor, "SYSTEM", where)  # KFP's own namespace may be in use there
    patch = yaml.safe_load((Path(cluster_doctor.__file__).parents[1] / "manifests/kubeflow/retries.yaml").read_text())
    for defaults, state, said in (
        (strategy(retryPolicy="OnError"), "warn", "is not tried again"),
        (strategy(retryPolicy="Always"), "warn", "by every level"),
        ("spec: {ttlStrategy: {}}", "ok", "its default"),
        ("spec: [", "ok", "its default"),
        (patch["data"]["workflowDefaults"], "ok", "Always, for pods alone"),
    ):
        newest.core.create_namespaced_config_map(
            where, {"metadata": {"name": name}, "data": {"workflowDefaults": defaults}}
        )
        try:
            seen = found(newest.api, where)["retries"]
        finally:
            newest.core.delete_namespaced_config_map(name, where)
        assert (seen.state, said in seen.what + seen.mend) == (state, True), seen
        assert (state == "warn") == ("manifests/kubeflow/retries.yaml" in seen.mend)


def strategy(**values: str) -> str:
    """A workflow's defaults with this retry strategy."""
    return yaml.safe_dump({"spec": {"templateDefaults": {"retryStrategy": {"limit": "2", **values}}}})


def test_who_may_not_look_is_told_so(cluster: Cluster, as_account: Callable[[str], Path]) -> None:
    """A person without rights gets findings, not a traceback."""
    as_account("pipeline")
    seen = examine(connect(), cluster.namespace)
    assert seen[0].state == "ok", "the version is everybody's to read"
    assert "refused: HTTP 403" in {finding.what for finding in seen}
