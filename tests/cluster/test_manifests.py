"""The manifests on a real API server: it takes every object as it is, and lets their pods in under `restricted`.

Nothing runs here. Custom objects are held to their releases' schemas in tests/manifests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from kubernetes.client.exceptions import ApiException

from tests.engines.cluster import Cluster
from tests.engines.manifests import Document, pod_templates, render


@pytest.fixture(scope="module", params=["overlays/local", "overlays/production"])
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(request.param)


@pytest.fixture(scope="module")
def home(cluster: Cluster, documents: list[Document]) -> Iterator[str]:
    """A namespace as the manifests have it, with their accounts; gone afterwards."""
    [namespace] = [d for d in documents if d["kind"] == "Namespace"]
    name = f"{cluster.namespace}-manifests"
    labels = namespace["metadata"]["labels"]
    made = cluster.core.create_namespace({"metadata": {"generateName": f"{name}-", "labels": labels}}).metadata.name
    try:
        for document in [d for d in documents if d["kind"] == "ServiceAccount"]:
            cluster.core.create_namespaced_service_account(made, {"metadata": {"name": document["metadata"]["name"]}})
        yield made
    finally:
        cluster.core.delete_namespace(made)


def sent(cluster: Cluster, method: str, path: str, document: Document, *query: tuple[str, str]) -> Document:
    """What the API server would store; nothing is."""
    kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
    answer = cluster.api.call_api(
        path, method, query_params=[("dryRun", "All"), ("fieldValidation", "Strict"), *query],
        header_params={"Accept": "application/json", "Content-Type": kind}, body=document,
        auth_settings=["BearerToken"], _preload_content=False, _return_http_data_only=True,
    )  # fmt: skip
    found: Document = json.loads(answer.data)
    return found


def test_every_object_is_taken_as_it_is(cluster: Cluster, documents: list[Document], home: str) -> None:
    """Breaks on a field that Kubernetes does not know, and on what only an API server checks: ports, selectors."""
    seen = set()
    for document in documents:
        group, _, _ = document["apiVersion"].rpartition("/")
        custom = group.startswith("kueue.") or ("." in group and not group.endswith(".k8s.io"))
        if custom or document["kind"] == "Namespace":
            continue
        plural = document["kind"].lower() + "s"
        plural = plural[:-2] + "ies" if plural.endswith("ys") else plural
        root = "/apis/" + document["apiVersion"] if group else "/api/v1"
        mine = json.loads(json.dumps(document))
        mine["metadata"]["namespace"] = home
        for subject in mine.get("subjects", ()):
            subject["namespace"] = home
        path = f"{root}/namespaces/{home}/{plural}/{document['metadata']['name']}"
        sent(cluster, "PATCH", path, mine, ("fieldManager", "orrery-test"), ("force", "true"))
        seen.add(document["kind"])
    assert seen >= {"Deployment", "StatefulSet", "NetworkPolicy", "PodDisruptionBudget", "ResourceQuota", "Role", "Job"}


def test_their_pods_are_let_in_and_careless_ones_are_not(
    cluster: Cluster, documents: list[Document], home: str
) -> None:
    """Breaks if a pod were refused by Pod Security, which a controller tells nobody but in an event."""
    path = f"/api/v1/namespaces/{home}/pods"
    templates = [t for document in documents for t in pod_templates(document)]
    assert len(templates) >= 5
    for number, template in enumerate(templates):
        volumes = {volume["name"] for volume in template["spec"].get("volumes", ())}
        claims = [m["name"] for c in template["spec"]["containers"] for m in c.get("volumeMounts", ())]
        extra = [{"name": name, "emptyDir": {}} for name in claims if name not in volumes]
        spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", ()), *extra]}
        metadata = {"name": f"pod-{number}", "labels": template["metadata"]["labels"]}
        sent(cluster, "POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        for container in spec["containers"]:
            careless = {
                **container,
                "securityContext": {**container["securityContext"], "allowPrivilegeEscalation": True},
            }
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, "containers": [careless]}}
            with pytest.raises(ApiException, match="violates PodSecurity"):
                sent(cluster, "POST", path, pod)
