"""If these fail, `kubectl apply -k manifests/base` is refused by a cluster, or lets in more than it should."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import typer.main

from components import images
from pipelines.cli import app

Document = dict[str, Any]


def named(documents: list[Document], kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}


def selects(selector: dict[str, str], pod: Document) -> bool:
    return selector.items() <= pod["metadata"]["labels"].items()


def environment(container: Document, documents: list[Document]) -> dict[str, str]:
    """The plain values of a container's environment; those of secrets are not here."""
    maps = named(documents, "ConfigMap")
    values = {}
    for source in container.get("envFrom", ()):
        values |= maps[source["configMapRef"]["name"]]["data"]
    return values | {e["name"]: e["value"] for e in container.get("env", ()) if "value" in e}


def test_every_object_fits_the_schemas_of_the_cluster_it_is_made_for(documents: list[Document]) -> None:
    """Breaks on a misspelt or misplaced field, which a cluster would drop without a word."""
    labels = named(documents, "Namespace")["orrery"]["metadata"]["labels"]
    version = labels["pod-security.kubernetes.io/enforce-version"].removeprefix("v")
    for document in documents:
        assert kubernetes_validate.validate(document, version, strict=True) == version


def test_objects_live_in_one_namespace_that_admits_only_restricted_pods(documents: list[Document]) -> None:
    [namespace] = named(documents, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    homes = {d["metadata"].get("namespace") for d in documents if d["kind"] != "Namespace"}
    assert homes == {namespace["metadata"]["name"]}


def test_images_are_the_ones_that_are_built(kustomization: Document, containers: dict[str, Document]) -> None:
    """Breaks if an image was renamed or tagged anew in images.json and the cluster kept the old one, or none."""
    rendered = {}
    for entry in kustomization["images"]:
        digest = f"@{entry['digest']}" if "digest" in entry else ""
        rendered[entry["name"]] = f"{entry['newName']}:{entry['newTag']}{digest}"
    ours = {name: images.image(name) for name in images.names() if name in rendered}
    assert {name: rendered[name] for name in ours} == ours
    assert {"data", "serving"} <= ours.keys()
    assert {c["image"] for c in containers.values()} == set(rendered.values())
    assert not any(tag.endswith(":latest") for tag in rendered.values())


def test_no_pod_runs_as_root_or_shares_its_node(pods: dict[str, Document]) -> None:
    assert pods.keys() == {"minio", "bucket", "policy-server"}
    for name, pod in pods.items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert not [v for v in spec["volumes"] if "hostPath" in v], name
        assert spec["automountServiceAccountToken"] is False, f"{name} needs nothing of the API server"


def test_no_container_may_gain_privileges_or_write_to_its_image(containers: dict[str, Document]) -> None:
    for name, container in containers.items():
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert not context.get("privileged"), name
        assert context.get("runAsUser", 1) > 0, name
        assert not [p for p in container.get("ports", ()) if "hostPort" in p], name


def test_what_a_pod_may_use_is_bounded(pods: dict[str, Document], containers: dict[str, Document]) -> None:
    """Breaks if a pod could fill its node's memory or disk, and be evicted with its neighbours."""
    for name, container in containers.items():
        assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["requests"].keys(), name
        assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys(), name
    for name, pod in pods.items():
        for volume in pod["spec"]["volumes"]:
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), f"{name}: volume {volume['name']}"


def test_secrets_are_named_and_never_held(documents: list[Document], containers: dict[str, Document]) -> None:
    assert not named(documents, "Secret")
    for name, container in containers.items():
        for variable in environment(container, documents):
            assert not any(word in variable for word in ("KEY", "SECRET", "PASSWORD", "TOKEN")), f"{name}: {variable}"
        references = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e]
        assert {r["name"] for r in references} <= {"minio-root", "store-credentials"}, name
        assert not any(r.get("optional") for r in references), name
    server = {e["valueFrom"]["secretKeyRef"]["name"] for e in containers["policy-server/triton"]["env"]}
    assert server == {"store-credentials"}, "the policy server must not be MinIO's administrator"


def test_nothing_talks_unless_a_policy_says_so(policies: dict[str, Document]) -> None:
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        if name == "default-deny":
            continue
        assert policy["podSelector"]["matchLabels"], f"{name} opens every pod"
        for rule, peers in _rules(policy):
            assert rule.get(peers), f"{name} lets anybody in or out"
            assert all(rule[peers]), f"{name} lets anybody in or out"
            assert rule["ports"], f"{name} opens every port"


