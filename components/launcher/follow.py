"""How TrainJobs are started and followed to their end: many by one watch, none polled, none orphaned.

A job that fails is never read as done, and one that nobody waits for any more (time-out, cancellation, SIGTERM) is
deleted. What is killed without a word leaves its job to its owner's end, and to the next attempt, which adopts it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from components.launcher.client import WATCH_SECONDS, ClusterError, Gone, TrainerClient
from components.launcher.pod_logs import RankLog, report
from components.launcher.trainjob import CONTENT, INSTANCE, OURS, Document, Status, dropped, read_status
from components.store.cost import queued
from components.store.errors import OrreryError
from data_contracts.base import Contract

RESYNC_SECONDS = 300.0
"""All jobs are listed anew after so long: a watch that lost an event is not trusted for ever."""
START_SECONDS = 120.0
"""How long a job of the same name may take to be gone."""
_FAREWELL_SECONDS = 20.0  # a pod that is ended has 30 s; the job is deleted within these, or not


class Ending(Contract):
    """How a followed job ended: by its controller, by somebody's hand, or by our own deadline."""

    name: str
    how: Literal["complete", "failed", "deleted", "late"]
    message: str = ""


class Stopped(SystemExit):
    """SIGTERM: the process ends, and its job with it."""


def start(client: TrainerClient, job: Document) -> Document:
    """Create the TrainJob, or adopt it if it is there already; the object as it is stored.

    One that has failed, or is being deleted, makes way for a new one: this is the next attempt.

    Raises:
        ClusterError: its name is another training's; the cluster dropped a field (the job is deleted again).
    """
    name, content = job["metadata"]["name"], job["metadata"]["annotations"][CONTENT]
    until = time.monotonic() + START_SECONDS
    while True:
        client.create(job)
        stored = client.get(name)
        if stored is not None and _content(stored) != content:
            raise ClusterError(
                f"TrainJob {name} in {client.namespace} trains something else, or was not made by this launcher; "
                f"delete it: kubectl -n {client.namespace} delete trainjob {name}"
            )
        if stored is not None and not _makes_way(stored):
            break
        if time.monotonic() > until:
            raise ClusterError(
                f"TrainJob {name} has been ending for {START_SECONDS:.0f} s; look at what holds it "
                f"(kubectl -n {client.namespace} describe trainjob {name}: finalizers, pods on a lost node)"
            )
        if stored is not None:
            client.delete(name, stored["metadata"]["uid"])
            time.sleep(0.5)
    asked = {"spec": job["spec"], "metadata": {"labels": job["metadata"]["labels"]}}
    lost = dropped(asked, stored)
    if lost:
        client.delete(name, stored["metadata"]["uid"])
        raise ClusterError(
            f"the cluster's TrainJob has no field, or another value, for {', '.join(lost)}; the job was deleted again. "
            "Update Kubeflow Trainer and its CRDs, or leave that setting out"
        )
    return stored


