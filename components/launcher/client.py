"""The thin client of the Kubernetes API that the launcher needs: TrainJobs, and what their pods say.

Every call has a time-out, is safe to repeat, and outlives what a training of days outlives: restarts of the API server
(waited out with backoff) and rotated credentials (read anew, from time to time and when they are refused).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from components.launcher.trainjob import GROUP, JOBSET_LABEL, PLURAL, VERSION, Document, Owner
from components.store.errors import ConfigurationError, OrreryError
from components.store.retry import patiently

T = TypeVar("T")

PATIENCE_SECONDS = 600.0
"""How long an outage of the API server is waited out: an upgrade of a control plane takes minutes."""
RENEW_SECONDS = 300.0
"""After so long the configuration is read anew: tokens and certificates are replaced on disk."""
WATCH_SECONDS = 8
"""A watch is opened anew after so long, so a connection that died in silence hides an end for no longer than this."""
_TIMEOUT = (5, 20)  # seconds to connect, and without a byte of the answer
_DENIED_SECONDS = 15.0  # how long a refusal is doubted: new credentials may not be there yet, or rights not read yet
_EVENT_PAGES = 20
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ClusterError(OrreryError):
    """The cluster refused, or could not be reached."""

    exit_code = 3


class Gone(ClusterError):
    """What a watch should go on from is too old: list again."""


class _Doubtful(Exception):
    """Refused, but perhaps only for a moment."""


class TrainerClient:
    """TrainJobs of one namespace. Threads may share it. Raises ClusterError, and OSError never.

    `namespace`: else the pod's own, else the current context's. Configured as kubectl is (KUBECONFIG), or by the pod's
    service account.
    """

    def __init__(self, namespace: str = "", patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._denied_since: float | None = None
        self._granted: set[str] = set()
        self._api = self._connect()
        self.namespace = namespace or own_namespace()

    # --- TrainJobs

    def create(self, job: Document) -> Document | None:
        """The object as it is stored; None if its name is taken."""

        def call(api: client.ApiClient) -> Document | None:
            try:
                return self._jobs(api).create_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, job, _request_timeout=_TIMEOUT
                )
            except ApiException as error:
                if error.status == 409:
                    return None
                raise

        return self._ask("create trainjobs.trainer.kubeflow.org", call)

    def get(self, name: str) -> Document | None:
        """None if there is no such TrainJob."""

        def call(api: client.ApiClient) -> Document | None:
            try:
                return self._jobs(api).get_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=_TIMEOUT
                )
            except ApiException as error:
                if error.status == 404 and not _unserved(error):
                    return None
                raise

        return self._ask("get trainjobs.trainer.kubeflow.org", call)

    def delete(self, name: str, uid: str) -> None:
        """Delete this very TrainJob and, by garbage collection, its pods. Harmless if it is gone or is another one."""
        options = client.V1DeleteOptions(propagation_policy="Background", preconditions=client.V1Preconditions(uid=uid))

        def call(api: client.ApiClient) -> None:
            try:
                self._jobs(api).delete_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, name, body=options, _request_timeout=_TIMEOUT
                )
            except ApiException as error:
                if error.status not in (404, 409):
                    raise

        self._ask("delete trainjobs.trainer.kubeflow.org", call)

    def select(self, selector: str) -> tuple[list[Document], str]:
        """TrainJobs by label, and the resource version from which to watch."""

        def call(api: client.ApiClient) -> Document:
            return self._jobs(api).list_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, label_selector=selector, _request_timeout=_TIMEOUT
            )

        found = self._ask("list trainjobs.trainer.kubeflow.org", call)
        return found["items"], found["metadata"]["resourceVersion"]

    def watch(self, selector: str, version: str, seconds: int = WATCH_SECONDS) -> Iterator[tuple[str, Document]]:
        """(`ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, object) after `version`, for some seconds.

        A connection that breaks ends it, as its time does. Raises Gone if `version` is too old.
        """

        def call(api: client.ApiClient) -> Any:
            return self._jobs(api).list_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, label_selector=selector, resource_version=version, watch=True,
                allow_watch_bookmarks=True, timeout_seconds=seconds, _preload_content=False,
                _request_timeout=(5, seconds + 2),
            )  # fmt: skip

        with closing(self._ask("watch trainjobs.trainer.kubeflow.org", call)) as answer, suppress(*_OUTAGES):
            for line in _lines(answer):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise Gone(str(event["object"].get("message", "")))
                yield event["type"], event["object"]

    # --- what its pods say

    def pods(self, job: str) -> list[Document]:
        """The pods of a TrainJob's nodes, as JSON."""

        def call(api: client.ApiClient) -> Document:
            core = client.CoreV1Api(api)
            answer = core.list_namespaced_pod(
                self.namespace,
                label_selector=f"{JOBSET_LABEL}={job}",
                _preload_content=False,
                _request_timeout=_TIMEOUT,
            )
            return json.loads(answer.data)

        return self._ask("list pods", call)["items"]

    def last_lines(self, pod: str, lines: int = 20) -> str:
        """The end of a pod's log; empty if it never wrote one, or is gone."""

        def call(api: client.ApiClient) -> str:
            try:
                answer = client.CoreV1Api(api).read_namespaced_pod_log(
                    pod, self.namespace, tail_lines=lines, limit_bytes=1 << 16, _preload_content=False,
                    _request_timeout=_TIMEOUT,
                )  # fmt: skip
                return answer.data.decode(errors="replace")
            except ApiException as error:
                if error.status in (400, 404):  # not started, or gone
                    return ""
                raise

        return self._ask("get pods/log", call)

    def stream_log(self, pod: str, since: str) -> Iterator[tuple[str, str]]:
        """(time, line) of a pod's log from `since` (RFC 3339; empty: its start), until it or the call ends."""

        def call(api: client.ApiClient) -> Any:
            core = client.CoreV1Api(api)
            # The library knows only whole seconds back; `sinceTime` is exact.
            query = [("follow", "true"), ("timestamps", "true"), *([("sinceTime", since)] if since else [])]
            return core.api_client.call_api(
                "/api/v1/namespaces/{namespace}/pods/{name}/log", "GET",
                {"namespace": self.namespace, "name": pod}, query, {"Accept": "*/*"},
                auth_settings=["BearerToken"], _preload_content=False, _return_http_data_only=True,
                _request_timeout=(5, 120),
            )  # fmt: skip

        with closing(self._ask("get pods/log", call)) as answer, suppress(*_OUTAGES):
            for line in _lines(answer):
                stamp, _, text = line.partition(" ")
                yield stamp, text

    def events(self, names: tuple[str, ...]) -> list[str]:
        """What the cluster said of these objects and of what they made, oldest first: `Pod x: FailedScheduling …`."""

        def call(api: client.ApiClient) -> list[Document]:
            core, events, more = client.CoreV1Api(api), [], ""
            for _ in range(_EVENT_PAGES):  # they come by name, not by time: ours may stand on any page
                answer = core.list_namespaced_event(
                    self.namespace, limit=500, _continue=more or None, _preload_content=False, _request_timeout=_TIMEOUT
                )
                page = json.loads(answer.data)
                events += page["items"]
                more = page["metadata"].get("continue", "")
                if not more:
                    break
            return events

        said = []
        for event in self._ask("list events", call):
            about = event["involvedObject"]
            if any(about.get("name") == name or about.get("name", "").startswith(f"{name}-") for name in names):
                when = event.get("lastTimestamp") or event.get("eventTime") or ""
                text = f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {event.get('message')}"
                said.append((when, " ".join(text.split())))
        return [text for _, text in sorted(said)]

    def own_owner(self) -> Owner | None:
        """Who shall own a job that this process starts: the workflow of its pod, else the pod; None outside a pod.

        The workflow outlives a pod that is retried, and the job with it: the next attempt adopts it.
        """
        name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
        if not name:
            return None

        def call(api: client.ApiClient) -> Document:
            answer = client.CoreV1Api(api).read_namespaced_pod(
                name, own_namespace(), _preload_content=False, _request_timeout=_TIMEOUT
            )
            return json.loads(answer.data)

        metadata = self._ask("get pods", call)["metadata"]
        for owner in metadata.get("ownerReferences") or ():
            if owner.get("controller"):
                return Owner(**{key: owner[key] for key in Owner.model_fields})
        return Owner(apiVersion="v1", kind="Pod", name=name, uid=uid or metadata["uid"])

    # --- how it asks

    def _jobs(self, api: client.ApiClient) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(api)

    def _connect(self) -> client.ApiClient:
        self._renewed = time.monotonic()
        settings = client.Configuration()
        try:
            if (_ACCOUNT / "token").exists() and not os.environ.get("KUBECONFIG"):
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)
        except (config.ConfigException, OSError, ValueError, TypeError, yaml.YAMLError) as error:
            # the library trusts the form of a file, which may be half written just now
            raise ConfigurationError(
                f"no Kubernetes is configured: {error}; set KUBECONFIG, or run in a pod with a service account"
            ) from None
        settings.retries = False  # how long a call may take is decided by `patiently` alone
        self._where = f"the Kubernetes API at {settings.host}"
        return client.ApiClient(settings)

    def _ask(self, what: str, call: Callable[[client.ApiClient], T]) -> T:
        """`call` with a client that is never old, again while the API server is away. `what`: verb and resource."""

        def once() -> T:
            if time.monotonic() - self._renewed > RENEW_SECONDS:
                self._renew()
            try:
                answer = call(self._api)
            except ApiException as error:
                self._judge(what, error)
                raise
            self._denied_since = None
            self._granted.add(what)
            return answer

        try:
            return patiently(once, _is_outage, self._where, self._patience)
        except _Doubtful as error:
            raise ClusterError(str(error)) from None
        except ApiException as error:
            raise ClusterError(f"{self._where} refuses to {what}: {_reason(error)}") from None
        except _OUTAGES as error:
            reason = " ".join(str(error).split())[:300]
            raise ClusterError(f"{self._where} has not answered for {self._patience:.0f} s: {reason}") from None

    def _renew(self) -> None:
        """Read the configuration anew; a file that is being replaced is read the next time."""
        with suppress(ConfigurationError):
            self._api = self._connect()

    def _judge(self, what: str, error: ApiException) -> None:
        """A refusal is tried again with credentials read anew, for a while if it is not what was to be expected."""
        if error.status == 404 and _unserved(error):
            raise ClusterError(
                f"{self._where} knows no TrainJobs ({GROUP}/{VERSION}); install Kubeflow Trainer 2.0 or later"
            ) from None
        if error.status not in (401, 403):
            return
        now = time.monotonic()
        if self._denied_since is None:
            self._denied_since = now
        self._renew()
        if error.status == 401:
            text = f"{self._where} does not know us (401, to {what}): the credentials have expired, or are not its own"
        else:
            text = (
                f"the account may not {what} in namespace {self.namespace!r} (403): {_reason(error)}; give its role "
                "the verb (manifests/base/accounts.yaml)"
            )
        may_pass = error.status == 401 or what in self._granted
        if may_pass and now - self._denied_since < _DENIED_SECONDS:
            raise _Doubtful(text) from None
        raise ClusterError(text) from None


_OUTAGES = (urllib3.exceptions.HTTPError, OSError)


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, ApiException):
        return error.status in (0, None, 429, 500, 502, 503, 504)
    return isinstance(error, (*_OUTAGES, _Doubtful))


def _unserved(error: ApiException) -> bool:
    """Whether a 404 means the kind, not the object."""
    return "page not found" in str(error.body) or "could not find the requested resource" in str(error.body)


def _reason(error: ApiException) -> str:
    try:
        text = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        text = error.body or error.reason
    return " ".join(str(text).split())[:500]


def _lines(answer: Any) -> Iterator[str]:
    """Whole lines of an answer that goes on."""
    rest = b""
    for part in answer.stream(amt=None, decode_content=False):
        *whole, rest = (rest + part).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole if line)
    if rest:
        yield rest.decode(errors="replace")


def own_namespace() -> str:
    """The pod's namespace, else the current context's."""
    with suppress(OSError):
        return (_ACCOUNT / "namespace").read_text().strip()
    with suppress(config.ConfigException, OSError):
        _, current = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
        return current["context"].get("namespace") or "default"
    return "default"
