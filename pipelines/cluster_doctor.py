"""What a cluster has of what Orrery needs, and how to mend each that it lacks: read only, a few small requests.

Sources of the version rules: Kueue 0.17 needs Trainer 2.2 or later (kubernetes-sigs/kueue#11931: older Trainers drop
the field, and the job never starts); compiled manifests need Pipelines 2.14 in its Kubernetes-native mode.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from components.store.access import KEY_FILE, ROLES, SECRET_FILE
from pipelines.findings import Finding
from pipelines.kfp_cluster import ENDPOINT, ClusterError, why

NAMESPACE, SYSTEM = "orrery", "kubeflow"
"""Where pipelines run, and where KFP and its Argo are."""
KFP_ACCOUNT = "pipeline-runner"
REQUEST_SECONDS = 10
TOKEN_COMMAND = "kubectl create token ACCOUNT --audience pipelines.kubeflow.org"
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the systems that pipelines stand on: its CRD, its controller's Deployment, the oldest that will do.

    `needed`: by every recipe; the others are asked for by a few.
    """

    crd: str
    serves: str
    deployment: str
    oldest: Version
    needed: bool
    mend: str


PARTS = {
    "pipelines": Part(
        "pipelines.pipelines.kubeflow.org", "v2beta1", "ml-pipeline", (2, 14), True,
        "install Kubeflow Pipelines 2.17",
    ),
    "trainer": Part(
        "trainjobs.trainer.kubeflow.org", "v1alpha1", "kubeflow-trainer-controller-manager", (2, 0), False,
        "install Kubeflow Trainer 2.0 to 2.3; without it recipes with cluster.nodes can't train",
    ),
    "runtimes": Part(
        "clustertrainingruntimes.trainer.kubeflow.org", "v1alpha1", "", (0, 0), False,
        "install Kubeflow Trainer 2.0 to 2.3 with its CRDs",
    ),
    "jobset": Part(
        "jobsets.jobset.x-k8s.io", "v1alpha2", "jobset-controller-manager", (0, 8), False,
        "install JobSet, on which Trainer stands",
    ),
    "kueue": Part(
        "clusterqueues.kueue.x-k8s.io", "v1beta2", "kueue-controller-manager", (0, 0), False,
        "install Kueue 0.19, or leave manifests/queues out and cluster.queue empty",
    ),
    "kserve": Part(
        "inferenceservices.serving.kserve.io", "v1beta1", "kserve-controller-manager", (0, 15), False,
        "install KServe 0.20; only serving on the cluster needs it",
    ),
}  # fmt: skip

ACCOUNTS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "pipeline": (
        *(("trainer.kubeflow.org", "trainjobs", "", verb) for verb in ("create", "get", "list", "watch", "delete")),
        ("", "pods", "", "list"),
        ("", "pods", "log", "get"),
        ("", "events", "", "list"),
        ("argoproj.io", "workflowtaskresults", "", "create"),
    ),
    "training": (),
}
"""What each service account must be allowed: (API group, resource, subresource, verb); manifests/base/accounts.yaml."""
FORBIDDEN = (("", "secrets", "", "list"), ("", "pods", "exec", "create"), ("", "pods", "", "create"))
"""What none of them may: whoever can start pods or read secrets can do all that the namespace can."""


def examine(client: Any, namespace: str = NAMESPACE) -> list[Finding]:
    """Every finding about the cluster behind a `kubernetes.client.ApiClient`. What may not be read is a finding too.

    `namespace` is `kubeflow` where KFP serves one team only: its steps run beside it, and its own account is theirs.
    """
    cluster = _Cluster(client, namespace)
    found = list(cluster.guarded(_server))
    if found[0].state == "missing":
        return found  # nothing else can be asked
    for check in (
        _parts,
        _locks,
        _runtimes,
        _namespace,
        _accounts,
        _queues,
        _quota,
        _storage,
        _retries,
        _pipelines_api,
    ):
        found += cluster.guarded(check)
    return found


def connect(context: str | None = None) -> Any:
    """A client of the cluster that KUBECONFIG (or the pod's own account) names. Raises ClusterError."""
    from kubernetes import client, config
    from yaml import YAMLError

    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
            config.load_incluster_config()
            return client.ApiClient()
        return config.new_client_from_config(os.environ.get("KUBECONFIG"), context)  # named: its default is import's
    except (config.ConfigException, OSError, ValueError, TypeError, YAMLError) as error:  # it trusts the file's form
        where = os.environ.get("KUBECONFIG") or "~/.kube/config"
        text = " ".join(str(error).split()).removeprefix("Invalid kube-config file. ").rstrip(".")
        raise ClusterError(
            f"no cluster is named by {where}: {text}; set KUBECONFIG to a file that `kubectl --kubeconfig` takes"
        ) from None


