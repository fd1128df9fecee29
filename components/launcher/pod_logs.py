"""What the pods of a TrainJob say: rank 0 as it goes, every rank when it has failed."""

from __future__ import annotations

import sys
import threading

from components.launcher.client import TrainerClient
from components.launcher.trainjob import RANK_LABEL, Document
from components.store.errors import OrreryError
from components.training.output import ERROR_MARK, is_noise

_LOOK_SECONDS = 5.0
"""Between looks for a pod that has not started yet."""
_EVENTS, _LINES, _RANKS = 10, 20, 16


class RankLog:
    """Prints rank 0's lines as they come, over restarts of the pod and of the API server. Nothing depends on it."""

    def __init__(self, client: TrainerClient, job: str) -> None:
        self._client, self._job = client, job
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"log of {job}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, seconds: float = 10.0) -> None:
        """The job is over: let the rest of the log come, but not for ever."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def stop(self) -> None:
        self._over.set()

    def _run(self) -> None:
        since, pod = "", None
        try:
            while True:
                over = self._over.is_set()  # looked at first: once more after the end, for the last lines
                pod = _started(self._client.pods(self._job))
                if pod is not None:
                    for stamp, line in self._client.stream_log(pod, since):
                        if stamp > since:
                            since = stamp
                            if not is_noise(line):
                                print(line, flush=True)
                if over:
                    return
                self._over.wait(_LOOK_SECONDS)
        except OrreryError as error:
            print(f"warning: no more lines of TrainJob {self._job}: {error}", file=sys.stderr, flush=True)


def report(client: TrainerClient, job: str, message: str) -> str:
    """Why a job failed: a worker's own words, the condition, the events, the last lines of each rank."""
    try:
        ranks = {_rank(pod): pod["metadata"]["name"] for pod in _oldest_first(client.pods(job))}
        tails = {rank: client.last_lines(ranks[rank], _LINES) for rank in sorted(ranks)[:_RANKS]}
    except OrreryError as error:
        tails = {}
        message = f"{message}; what its pods said can't be read: {error}"
    try:
        events = client.events((job,))[-_EVENTS:]
    except OrreryError as error:
        events = [f"they can't be read: {error}"]
    own = [line.split(ERROR_MARK, 1)[1] for tail in tails.values() for line in tail.splitlines() if ERROR_MARK in line]
    parts = [own[0]] if own else []
    parts.append(f"TrainJob {job} failed: {message or 'its controller gave no reason'}")
    parts += ["events:", *events] if events else []
    for rank, tail in tails.items():
        parts += [f"the last lines of rank {rank}:", tail.rstrip() or "(nothing)"]
    return "\n".join(parts)


def _started(pods: list[Document]) -> str | None:
    """The newest pod of rank 0 that has a log."""
    begun = [
        pod["metadata"]["name"]
        for pod in _oldest_first(pods)
        if _rank(pod) == 0 and pod["status"].get("phase") in ("Running", "Succeeded", "Failed")
    ]
    return begun[-1] if begun else None


def _oldest_first(pods: list[Document]) -> list[Document]:
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))


def _rank(pod: Document) -> int:
    """The node rank of a pod: an indexed Job numbers its pods."""
    metadata = pod["metadata"]
    text = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}.get(RANK_LABEL, "0")
    return int(text) if text.isdigit() else 0