def follow(
    client: TrainerClient,
    uids: Mapping[str, str],
    seconds: float,
    selector: str = OURS,
    changed: Callable[[str, Status], None] | None = None,
) -> Iterator[Ending]:
    """The end of each job, as it comes; together by one list and one watch. `uids`: UID by name.

    After `seconds`, those that go on end as `late`; deleting them is the caller's part.
    """
    left, until = dict(uids), time.monotonic() + seconds
    known: dict[str, Status] = {}

    def judge(name: str, job: Document | None) -> Ending | None:
        if name not in left:
            return None
        if job is None or job["metadata"]["uid"] != left[name]:
            ending = Ending(name=name, how="deleted", message="somebody deleted the TrainJob while it was followed")
        else:
            status = read_status(job)
            if changed and known.get(name) != status:
                known[name] = status
                changed(name, status)
            if not status.over:
                return None
            ending = Ending(
                name=name, how="complete" if status.phase == "complete" else "failed", message=status.message
            )
        del left[name]
        return ending

    while left:
        jobs, version = client.select(selector)
        found = {job["metadata"]["name"]: job for job in jobs}
        yield from filter(None, [judge(name, found.get(name)) for name in list(left)])
        resync = time.monotonic() + RESYNC_SECONDS
        while left and time.monotonic() < resync:
            begun = time.monotonic()
            if begun >= until:
                yield from [
                    Ending(name=name, how="late", message=f"not finished after {seconds:.0f} s") for name in left
                ]
                return
            try:
                for kind, job in client.watch(selector, version, max(1, min(WATCH_SECONDS, round(until - begun)))):
                    version = job["metadata"]["resourceVersion"]
                    if kind == "BOOKMARK":
                        continue
                    gone = kind == "DELETED" and not read_status(job).over
                    ending = judge(job["metadata"]["name"], None if gone else job)
                    if ending:
                        yield ending
                    if not left or time.monotonic() >= until:
                        break
            except Gone:
                break
            if left and time.monotonic() - begun < 0.5:
                time.sleep(0.5)  # a server that hangs up at once is not asked in a hurry


def attend(client: TrainerClient, job: Document, seconds: float) -> str:
    """Start or adopt the job, pass on what rank 0 says, and return its UID once it is complete.

    However else this ends (a time-out, cancellation, SIGTERM, an error), the job is deleted first; only one that has
    failed is left to be looked at: it holds no node.

    Raises:
        OrreryError: it failed (with events and the last lines of each rank), was deleted, or took too long.
    """
    name = job["metadata"]["name"]
    log = RankLog(client, name)
    with _terminable():
        try:
            stored = start(client, job)
            log.start()
            uids = {name: stored["metadata"]["uid"]}
            [ending] = follow(client, uids, seconds, f"{OURS},{INSTANCE}={name}", _tell)
            log.finish()
            if ending.how == "late":
                raise OrreryError(
                    f"TrainJob {name} did not finish within {seconds:.0f} s and was deleted; the next attempt resumes "
                    "from its last checkpoint (cluster.hours bounds it)"
                )
        except BaseException:
            log.stop()
            _take_away(client.namespace, job)
            raise
    if ending.how == "deleted":
        raise OrreryError(
            f"TrainJob {name} was deleted from outside while it trained; start the step again, it resumes from its "
            "last checkpoint"
        )
    if ending.how == "failed":
        raise OrreryError(report(client, name, ending.message))
    return uids[name]


def _take_away(namespace: str, job: Document) -> None:
    """Delete the job, if it is the one that was meant and has not failed. Never raises: it says so if it can't."""
    name = job["metadata"]["name"]
    try:
        client = TrainerClient(namespace, patience=_FAREWELL_SECONDS)
        found = client.get(name)
        if found is not None and _content(found) == _content(job) and read_status(found).phase != "failed":
            client.delete(name, found["metadata"]["uid"])
            print(f"TrainJob {name} is deleted", file=sys.stderr, flush=True)
    except OrreryError as error:
        print(
            f"warning: TrainJob {name} could not be deleted ({error}); it ends with its owner, or by hand: "
            f"kubectl -n {namespace} delete trainjob {name}",
            file=sys.stderr, flush=True,
        )  # fmt: skip


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises Stopped in here, once; a second one does not disturb the farewell."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            raise Stopped(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(name: str, status: Status) -> None:
    print(f"TrainJob {name}: {status.phase} {status.message}".rstrip(), file=sys.stderr, flush=True)
    queued(status.phase == "suspended")  # by Kueue, before it starts or for another's sake: it holds no node then


def _content(job: Document) -> str | None:
    return (job["metadata"].get("annotations") or {}).get(CONTENT)


def _makes_way(job: Document) -> bool:
    return bool(job["metadata"].get("deletionTimestamp")) or read_status(job).phase == "failed"
