"""Pipelines on Kubeflow Pipelines: upload once by content, run, follow, bring the report back.

The steps write into the store how they go (`ORRERY_RUN` is KFP's own id of the run), so the store tells more of a run
than KFP does; KFP only says when it has ended.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from components.store.api import Store
from components.store.errors import ConfigurationError, NotFound, OrreryError
from components.store.records import load_record, reference
from components.store.status import run_key
from data_contracts.lineage import RecordRef, RunRecord, StageStatus
from pipelines import runs
from pipelines.catalog import Pipeline, find
from pipelines.compiler import compile_to
from pipelines.recipes.base import Recipe
from pipelines.runner import StageFailed, arguments

if TYPE_CHECKING:
    from kfp import Client

ENDPOINT, TOKEN, NAMESPACE = "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_TOKEN", "KF_PIPELINES_NAMESPACE"
STEPS_ACCOUNT = "ORRERY_STEPS_ACCOUNT"
EXPERIMENT = "orrery"
ACCOUNT = "pipeline"
"""The service account of the steps (`manifests/base/accounts.yaml`), where KFP serves several teams."""
REQUEST_SECONDS = 30
POLL_SECONDS = 5.0
OUTAGE_SECONDS = 300.0
"""How long KFP may be away while a run is followed: it is restarted and upgraded, too."""
ENDED = {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELED": "failed", "SKIPPED": "failed"}


class ClusterError(OrreryError):
    """The cluster could not be reached, or refused."""

    exit_code = 3


class Left(OrreryError):
    """Somebody stopped following a run, which goes on."""

    exit_code = 130  # as a shell says it of SIGINT


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A pipeline's version at KFP. `name` holds the hash of what was compiled."""

    pipeline_id: str
    version_id: str
    name: str


def connect(endpoint: str | None = None) -> Client:
    """KFP's client, every request of which has a deadline. Raises ClusterError if no endpoint is named.

    Where KFP serves several teams, it works in the namespace that `KF_PIPELINES_NAMESPACE` names (default: `orrery`),
    whose user `KF_PIPELINES_TOKEN` is.
    """
    from kfp import Client

    host = endpoint or os.environ.get(ENDPOINT, "")
    if not host:
        raise ClusterError(
            f"no Kubeflow Pipelines is named; say --endpoint URL or set {ENDPOINT}, for example http://localhost:8888 "
            "after: kubectl -n kubeflow port-forward svc/ml-pipeline 8888"
        )
    namespace = os.environ.get(NAMESPACE) or "orrery"
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a port-forward that is made again is no news
    with talking(host):
        client = Client(
            host=host, existing_token="".join(os.environ.get(TOKEN, "").split()) or None, namespace=namespace
        )
        rest = client._run_api.api_client.rest_client
        rest.request = functools.partial(_bounded, rest.request)
        if not client._healthz_api.healthz_service_get_healthz().multi_user:
            client._context_setting["namespace"] = ""  # it knows none, and may refuse a request that names one
    return client


@contextlib.contextmanager
def talking(host: str) -> Iterator[None]:
    """Failures of requests as ClusterError: what KFP said, or that it can't be reached. Its client prints nothing."""
    import io
    import warnings

    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except ApiException as error:
        raise ClusterError(f"Kubeflow Pipelines at {host} refused: {_reason(error)}") from None
    except (HTTPError, OSError) as error:
        raise ClusterError(
            f"Kubeflow Pipelines at {host} can't be reached ({why(error)}); is {ENDPOINT} right, is it up?"
        ) from None


def why(error: Exception) -> str:
    """The last reason that a failed connection names, in a few words."""
    text = " ".join(str(getattr(error, "reason", None) or error).split())
    return text.rpartition(": ")[2].strip("()'\"")[:200] or type(error).__name__


def host_of(client: Client) -> str:
    return str(client._run_api.api_client.configuration.host)


def namespace_of(client: Client) -> str | None:
    """The namespace that requests must name, or None where KFP knows one team only."""
    return client.get_user_namespace() or None


def account_of(client: Client) -> str | None:
    """The service account of the steps; None is KFP's own choice: where it serves one team, it has one for them."""
    return os.environ.get(STEPS_ACCOUNT) or (ACCOUNT if namespace_of(client) else None)


def upload(client: Client, pipeline: Pipeline, recipe: Recipe) -> Uploaded:
    """The version that holds this pipeline with this recipe: found by its content, else uploaded."""
    from kfp_server_api import V2beta1Pipeline

    with TemporaryDirectory() as folder, talking(host_of(client)):
        path, _ = compile_to(pipeline, recipe, Path(folder))
        name = pipeline.name.replace("_", "-")
        version = f"{name}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        pipeline_id = _pipeline(client, name)
        if not pipeline_id:
            body = V2beta1Pipeline(
                display_name=name, name=name, description=pipeline.summary, namespace=namespace_of(client)
            )
            pipeline_id = client._pipelines_api.pipeline_service_create_pipeline(body).pipeline_id
        found = _version(client, pipeline_id, version)
        if found is None:
            made = client.upload_pipeline_version(str(path), version, pipeline_id=pipeline_id)
            found = made.pipeline_version_id
        return Uploaded(pipeline_id, found, version)