class _Cluster:
    """GETs and access reviews, each with a deadline."""

    def __init__(self, client: Any, namespace: str):
        self.client, self.namespace = client, namespace

    def get(self, path: str, accept: str = "application/json") -> Mapping[str, Any]:
        """The object at an API path. Raises ApiException, HTTPError."""
        return self._call("GET", path, None, accept)

    def allows(self, spec: Mapping[str, Any], account: str = "") -> bool:
        """Whether the API server lets this user, or a service account of the namespace, do it in the namespace."""
        group, resource, subresource, verb = spec["ask"]
        wanted = {"namespace": self.namespace, "group": group, "resource": resource, "verb": verb}
        wanted |= {"subresource": subresource} if subresource else {}
        body: dict[str, Any] = {"resourceAttributes": wanted}
        kind = "SelfSubjectAccessReview"
        if account:
            kind = "SubjectAccessReview"
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"]
            body |= {"user": f"system:serviceaccount:{self.namespace}:{account}", "groups": groups}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": body}
        path = f"/apis/authorization.k8s.io/v1/{kind.lower()}s"
        return bool(self._call("POST", path, review, "application/json")["status"].get("allowed"))

    def there(self, path: str, accept: str = "application/json") -> Mapping[str, Any] | None:
        """The object at a path, or None. Raises ApiException for another refusal than 404."""
        from kubernetes.client import ApiException

        try:
            return self.get(path, accept)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def guarded(self, check: Callable[[_Cluster], Iterator[Finding]]) -> Iterator[Finding]:
        """A check's findings; what the API server refuses to tell is one."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        name = check.__name__.strip("_").replace("_", "-")
        try:
            yield from check(self)
        except ApiException as error:
            mend = "ask its administrator for the right to read it, or to run: orrery doctor --cluster"
            yield Finding(name, "missing" if check is _server else "warn", f"refused: HTTP {error.status}", mend)
        except (HTTPError, OSError) as error:
            mend = "is the cluster up, and KUBECONFIG right?"
            yield Finding(name, "missing", f"can't be reached: {why(error)}", mend)

    def _call(self, method: str, path: str, body: Any, accept: str) -> Mapping[str, Any]:
        import json

        answer = self.client.call_api(
            path, method, header_params={"Accept": accept, "Content-Type": "application/json"}, body=body,
            auth_settings=["BearerToken"], _preload_content=False, _request_timeout=REQUEST_SECONDS,
        )  # fmt: skip
        return json.loads(answer[0].data)


def _server(cluster: _Cluster) -> Iterator[Finding]:
    version = cluster.get("/version")
    text = str(version["gitVersion"])
    new = (_version(text) or (0, 0)) >= (1, 29)
    yield Finding("kubernetes", "ok" if new else "warn", text, "" if new else "manifests are made for 1.29 or later")


def _parts(cluster: _Cluster) -> Iterator[Finding]:
    running = _deployments(cluster)
    for name, part in PARTS.items():
        crd = cluster.there(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{part.crd}")
        version = running.get(part.deployment)
        lacking: Literal["missing", "warn"] = "missing" if part.needed else "warn"
        if crd is None and not (name == "pipelines" and version is not None):  # those may lie in its own database
            yield Finding(name, lacking, f"no CRD {part.crd}", part.mend)
            continue
        served = [v["name"] for v in crd["spec"]["versions"] if v.get("served")] if crd else [part.serves]
        if part.serves not in served:
            yield Finding(name, lacking, f"{part.crd} serves {', '.join(served)}, not {part.serves}", part.mend)
            continue
        if not part.deployment:
            yield Finding(name, "ok", f"{part.crd} {part.serves}")
        elif version is None:
            what = f"{part.crd} is there, but no Deployment {part.deployment} is"
            yield Finding(name, "warn", what, f"is its controller running under another name? Else {part.mend}")
        elif (known := _version(version)) and known < part.oldest:
            yield Finding(name, lacking, f"{version} is too old", part.mend)
        else:
            yield Finding(name, "ok", f"{version or 'version unknown'}, {part.serves}")


def _locks(cluster: _Cluster) -> Iterator[Finding]:
    """Kueue and Trainer must fit: what the TrainJob's schema knows says more than a tag."""
    running = _deployments(cluster)
    kueue = _version(running.get(PARTS["kueue"].deployment) or "")
    crd = cluster.there(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PARTS['trainer'].crd}")
    if kueue is None or crd is None:
        return
    [schema] = [v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == "v1alpha1"]
    fields = schema["properties"]["spec"]["properties"]
    fits = kueue < (0, 17) or "runtimePatches" in fields
    yield Finding(
        "kueue-and-trainer", "ok" if fits else "missing", f"Kueue {kueue[0]}.{kueue[1]} with this Trainer",
        "" if fits else "Kueue from 0.17 on needs Trainer 2.2 or later: a queued TrainJob would never start",
    )  # fmt: skip


