"""A real Kubernetes API server for tests: whichever KUBECONFIG names, or the one that `make test-cluster` booted.

Only the API server and its controllers are needed. Nothing there runs pods or answers for Kubeflow Trainer, so a test
sets a TrainJob's status itself, through the status subresource, as Trainer's controller would.
"""

from __future__ import annotations

import base64
import functools
import os
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from components.launcher.trainjob import GROUP, PLURAL, VERSION
from tests.engines import crds

Document = dict[str, Any]
CRD = f"{PLURAL}.{GROUP}"
MADE_BY_TESTS = "orrery/made-by-tests"
ACCOUNTS = Path(__file__).resolve().parents[2] / "manifests" / "base" / "accounts.yaml"


def wait_for(what: str, test: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true answer of `test`. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = test()
        if answer:
            return answer
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s")


@dataclass
class Cluster:
    """The administrator's view of a cluster, and one namespace of it that is the tests' own."""

    kubeconfig: str
    namespace: str

    @functools.cached_property
    def api(self) -> client.ApiClient:
        settings = client.Configuration()
        config.load_kube_config(self.kubeconfig, client_configuration=settings)
        return client.ApiClient(settings)

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @property
    def jobs(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self.api)

    # --- Trainer

    def serve_trainjobs(self, release: crds.Release) -> bool:
        """Make the cluster serve the TrainJobs of a Trainer release. False if it has its own Trainer."""
        [document] = yaml.load_all(
            (crds.folder(release) / release.folder / f"{GROUP}_{PLURAL}.yaml").read_text(), yaml.CSafeLoader
        )
        document["metadata"].setdefault("labels", {})[MADE_BY_TESTS] = release.version
        api = client.ApiextensionsV1Api(self.api)
        try:
            there = api.read_custom_resource_definition(CRD)
        except ApiException as error:
            if error.status != 404:
                raise
            api.create_custom_resource_definition(document)
        else:
            if MADE_BY_TESTS not in (there.metadata.labels or {}):
                return False
            document["metadata"]["resourceVersion"] = there.metadata.resource_version
            api.replace_custom_resource_definition(CRD, document)
        probe = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": {"generateName": "probe-"}}
        probe["spec"] = {"runtimeRef": {"name": "x"}, "activeDeadlineSeconds": 9}
        keeps = release.version != "v2.0.0"
        wait_for(f"TrainJobs of {release.version}", lambda: self._keeps_the_deadline(probe) is keeps)
        return True

    def _keeps_the_deadline(self, probe: Document) -> bool | None:
        """Whether a field that came after 2.0 is stored; None while the kind is not served."""
        try:
            made = self.jobs.create_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, probe, dry_run="All"
            )
        except ApiException as error:
            if error.status in (404, 429, 503):
                return None
            raise
        return "activeDeadlineSeconds" in made["spec"]

    def get(self, name: str) -> Document | None:
        try:
            return self.jobs.get_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, name)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def uid(self, name: str) -> str:
        """Waits until there is such a TrainJob."""
        return wait_for(f"TrainJob {name}", lambda: self.get(name))["metadata"]["uid"]

    def delete(self, name: str) -> None:
        self.jobs.delete_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, name)

    def end(self, name: str, *kinds: str, message: str = "") -> None:
        """Set conditions as Trainer's controller does."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [
            {"type": kind, "status": "True", "reason": f"Jobs{kind}", "message": message, "lastTransitionTime": now}
            for kind in kinds
        ]
        self.jobs.patch_namespaced_custom_object_status(
            GROUP, VERSION, self.namespace, PLURAL, name, {"status": {"conditions": conditions}}
        )

    # --- accounts

    def account(self, name: str, rules: list[Document] | None = None) -> None:
        """A service account: `pipeline` with the rights that the manifests give it, or one with `rules`."""
        rbac = client.RbacAuthorizationV1Api(self.api)
        if rules is None:
            documents = [d for d in yaml.safe_load_all(ACCOUNTS.read_text()) if d["metadata"]["name"] == name]
        else:
            documents = [
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
                {"kind": "Role", "metadata": {"name": name}, "rules": rules},
                {
                    "kind": "RoleBinding",
                    "metadata": {"name": name},
                    "subjects": [{"kind": "ServiceAccount", "name": name}],
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                },
            ]
        for document in documents:
            document = {k: v for k, v in document.items() if k != "apiVersion"}
            kind = document.pop("kind")
            for subject in document.get("subjects", ()):
                subject["namespace"] = self.namespace
            {
                "ServiceAccount": self.core.create_namespaced_service_account,
                "Role": rbac.create_namespaced_role,
                "RoleBinding": rbac.create_namespaced_role_binding,
            }[kind](self.namespace, document)

    def token(self, account: str) -> tuple[str, str]:
        """A token of the account, and the Secret whose deletion revokes it."""
        secret = self.core.create_namespaced_secret(self.namespace, {"metadata": {"name": f"t-{uuid.uuid4().hex[:8]}"}})
        bound = {"kind": "Secret", "apiVersion": "v1", "name": secret.metadata.name, "uid": secret.metadata.uid}
        answer = self.core.create_namespaced_service_account_token(
            account, self.namespace, {"spec": {"boundObjectRef": bound, "audiences": [], "expirationSeconds": 3600}}
        )
        return answer.status.token, secret.metadata.name

    def write_kubeconfig(self, path: Path, token: str) -> Path:
        """How somebody with this token reaches the cluster; replaced in one step, as kubelet and vaults do."""
        settings = self.api.configuration
        server = {"server": settings.host}
        if settings.ssl_ca_cert:
            server["certificate-authority-data"] = base64.b64encode(Path(settings.ssl_ca_cert).read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": server}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": self.namespace}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
        part = path.with_suffix(".part")
        part.write_text(yaml.safe_dump(document))
        os.replace(part, path)
        return path

    # --- the API server itself

    def answered(self, *verbs: str) -> float:
        """How many requests for TrainJobs the API server has answered or begun to answer, by its own count."""
        text = self.api.call_api(
            "/metrics", "GET", auth_settings=["BearerToken"], _preload_content=False, _return_http_data_only=True
        ).data.decode()
        lines = [line for line in text.splitlines() if line.startswith("apiserver_request_total{")]
        mine = [line for line in lines if f'resource="{PLURAL}"' in line and any(f'verb="{v}"' in line for v in verbs)]
        return sum(float(line.rpartition(" ")[2]) for line in mine)

    def ready(self) -> bool:
        try:
            self.api.call_api("/readyz", "GET", auth_settings=["BearerToken"], _preload_content=False)
        except Exception:  # whatever a server that is down does to a client
            return False
        return True


def scripts(cluster: Cluster) -> Path | None:
    """The scripts that booted this cluster; None if it is somebody else's."""
    folder = os.environ.get("ORRERY_CLUSTER_SCRIPTS")
    ours = folder and os.environ.get("ORRERY_CLUSTER_BOOTED") == cluster.kubeconfig
    return Path(folder) if folder and ours else None


def restart_api_server(folder: Path, between: Callable[[], None]) -> None:
    """Stop the API server, do something, and start it again."""
    run = functools.partial(subprocess.run, check=True, timeout=180, stdout=subprocess.DEVNULL)
    run(["bash", "-c", '. "$0/lib.sh"; stop kube-apiserver', str(folder)])
    try:
        between()
    finally:
        run(["bash", str(folder / "up.sh")], env={**os.environ, "TIER": "2"})