def start(client: Client, pipeline: Pipeline, recipe: Recipe, store: Store, given: Mapping[str, str]) -> str:
    """Upload `pipeline` and start it; KFP's id of the run, under which the store knows it too."""
    version = upload(client, pipeline, recipe)
    values = parameters(pipeline, recipe, store.url, given)
    with talking(host_of(client)):
        experiment = client.create_experiment(EXPERIMENT)
        run = client.run_pipeline(
            experiment.experiment_id, runs.new_id(recipe.name), params=values, pipeline_id=version.pipeline_id,
            version_id=version.version_id, enable_caching=False, service_account=account_of(client),
        )  # fmt: skip
    runs.write(store, runs.begun(str(run.run_id), pipeline.name, recipe))
    return str(run.run_id)


def parameters(pipeline: Pipeline, recipe: Recipe, store_url: str, given: Mapping[str, str]) -> dict[str, Any]:
    """What a run on a cluster is given. Raises ConfigurationError for a store that no other machine reaches."""
    if "://" not in store_url:
        raise ConfigurationError(
            f"the steps of a cluster can't reach {store_url}, a folder here; name a bucket: --store s3://bucket/prefix"
        )
    return arguments(pipeline.load(), pipeline, recipe, store_url, given)


def follow(
    client: Client,
    store: Store,
    pipeline: Pipeline,
    recipe: Recipe,
    run_id: str,
    deadline_seconds: float,
    say: Callable[[str], None],
) -> runs.Run:
    """Wait until the run has ended, and say how its stages go; the run as the store has it then.

    Raises:
        ConfigurationError: it is another pipeline's.
        StageFailed: it failed; the message is the failed stage's own.
        ClusterError: it still runs after `deadline_seconds`, or KFP was away for too long. The run goes on by itself.
    """
    watch, record = _Watch(store, pipeline.name, run_id, say), _known(store, pipeline, recipe, run_id)
    seen = _wait(client, run_id, pipeline.name, time.monotonic() + deadline_seconds, watch)
    ended = _conclude(client, store, pipeline, record, seen, watch.look())
    if ended.message:
        raise StageFailed(ended.message, 1)
    return runs.find(store, run_id)


def settle(store: Store, going: Iterable[RunRecord]) -> bool:
    """Record how runs ended that are called running, as nobody followed them: KFP, if one is named, is asked of each.

    True if there was one. Raises ClusterError if KFP can't be reached.
    """
    if not os.environ.get(ENDPOINT):
        return False
    client, settled = connect(), False
    for record in going:
        with contextlib.suppress(ClusterError, ConfigurationError):  # KFP does not know a run of this machine
            pipeline = find(record.pipeline)
            with talking(host_of(client)):
                seen = client.get_run(record.run)
            if seen.state in ENDED:
                statuses = _Watch(store, pipeline.name, record.run, lambda _: None).look()
                _conclude(client, store, pipeline, record, seen, statuses)
                settled = True
    return settled


def _conclude(
    client: Client, store: Store, pipeline: Pipeline, record: RunRecord, seen: Any, statuses: list[StageStatus]
) -> RunRecord:
    """The record of a run that ended, as KFP has `seen` it; written."""
    state, failed = ENDED[seen.state], [s for s in statuses if s.status == "failed"]
    message = "" if state == "succeeded" else _unsaid(client, pipeline, record.run, seen.state)
    message = f"{failed[-1].name}: {failed[-1].message}" if message and failed else message
    lasted = (seen.finished_at or datetime.now(UTC)) - datetime.fromisoformat(record.started_at)
    ending = {
        "status": state, "message": message, "seconds": round(max(0.0, lasted.total_seconds()), 3),
        "stages": tuple(s.name for s in statuses), "outputs": _outputs(store, pipeline, statuses),
    }  # fmt: skip
    ended = record.model_copy(update=ending)
    runs.write(store, ended)
    return ended


def _unsaid(client: Client, pipeline: Pipeline, run_id: str, state: str) -> str:
    """What is known of a run's end where no stage said anything: a step without one, an image that is not there."""
    spec = pipeline.load().pipeline_spec
    ours = {name for dag in (spec.root.dag, *(c.dag for c in spec.components.values())) for name in dag.tasks}
    with talking(host_of(client)):
        details = client.get_run(run_id).run_details
    tasks = (details and details.task_details) or ()  # Argo's own nodes are among them
    failed = sorted({t.display_name for t in tasks if t.state == "FAILED" and t.display_name in ours})
    where = (
        f"kubectl -n {namespace_of(client) or 'kubeflow'} logs -l pipeline/runid={run_id} -c main --prefix --tail 20"
    )
    return f"{', '.join(failed) or 'the run'} {state.lower()} at Kubeflow Pipelines; what its pods said: {where}"