def test_policies_open_what_the_pods_need(policies: dict[str, Document], pods: dict[str, Document]) -> None:
    """Breaks if a store client was cut off from MinIO, or a policy was written for pods that do not exist."""
    for name, policy in policies.items():
        chosen = [p for p in pods.values() if selects(policy["podSelector"].get("matchLabels", {}), p)]
        assert chosen, f"{name} selects no pod"
        served = {p["containerPort"] for pod in chosen for c in pod["spec"]["containers"] for p in c.get("ports", ())}
        opened = {port["port"] for rule in policy.get("ingress", ()) for port in rule["ports"]}
        assert opened <= served, f"{name} opens ports that nobody listens on"
    for name, pod in pods.items():
        sources = [s["configMapRef"]["name"] for c in pod["spec"]["containers"] for s in c.get("envFrom", ())]
        is_client = any(source.startswith("store") for source in sources)
        assert is_client == selects({"orrery/store-client": "true"}, pod), name


def test_services_and_budgets_find_their_pods(documents: list[Document], pods: dict[str, Document]) -> None:
    for name, service in named(documents, "Service").items():
        [pod] = [p for p in pods.values() if selects(service["spec"]["selector"], p)]
        ports = {p["name"] for c in pod["spec"]["containers"] for p in c["ports"]}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports, name
    for name, budget in named(documents, "PodDisruptionBudget").items():
        [owner] = [n for n, p in pods.items() if selects(budget["spec"]["selector"]["matchLabels"], p)]
        replicas = named(documents, "Deployment")[owner]["spec"]["replicas"]
        assert budget["spec"]["minAvailable"] < replicas, f"{name}: no node could ever be drained"


def test_the_policy_server_is_probed_for_what_each_probe_means(
    documents: list[Document], containers: dict[str, Document]
) -> None:
    """Breaks if robots were sent to a pod whose policy is not loaded, or a slow download was taken for a crash."""
    server = containers["policy-server/triton"]
    assert server["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert server["startupProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert server["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": "http"}
    startup = server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"]
    deployment = named(documents, "Deployment")["policy-server"]["spec"]
    assert 300 <= startup <= deployment["progressDeadlineSeconds"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_policy_server_speaks_the_command_line(documents: list[Document], containers: dict[str, Document]) -> None:
    """Breaks if an option of `orrery serve` was renamed and the pod was not."""
    server = containers["policy-server/triton"]
    values = environment(server, documents)
    program, verb, *arguments = [a.replace("$(POLICY)", values["POLICY"]) for a in server["command"]]
    assert program == "orrery"
    command: Any = typer.main.get_command(app)
    parsed = command.commands[verb].make_context(verb, arguments).params
    assert (parsed["policy"], parsed["host"]) == (values["POLICY"], "0.0.0.0")
    ports = {p["name"]: p["containerPort"] for p in server["ports"]}
    assert ports == {"http": parsed["port"], "grpc": parsed["port"] + 1, "metrics": parsed["port"] + 2}


def test_the_bucket_job_makes_the_bucket(
    documents: list[Document], containers: dict[str, Document], minio: Any
) -> None:
    """The job's own command against a real MinIO, twice: jobs are run again."""
    job = containers["bucket/bucket"]
    url = f"s3://orrery-{uuid.uuid4().hex[:8]}"
    values = environment(job, documents) | {"ORRERY_STORE": url, "MINIO_ENDPOINT": minio.endpoint}
    secrets = {e["name"] for e in job["env"] if "valueFrom" in e}
    assert secrets == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    values |= {name: minio.environment[name] for name in secrets}
    command = [sys.executable, *job["command"][1:]]
    said = [
        subprocess.run(command, env={**os.environ, **values}, capture_output=True, text=True, timeout=60, check=True)
        for _ in range(2)
    ]
    assert [s.stdout for s in said] == [f"{url} made\n", f"{url} was there\n"]


def _rules(policy: Document) -> Iterator[tuple[Document, str]]:
    yield from ((rule, "from") for rule in policy.get("ingress", ()))
    yield from ((rule, "to") for rule in policy.get("egress", ()))