def _runtimes(cluster: _Cluster) -> Iterator[Finding]:
    found = cluster.there("/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes")
    if found is None:
        return
    names = sorted(item["metadata"]["name"] for item in found["items"])
    ours = [name for name in names if name.startswith("orrery")]
    yield Finding(
        "training-runtimes", "ok" if ours else "warn", ", ".join(names) or "none",
        "" if ours else "kubectl apply -k manifests/training, for recipes with cluster.nodes",
    )  # fmt: skip


def _namespace(cluster: _Cluster) -> Iterator[Finding]:
    found = cluster.there(f"/api/v1/namespaces/{cluster.namespace}")
    level = ((found or {}).get("metadata", {}).get("labels") or {}).get("pod-security.kubernetes.io/enforce")
    mend = "kubectl apply -k manifests/overlays/local, or production"
    if found is None:
        yield Finding("namespace", "missing", f"no namespace {cluster.namespace}", mend)
    elif level != "restricted":
        yield Finding("namespace", "warn", f"Pod Security is {level or 'not enforced'}, not restricted", mend)
    else:
        yield Finding("namespace", "ok", f"{cluster.namespace}, Pod Security {level}")


def _accounts(cluster: _Cluster) -> Iterator[Finding]:
    if cluster.namespace == SYSTEM:
        yield from _runner(cluster)
        return
    mend = "kubectl apply -k manifests/base"
    for account, needs in ACCOUNTS.items():
        if cluster.there(f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/{account}") is None:
            yield Finding(f"account {account}", "missing", "it is not there", mend)
            continue
        lacking = [_said(ask) for ask in needs if not cluster.allows({"ask": ask}, account)]
        excess = [_said(ask) for ask in FORBIDDEN if cluster.allows({"ask": ask}, account)]
        if lacking:
            yield Finding(f"account {account}", "missing", f"may not {', '.join(lacking)}", mend)
        elif excess:
            what = f"may {', '.join(excess)}, which it does not need"
            yield Finding(f"account {account}", "warn", what, "take the role binding away that allows it")
        else:
            yield Finding(f"account {account}", "ok", f"may do the {len(needs)} things it needs, and not more")


def _runner(cluster: _Cluster) -> Iterator[Finding]:
    """KFP's own account of steps. It may more than they need; what it lacks, only steps with TrainJobs need."""
    name = f"account {KFP_ACCOUNT}"
    if cluster.there(f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{KFP_ACCOUNT}") is None:
        yield Finding(
            name, "missing", "it is not there", "is KFP in another namespace, or does it serve several teams?"
        )
        return
    lacking = [_said(ask) for ask in ACCOUNTS["pipeline"] if not cluster.allows({"ask": ask}, KFP_ACCOUNT)]
    mend = "recipes with cluster.nodes need that: bind the Role `pipeline` of manifests/base/accounts.yaml to it"
    what = f"may not {', '.join(lacking)}" if lacking else f"may do the {len(ACCOUNTS['pipeline'])} things it needs"
    yield Finding(name, "warn" if lacking else "ok", what, mend if lacking else "")


def _queues(cluster: _Cluster) -> Iterator[Finding]:
    version = PARTS["kueue"].serves
    found = cluster.there(f"/apis/kueue.x-k8s.io/{version}/namespaces/{cluster.namespace}/localqueues")
    if found is None:
        return
    names = sorted(item["metadata"]["name"] for item in found["items"])
    mend = "" if names else "kubectl apply -k manifests/queues, or leave cluster.queue empty"
    yield Finding("queues", "ok" if names else "warn", ", ".join(names) or "none in the namespace", mend)


def _quota(cluster: _Cluster) -> Iterator[Finding]:
    found = cluster.get(f"/api/v1/namespaces/{cluster.namespace}/resourcequotas")
    if not found["items"]:
        yield Finding("quota", "warn", "the namespace has none", "kubectl apply -k manifests/base")
    for item in found["items"]:
        status = item.get("status", {})
        hard, used = status.get("hard", {}), status.get("used", {})
        shown = [f"{key.removeprefix('requests.')} {used.get(key, '0')} of {hard[key]}" for key in sorted(hard)]
        full = [key for key in hard if hard[key] != "0" and used.get(key) == hard[key]]
        mend = f"{', '.join(full)}: end what holds it, or raise it in manifests/base/quota.yaml" if full else ""
        yield Finding("quota", "warn" if full else "ok", "; ".join(shown) or item["metadata"]["name"], mend)


def _storage(cluster: _Cluster) -> Iterator[Finding]:
    """Whether the secrets and the address of the store are there. Their values are not asked for."""
    names_only = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    base = f"/api/v1/namespaces/{cluster.namespace}"
    lacking = [role for role in ROLES if cluster.there(f"{base}/secrets/store-{role}", names_only) is None]
    create = f"kubectl -n {cluster.namespace} create"
    entries = f"--from-literal={KEY_FILE}=… --from-literal={SECRET_FILE}=…"
    mend = f"of each: {create} secret generic store-{lacking[0]} {entries}" if lacking else ""
    what = f"no {', '.join(f'store-{role}' for role in lacking)}" if lacking else f"{len(ROLES)} roles' secrets"
    yield Finding("store-secrets", "missing" if lacking else "ok", what, mend)
    address = ((cluster.there(f"{base}/configmaps/store") or {}).get("data") or {}).get("MINIO_ENDPOINT")
    mend = "" if address else f"{create} configmap store --from-literal=MINIO_ENDPOINT=http://…, or manifests/overlays"
    yield Finding("store", "ok" if address else "missing", address or "no ConfigMap store with MINIO_ENDPOINT", mend)
    classes = cluster.get("/apis/storage.k8s.io/v1/storageclasses")["items"]
    default = [
        c["metadata"]["name"]
        for c in classes
        if (c["metadata"].get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    ]
    mend = "" if default else "mark one StorageClass as the default; MinIO's volume needs it in the local overlay"
    yield Finding("storage-class", "ok" if default else "warn", ", ".join(default) or "no default one", mend)


def _retries(cluster: _Cluster) -> Iterator[Finding]:
    """Whether Argo starts a failed step again, as often as the recipe says. KFP's manifests from 2.17 on
    (kubeflow/pipelines#13485) set `OnError` for all templates: a lost pod is replaced; one whose process failed or took
    too much memory is not. Any other policy there goes to every level of a pipeline too, and multiplies, unless an
    expression tells pods from levels."""
    found = cluster.there(f"/api/v1/namespaces/{SYSTEM}/configmaps/workflow-controller-configmap")
    if found is None:
        return
    strategy = _retry_strategy((found.get("data") or {}).get("workflowDefaults", ""))
    policy, told_apart = strategy.get("retryPolicy"), "expression" in strategy
    what = f"Argo's policy is {policy or 'its default'}{', for pods alone' if told_apart else ''}"
    mend = ""
    if policy == "OnError":
        mend = "a step that fails is not tried again"
    elif strategy and not told_apart:
        mend = "a step that fails is tried again by every level of the pipeline above it, hundreds of times"
    if mend:
        mend += (
            f": kubectl -n {SYSTEM} patch configmap workflow-controller-configmap "
            "--patch-file manifests/kubeflow/retries.yaml"
        )
    yield Finding("retries", "warn" if mend else "ok", what, mend)


def _retry_strategy(defaults: str) -> dict[str, Any]:
    """`spec.templateDefaults.retryStrategy` of a workflow's defaults (YAML), or nothing."""
    try:
        found: Any = yaml.safe_load(defaults)
    except yaml.YAMLError:
        return {}
    for key in ("spec", "templateDefaults", "retryStrategy"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _pipelines_api(cluster: _Cluster) -> Iterator[Finding]:
    """Whether runs can be sent: through the address that `orrery run --cluster` uses."""
    from importlib.metadata import version

    from pipelines import kfp_cluster

    if not os.environ.get(ENDPOINT):
        mend = f"kubectl -n kubeflow port-forward svc/ml-pipeline 8888, then {ENDPOINT}=http://localhost:8888"
        yield Finding("pipelines-api", "warn", "no address is set, so runs can't be sent", mend)
        return
    try:
        client = kfp_cluster.connect()
        where = kfp_cluster.namespace_of(client)
        with kfp_cluster.talking(os.environ[ENDPOINT]):
            client.list_experiments(page_size=1, namespace=where)
        yield Finding(
            "pipelines-api", "ok", f"answers, {f'for {where}' if where else 'for one team'}; client {version('kfp')}"
        )
    except ClusterError as error:
        mend = f"are {ENDPOINT}, {kfp_cluster.NAMESPACE} and {kfp_cluster.TOKEN} right? A token: {TOKEN_COMMAND}"
        yield Finding("pipelines-api", "missing", str(error), mend)


def _deployments(cluster: _Cluster) -> dict[str, str]:
    """The image tag of each controller's Deployment, '' if it has none, in whatever namespace it is."""
    found = {}
    for item in cluster.get("/apis/apps/v1/deployments")["items"]:
        image = item["spec"]["template"]["spec"]["containers"][0]["image"].partition("@")[0]
        found[item["metadata"]["name"]] = image.rpartition("/")[2].partition(":")[2]
    return found


def _version(text: str) -> Version | None:
    """`v2.1.0-rc.0` as (2, 1)."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _said(ask: tuple[str, str, str, str]) -> str:
    group, resource, subresource, verb = ask
    return f"{verb} {resource}{'/' + subresource if subresource else ''}{'.' + group if group else ''}"
