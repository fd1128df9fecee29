"""Tells people how a retrain ended: a record beside the run, and a webhook. It never fails a run."""

from __future__ import annotations

import contextlib
import os
import sys
from urllib.parse import urlsplit

from pydantic import ValidationError

from components.release import registry
from components.retrain.config import NotifyConfig
from components.store.api import Store
from components.store.errors import OrreryError
from components.store.records import load_record
from components.store.status import conclude, run_key
from data_contracts.base import canonical_json
from data_contracts.lineage import StageStatus
from data_contracts.retrain import RetrainDecision, RetrainNotice

NOTICE = "notice.json"


def tell(store: Store, config: NotifyConfig, state: str) -> str:
    """How the webhook went: 'sent', 'failed: why', or '' if none is named."""
    pipeline, run = os.environ.get("ORRERY_PIPELINE", ""), os.environ.get("ORRERY_RUN", "")
    notice = _notice(store, config, pipeline, run, state)
    address = os.environ.get(config.webhook_env, "").strip()
    if address:
        notice = notice.model_copy(update={"delivery": send(address, canonical_json(notice), config.timeout_s)})
    if notice.delivery not in ("", "sent"):
        print(f"warning: nobody was told by {config.webhook_env}: {notice.delivery}", file=sys.stderr, flush=True)
    print(notice.text, file=sys.stderr, flush=True)
    if pipeline and run:
        try:
            store.overwrite(run_key(pipeline, run, NOTICE), canonical_json(notice).encode())
            conclude(
                store, pipeline, run, "" if notice.status == "SUCCEEDED" else "; ".join(notice.problems) or notice.text
            )
        except (OrreryError, ValueError) as error:
            print(f"warning: the notice could not be kept: {error}", file=sys.stderr, flush=True)
    return notice.delivery


def send(address: str, body: str, timeout: float) -> str:
    """POST `body` as JSON: 'sent', or 'failed: why'. The address is a secret: no message of a library's may tell it."""
    import urllib3
    from urllib3.exceptions import HTTPError

    if urlsplit(address).scheme not in ("http", "https"):
        return "failed: the address is not http:// or https://"
    retries = urllib3.Retry(2, redirect=False, backoff_factor=0.5, allowed_methods=None)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=retries) as pool:
            answer = pool.request(
                "POST", address, body=body.encode(), headers={"Content-Type": "application/json"}, redirect=False
            )
    except (HTTPError, ValueError, OSError) as error:
        return f"failed: {type(error).__name__}"
    return "sent" if 200 <= answer.status < 300 else f"failed: HTTP {answer.status}"


def _notice(store: Store, config: NotifyConfig, pipeline: str, run: str, state: str) -> RetrainNotice:
    """What the store tells of the run; what can't be read is left out."""
    statuses = _statuses(store, pipeline, run)
    decision = _decision(store, statuses)
    problems = tuple(f"{s.name}: {s.message}" for s in statuses if s.status == "failed")
    state = _state(state, statuses, decision)
    candidate = None
    with contextlib.suppress(OrreryError):
        candidate = registry.current(store, config.policy, "candidate")
    mode, reason = (decision.mode, decision.reason) if decision else ("", "")
    unsaid = "; ".join(f"{s.name} did not end" for s in statuses if s.status == "running") or state.lower()
    ended = "; ".join(problems) or (unsaid if state != "SUCCEEDED" else reason or "it succeeded")
    if state == "SUCCEEDED" and mode in ("adapt", "full") and candidate:
        ended = f"{ended}; candidate {candidate}"
    return RetrainNotice(
        text=f"retrain of {config.policy}: {mode or 'not decided'}, {ended}", run=run, pipeline=pipeline, status=state,
        policy=config.policy, mode=mode, reason=reason, candidate=candidate or "", problems=problems,
    )  # fmt: skip


def _state(state: str, statuses: list[StageStatus], decision: RetrainDecision | None) -> str:
    """How the run ended. `kfp.local` knows. KFP 2.17 hands on what its metadata say while the last step starts
    (backend/src/v2/driver/resolve.go): COMPLETE, FAILED, or RUNNING, which a run that ended well mostly is then.
    """
    if state != "RUNNING":
        return "SUCCEEDED" if state == "COMPLETE" else state
    released = any(s.name == "release.candidate" and s.status in ("succeeded", "cached") for s in statuses)
    return "SUCCEEDED" if decision is not None and (decision.mode == "skip" or released) else "FAILED"


def _statuses(store: Store, pipeline: str, run: str) -> list[StageStatus]:
    found: list[StageStatus] = []
    with contextlib.suppress(OrreryError):
        for stat in store.list(run_key(pipeline, run, "stages")) if pipeline and run else ():
            with contextlib.suppress(ValidationError, OrreryError):
                found.append(StageStatus.model_validate_json(store.read(stat.key)))
    return sorted(found, key=lambda s: s.started_at)


def _decision(store: Store, statuses: list[StageStatus]) -> RetrainDecision | None:
    for status in statuses:
        if status.name == "retrain.decide" and status.prefix:
            with contextlib.suppress(ValidationError, OrreryError, KeyError):
                record = load_record(store, status.prefix)
                ref = record.object("decision.json")
                return RetrainDecision.model_validate_json(store.read(record.key_of(ref), ref.sha256))
    return None
