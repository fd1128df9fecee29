"""If these fail, `kubectl apply -k` is refused by a cluster, or lets in more than it should."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import kubernetes_validate
from kubernetes.utils.quantity import parse_quantity

from components import images
from components.store.access import ROLES
from tests.engines import crds

Document = dict[str, Any]
CLUSTER_WIDE = {"Namespace", "ClusterTrainingRuntime", "ClusterQueue", "ResourceFlavor", "WorkloadPriorityClass"}


def named(documents: list[Document], kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}


def selects(selector: dict[str, str], pod: Document) -> bool:
    return selector.items() <= pod["metadata"]["labels"].items()


def test_every_object_fits_the_schemas_of_the_cluster_it_is_made_for(documents: list[Document]) -> None:
    """Breaks on a misspelt or misplaced field, which a cluster would drop without a word."""
    labels = named(documents, "Namespace")["orrery"]["metadata"]["labels"]
    version = labels["pod-security.kubernetes.io/enforce-version"].removeprefix("v")
    for document in documents:
        releases = crds.releases(document)
        for release in releases:
            crds.validate(document, release)
        if not releases:
            assert kubernetes_validate.validate(document, version, strict=True) == version


def test_the_schemas_see_a_field_that_a_release_would_drop(documents: list[Document]) -> None:
    """Breaks if the test above could not fail: Trainer 2.3 has no `numProcPerNode` for torch in a runtime, 2.0 has."""
    for runtime in named(documents, "ClusterTrainingRuntime").values():
        changed = {**runtime, "spec": {**runtime["spec"], "mlPolicy": {"numNodes": 1, "torch": {"numProcPerNode": 2}}}}
        refused = []
        for release in crds.TRAINER:
            try:
                crds.validate(changed, release)
            except crds.jsonschema.ValidationError:
                refused.append(release.version)
        assert refused == ["v2.3.0"]


def test_objects_live_in_one_namespace_that_admits_only_restricted_pods(documents: list[Document]) -> None:
    [namespace] = named(documents, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    homes = {d["metadata"].get("namespace") for d in documents if d["kind"] not in CLUSTER_WIDE}
    assert homes == {namespace["metadata"]["name"]}
    assert not [d for d in documents if d["kind"] in CLUSTER_WIDE and "namespace" in d["metadata"]]


def test_images_are_the_ones_that_are_built(documents: list[Document], containers: dict[str, Document]) -> None:
    """Breaks if an image was renamed or tagged anew in images.json and the cluster kept the old one, or none."""
    used = {c["image"] for c in containers.values()}
    ours = {images.image(name) for name in images.names()}
    assert used - ours == {"minio/minio:RELEASE.2025-09-07T16-13-09Z"}
    wanted = {"data", "serving"} | ({"trainer"} if named(documents, "ClusterTrainingRuntime") else set())
    assert {images.image(name) for name in wanted} == used & ours


def test_secrets_are_named_and_never_held(documents: list[Document], containers: dict[str, Document]) -> None:
    """A pod gets the credentials of its own role; only the job that makes the users is MinIO's administrator."""
    assert not named(documents, "Secret")
    roles = {
        "minio/minio": "minio-root",
        "store-access/store-access": "minio-root",
        "policy-server/triton": "store-serving",
    }
    for name, container in containers.items():
        references = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e]
        assert {r["name"] for r in references} == {roles.get(name, "store-training")}, name
        assert not any(r.get("optional") for r in references), name
        plain = [e["name"] for e in container["env"] if "value" in e]
        assert not [n for n in plain if any(word in n for word in ("KEY", "SECRET", "PASSWORD", "TOKEN"))], name


def test_every_role_of_the_store_has_its_secret_in_the_job_that_makes_the_users(pods: dict[str, Document]) -> None:
    [users] = [v["projected"] for v in pods["store-access"]["spec"]["volumes"] if "projected" in v]
    paths = {s["secret"]["name"]: sorted(i["path"] for i in s["secret"]["items"]) for s in users["sources"]}
    assert paths == {f"store-{role}": [f"{role}/access-key-id", f"{role}/secret-access-key"] for role in ROLES}