def _wait(client: Client, run_id: str, pipeline: str, deadline: float, watch: _Watch) -> Any:
    """The run as KFP has it once it has ended."""
    with talking(host_of(client)):
        client.get_run(run_id)  # one that is not there, or not ours to see, is not waited for
    away_since: float | None = None
    again = f"follow it again: orrery run {pipeline} --follow {run_id}"
    while True:
        try:
            with talking(host_of(client)):
                seen = client.get_run(run_id)
            away_since = None
            if seen.state in ENDED:
                return seen
        except ClusterError as error:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > OUTAGE_SECONDS:
                raise ClusterError(f"{error}; run {run_id} goes on; {again}") from None
        if time.monotonic() > deadline:
            raise ClusterError(f"run {run_id} still goes on; {again}")
        watch.look()
        time.sleep(POLL_SECONDS)


class _Watch:
    """Says once how each stage of a run goes, as its statuses in the store change."""

    def __init__(self, store: Store, pipeline: str, run_id: str, say: Callable[[str], None]):
        self._store, self._say = store, say
        self._prefix = run_key(pipeline, run_id, "stages/")
        self._told: dict[str, str] = {}

    def look(self) -> list[StageStatus]:
        """Every status, in the order in which the stages started. A store that is away is asked again later."""
        found: list[StageStatus] = []
        with contextlib.suppress(OrreryError):
            for stat in self._store.list(self._prefix):
                with contextlib.suppress(ValueError, OrreryError):
                    found.append(StageStatus.model_validate_json(self._store.read(stat.key)))
        found.sort(key=lambda s: s.started_at)
        for status in found:
            if self._told.get(status.name) != status.status:
                self._told[status.name] = status.status
                took = f" in {status.seconds:.0f} s" if status.status != "running" else ""
                self._say(f"{status.name}: {status.status}{took} {status.message or status.prefix}".rstrip())
        return found


def _outputs(store: Store, pipeline: Pipeline, statuses: list[StageStatus]) -> dict[str, RecordRef]:
    """What the pipeline handed on, where exactly one stage of the run made it."""
    outputs: dict[str, RecordRef] = {}
    for name, selector in pipeline.load().pipeline_spec.root.dag.outputs.parameters.items():
        task = selector.value_from_parameter.producer_subtask
        made = [s for s in statuses if s.prefix and s.task == task]
        if len(made) == 1:
            with contextlib.suppress(OrreryError):
                outputs[name] = reference(store, load_record(store, made[0].prefix))
    return outputs


def _pipeline(client: Client, name: str) -> str | None:
    """The id of our pipeline. (`Client.get_pipeline_id` looks among those that are shared by all teams.)"""
    import json

    wanted = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
    found = client.list_pipelines(filter=wanted, namespace=namespace_of(client)).pipelines or ()
    return next((str(pipeline.pipeline_id) for pipeline in found), None)


def _version(client: Client, pipeline_id: str, name: str) -> str | None:
    token = ""
    while True:
        page = client.list_pipeline_versions(pipeline_id, page_token=token, page_size=100)
        for version in page.pipeline_versions or ():
            if version.display_name == name:
                return str(version.pipeline_version_id)
        token = page.next_page_token or ""
        if not token:
            return None


def _known(store: Store, pipeline: Pipeline, recipe: Recipe, run_id: str) -> RunRecord:
    """The run's record as it was started; a new one for a run that somebody started in KFP's own way."""
    with contextlib.suppress(NotFound, ValueError):
        return RunRecord.model_validate_json(store.read(run_key(pipeline.name, run_id)))
    for run in runs.read_all(store):
        if run.run == run_id:
            name = run.head.pipeline
            raise ConfigurationError(f"run {run_id} is one of {name}: orrery run {name} --follow {run_id}")
    return runs.begun(run_id, pipeline.name, recipe)


def _bounded(request: Callable[..., Any], *words: Any, **more: Any) -> Any:
    more["_request_timeout"] = more.get("_request_timeout") or REQUEST_SECONDS
    return request(*words, **more)


def _reason(error: Any) -> str:
    """KFP's own message of a refused request, in one line."""
    import json

    text = str(error.body or error.reason)
    with contextlib.suppress(ValueError, TypeError):
        body = json.loads(text)
        text = str(body.get("error_message") or body.get("message") or text)
    return f"{' '.join(text.split())[:300]} (HTTP {error.status})"