def test_accounts_may_do_what_their_pods_do_and_no_more(documents: list[Document], pods: dict[str, Document]) -> None:
    """Breaks on rights over other namespaces, over secrets at large, or a wildcard; and on an account nobody made."""
    assert not named(documents, "ClusterRole")
    accounts = named(documents, "ServiceAccount")
    for name, pod in pods.items():
        assert accounts[pod["spec"]["serviceAccountName"]]["automountServiceAccountToken"] is False, name
        assert pod["spec"]["automountServiceAccountToken"] is False, f"{name} needs nothing of the API server"
    bound = {s["name"]: b["roleRef"]["name"] for b in named(documents, "RoleBinding").values() for s in b["subjects"]}
    assert bound == {"pipeline": "pipeline"}
    for rule in named(documents, "Role")["pipeline"]["rules"]:
        assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])
        if {"secrets", "configmaps"} & set(rule["resources"]):
            assert rule["resourceNames"], "every one of the namespace"
            assert rule["verbs"] == ["get"]


def test_what_runs_all_the_time_fits_the_quota(documents: list[Document], pods: dict[str, Document]) -> None:
    """Breaks if the last replica were refused, with room for a new one beside the old ones at a roll-out."""
    hard = named(documents, "ResourceQuota")["orrery"]["spec"]["hard"]
    used = {"cpu": Decimal(0), "memory": Decimal(0), "storage": Decimal(0)}
    for document in documents:
        if document["kind"] not in ("Deployment", "StatefulSet", "Job"):
            continue
        copies = document["spec"].get("replicas", 1) + (document["kind"] == "Deployment")
        for container in document["spec"]["template"]["spec"]["containers"]:
            for resource in ("cpu", "memory"):
                used[resource] += copies * parse_quantity(container["resources"]["requests"][resource])
        for claim in document["spec"].get("volumeClaimTemplates", ()):
            used["storage"] += copies * parse_quantity(claim["spec"]["resources"]["requests"]["storage"])
    for resource, amount in used.items():
        assert amount <= parse_quantity(hard[f"requests.{resource}"]) / 2 or resource == "storage", resource
    assert used["storage"] <= parse_quantity(hard["requests.storage"])


def test_a_container_that_says_nothing_is_not_refused_by_the_quota(documents: list[Document]) -> None:
    """KFP's drivers and Argo's executor say nothing; the quota bounds requests, so the defaults must give them some."""
    [limits] = named(documents, "LimitRange")["orrery"]["spec"]["limits"]
    hard = named(documents, "ResourceQuota")["orrery"]["spec"]["hard"]
    for bound in hard:
        side, _, resource = bound.partition(".")
        if side in ("requests", "limits") and resource in ("cpu", "memory"):
            assert resource in limits["defaultRequest" if side == "requests" else "default"], bound


def test_queues_promise_no_more_gpus_than_the_quota_lets_in(documents: list[Document]) -> None:
    hard = named(documents, "ResourceQuota")["orrery"]["spec"]["hard"]
    for queue in named(documents, "ClusterQueue").values():
        flavors = [f for group in queue["spec"]["resourceGroups"] for f in group["flavors"]]
        assert {f["name"] for f in flavors} == named(documents, "ResourceFlavor").keys()
        gpus = [r["nominalQuota"] for f in flavors for r in f["resources"] if r["name"] == "nvidia.com/gpu"]
        assert sum(map(parse_quantity, gpus)) <= parse_quantity(hard["requests.nvidia.com/gpu"])
    for queue in named(documents, "LocalQueue").values():
        assert queue["spec"]["clusterQueue"] in named(documents, "ClusterQueue")


def test_services_and_budgets_find_their_pods(documents: list[Document], pods: dict[str, Document]) -> None:
    for name, service in named(documents, "Service").items():
        [pod] = [p for p in pods.values() if selects(service["spec"]["selector"], p)]
        ports = {p["name"] for c in pod["spec"]["containers"] for p in c["ports"]}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports, name
    budgets = named(documents, "PodDisruptionBudget")
    assert budgets.keys() == {"minio", "policy-server"}
    for name, budget in budgets.items():
        [owner] = [n for n, p in pods.items() if selects(budget["spec"]["selector"]["matchLabels"], p)]
        assert owner == name
        assert budget["spec"]["maxUnavailable"] == 1, "one at a time, and one can always go: nodes can be drained"
