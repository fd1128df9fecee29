"""Grading of untrusted answers: equality by canonical forms first, by math-verify in worker processes where needed.

Nothing that a model writes can stop or slow the grading for long. An answer is refused by its length and nesting before
anybody reads it; what is left runs in processes with limits on processor time, time by the clock and memory, and one
that dies or hangs makes its pair unequal, for a reason that is counted. The verdict depends on the two texts alone: not
on their order, on what was asked before, or (the limit on processor time being the tighter one) on how busy the machine
is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Literal, NamedTuple

from pydantic import Field

from components.language.boxed import bare, boxed_answer, canonical, depth
from components.store.errors import OrreryError
from data_contracts.base import Contract

Reason = Literal["equal", "different", "no-answer", "too-long", "too-deep", "not-mathematics", "time", "memory", "died"]

DEEPEST = 16  # the parser's time grows with the square of the depth; at 16 it is seconds
STARTUP_SECONDS = 600.0  # importing sympy takes one second; a crowded machine or a cold disk many
STARTUPS = 3  # that may fail in a row before it is the installation's fault
REMEMBERED = 100_000  # pairs and texts; then the memory starts anew
TRIES = 2  # of a request whose worker died or ran out of memory: the reason may have been the worker's past, or a kill


class GradingConfig(Contract):
    """The limits of grading."""

    cpu_seconds: float = Field(default=5.0, gt=0, le=600, description="processor time of one reading or comparison")
    wall_seconds: float = Field(default=120.0, gt=0, le=3600, description="the same by the clock; a backstop")
    memory_mb: int = Field(default=1024, ge=256, description="address space of a worker, MiB")
    workers: int = Field(default=2, ge=1, le=64, description="processes, started when they are needed")
    longest_answer: int = Field(default=1000, ge=1, le=2000, description="characters; a longer answer is not read")


@dataclass(frozen=True)
class Verdict:
    """Whether two answers are equal (its truth value), and why not."""

    equal: bool
    reason: Reason

    def __bool__(self) -> bool:
        return self.equal


@dataclass(frozen=True)
class Groups:
    """The m sampled answers of one question, grouped by equality."""

    labels: tuple[int | None, ...]
    """the group of each sample, counted from 0 in order of arrival; None: it had no answer and has no vote"""
    majority: str | None
    """the first answer of the largest group; of groups equally large, the one that arrived first"""
    share: float
    """size of that group / m, in [0, 1]: samples without an answer count in m"""


class _Answer(NamedTuple):
    """An answer as it is compared."""

    text: str
    """its canonical form, or the bare text"""
    settled: bool
    """whether it is a canonical form"""
    refused: Reason | None


class _Reading(NamedTuple):
    """What a worker made of a text."""

    form: str
    number: bool
    at: complex | None
    """its value at one fixed point, if it is an expression that has one"""
    failed: Reason | None


_EQUAL, _DIFFERENT = Verdict(True, "equal"), Verdict(False, "different")


class Grader:
    """Compares answers; a context manager, for one thread at a time. Workers start when they are first needed.

    `reasons` counts the verdicts so far.

    Raises (every method that compares):
        OrreryError: workers can't be started here at all. No answer can cause it.
    """

    def __init__(self, config: GradingConfig | None = None) -> None:
        self.config = config or GradingConfig()
        self.reasons: Counter[Reason] = Counter()
        self._pool = _Pool(self.config)
        self._readings: dict[str, _Reading] = {}
        self._compared: dict[tuple[str, str], Verdict] = {}

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def correct(self, response: str, truth: str) -> Verdict:
        r"""Whether the last \boxed{…} of `response` is `truth`. Without a box it is wrong: nothing is guessed."""
        return self.correct_all([(response, truth)])[0]

    def correct_all(self, pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
        """`correct` of every (response, truth), all workers busy."""
        return self._judge_all([(self._answer(boxed_answer(r) or ""), self._answer(truth)) for r, truth in pairs])

    def equal(self, a: str, b: str) -> Verdict:
        """Whether two answers, without their boxes, are mathematically equal; the same as `equal(b, a)`."""
        return self.equal_all([(a, b)])[0]

    def equal_all(self, pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
        """`equal` of every pair, all workers busy."""
        return self._judge_all([(self._answer(a), self._answer(b)) for a, b in pairs])

    def groups(self, questions: Sequence[Sequence[str | None]]) -> list[Groups]:
        """For each question its m sampled answers in groups: R-Zero's pseudo-label is the majority, p its share.

        None, blank and refused answers have no vote. Groups are the connected parts under equality, so they do not
        depend on the order of the samples, even where math-verify finds x = 5 and y = 5 both equal to 5.
        """
        voters = [[self._voter(sample) for sample in samples] for samples in questions]
        pairs = [pair for answers in voters for pair in _distinct_pairs(answers)]
        equal = {(a.text, b.text) for (a, b), verdict in zip(pairs, self._judge_all(pairs), strict=True) if verdict}
        return [_grouped(samples, answers, equal) for samples, answers in zip(questions, voters, strict=True)]

    def _answer(self, raw: str) -> _Answer:
        if len(raw) > self.config.longest_answer:
            return _Answer(raw, False, "too-long")
        form = canonical(raw)
        if form is not None:
            return _Answer(form, True, None)
        text = bare(raw)
        if not text:
            return _Answer(text, False, "no-answer")
        return _Answer(text, False, "too-deep" if depth(text) > DEEPEST else None)

    def _voter(self, sample: str | None) -> _Answer | None:
        answer = self._answer(sample or "")
        if answer.refused:
            self.reasons[answer.refused] += 1
            return None
        return answer

    def _judge_all(self, pairs: Sequence[tuple[_Answer, _Answer]]) -> list[Verdict]:
        if len(self._readings) + len(self._compared) > REMEMBERED:
            self._readings.clear()
            self._compared.clear()
        unsure = [pair for pair in pairs if self._verdict(*pair) is None]
        self._read({answer.text: None for pair in unsure for answer in pair if not answer.settled})
        unsure = [pair for pair in unsure if self._verdict(*pair) is None]
        self._compare({_unordered(a, b): None for a, b in unsure})
        verdicts = []
        for pair in pairs:
            verdict = self._verdict(*pair)
            assert verdict is not None
            verdicts.append(verdict)
            self.reasons[verdict.reason] += 1
        return verdicts

    def _verdict(self, a: _Answer, b: _Answer) -> Verdict | None:
        """The verdict as far as it is known; None while it needs a worker's word."""
        if "no-answer" in (a.refused, b.refused):
            return Verdict(False, "no-answer")
        if a.text == b.text:
            return _EQUAL
        for answer in (a, b):
            if answer.refused:
                return Verdict(False, answer.refused)
        if (a.settled and b.settled) or _is_words(a) or _is_words(b):
            return _DIFFERENT
        x, y = self._reading(a), self._reading(b)
        if x is None or y is None:
            return None
        for failed in (x.failed, y.failed):
            if failed:
                return Verdict(False, failed)
        if x.form == y.form:
            return _EQUAL
        if (x.number and y.number) or _apart(x.at, y.at):
            return _DIFFERENT
        return self._compared.get(_unordered(a, b))

    def _reading(self, answer: _Answer) -> _Reading | None:
        if answer.settled:
            return _Reading(answer.text, True, complex(Fraction(answer.text)), None)
        return self._readings.get(answer.text)

    def _read(self, texts: Iterable[str]) -> None:
        """Have the workers read what they have not read yet: a text that kills them does so once, not in every pair."""
        new = [text for text in texts if text not in self._readings]
        for text, reply in zip(new, self._pool.ask([["read", text] for text in new]), strict=True):
            number = "number" in reply
            form = reply.get("number" if number else "form", "")
            at = complex(*reply["at"]) if "at" in reply else None
            self._readings[text] = _Reading(form, number, at, None if form else reply.get("failed", "not-mathematics"))

    def _compare(self, pairs: Iterable[tuple[str, str]]) -> None:
        asked = list(pairs)
        for pair, reply in zip(asked, self._pool.ask([["equal", *pair] for pair in asked]), strict=True):
            equal = reply.get("equal", False)
            self._compared[pair] = Verdict(equal, reply.get("failed", "equal" if equal else "different"))


def _unordered(a: _Answer, b: _Answer) -> tuple[str, str]:
    return (a.text, b.text) if a.text < b.text else (b.text, a.text)


def _apart(x: complex | None, y: complex | None) -> bool:
    """Whether two values, known to 15 digits, are certainly not the same."""
    return x is not None and y is not None and abs(x - y) > 1e-9 * max(1.0, abs(x), abs(y))


def _is_words(answer: _Answer) -> bool:
    return answer.settled and answer.text.startswith("\\text")


def _distinct_pairs(answers: Iterable[_Answer | None]) -> list[tuple[_Answer, _Answer]]:
    """Every two different answers of one question that canonical forms do not tell apart."""
    distinct = dict.fromkeys(answer for answer in answers if answer)
    return [(a, b) for a, b in combinations(distinct, 2) if not (a.settled and b.settled)]


def _grouped(samples: Sequence[str | None], answers: Sequence[_Answer | None], equal: set[tuple[str, str]]) -> Groups:
    """The connected parts of one question's answers; `equal` holds pairs in order of arrival."""
    part = {answer.text: n for n, answer in enumerate(dict.fromkeys(a for a in answers if a))}
    for a, b in combinations(part, 2):
        if (a, b) in equal and part[a] != part[b]:
            kept, joined = sorted((part[a], part[b]))
            part = {text: kept if n == joined else n for text, n in part.items()}
    number = {n: i for i, n in enumerate(dict.fromkeys(part.values()))}
    labels = tuple(number[part[a.text]] if a else None for a in answers)
    votes = Counter(label for label in labels if label is not None)
    if not votes:
        return Groups(labels, None, 0.0)
    largest, size = max(votes.items(), key=lambda item: (item[1], -item[0]))
    return Groups(labels, samples[labels.index(largest)], size / len(samples))


class _Pool:
    """Up to `workers` processes; each has one request at a time, and a deadline for it."""

    def __init__(self, config: GradingConfig) -> None:
        self._config = config
        self._workers: list[_Worker] = []
        self._failed_startups = 0

    def ask(self, requests: Sequence[list[str]]) -> list[dict[str, Any]]:
        """The reply to each request; `{"failed": reason}` where its worker was ended or died."""
        replies: list[dict[str, Any]] = [{}] * len(requests)
        tries = Counter[int]()
        waiting = deque(range(len(requests)))
        try:
            while waiting or any(worker.task is not None for worker in self._workers):
                self._hand_out(waiting, requests)
                for task, reply in self._collect():
                    replies[task] = reply
                    tries[task] += 1
                    if reply.get("failed") in ("memory", "died") and tries[task] < TRIES:
                        waiting.append(task)
        except BaseException:  # a busy worker's reply must not be taken for the next request's
            self.close()
            raise
        return replies

    def close(self) -> None:
        while self._workers:
            self._workers.pop().stop()

    def _hand_out(self, waiting: deque[int], requests: Sequence[list[str]]) -> None:
        for worker in list(self._workers):
            if worker.ready and worker.task is None and waiting:
                if worker.process.poll() is None:
                    task = waiting.popleft()
                    worker.give(task, requests[task], self._config.wall_seconds)
                else:  # somebody ended it while it was idle
                    self._dismiss(worker)
        while waiting and len(self._workers) < min(self._config.workers, len(waiting) + self._busy()):
            self._workers.append(_Worker(self._config))

    def _busy(self) -> int:
        return sum(worker.task is not None for worker in self._workers)

    def _collect(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Wait until a worker replies, starts, dies or is late; the requests that this ended, with their replies."""
        active = [worker for worker in self._workers if worker.task is not None or not worker.ready]
        patience = min(worker.until for worker in active) - time.monotonic()
        heard = wait([worker.replies for worker in active], max(0.0, patience))
        for worker in active:
            if worker.replies in heard:
                reply = worker.take()
            else:
                reply = {"failed": "time"} if time.monotonic() > worker.until else None
            if reply is None:
                continue
            task, started = worker.task, worker.ready
            worker.task, worker.ready = None, True
            if "failed" in reply:
                self._dismiss(worker)
            if task is not None:
                yield task, reply
            elif not started:
                self._count_startup("failed" in reply, worker)

    def _dismiss(self, worker: _Worker) -> None:
        worker.stop()
        self._workers.remove(worker)

    def _count_startup(self, failed: bool, worker: _Worker) -> None:
        self._failed_startups = self._failed_startups + 1 if failed else 0
        if self._failed_startups >= STARTUPS:
            raise OrreryError(
                f"no grading worker could be started ({STARTUPS} tries, exit code {worker.process.returncode}): is "
                f"math-verify installed in this environment, and are {self._config.memory_mb} MiB (memory_mb) enough?"
            )


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, config: GradingConfig) -> None:
        limits = [str(config.cpu_seconds), str(config.memory_mb << 20)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "components.language.grading_worker", *limits],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            # One hash seed: the order in which sympy tries things must not change from process to process.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        assert self.process.stdout
        self.replies = self.process.stdout.fileno()
        self.task: int | None = None
        self.ready = False
        self.until = time.monotonic() + STARTUP_SECONDS
        self._received = b""

    def give(self, task: int, request: list[str], seconds: float) -> None:
        """Hand a request over. It fits into the pipe (`longest_answer` is bounded), so this never waits."""
        assert self.process.stdin
        self.task, self.until = task, time.monotonic() + seconds
        with contextlib.suppress(BrokenPipeError):  # it has just died: `take` will find out
            self.process.stdin.write(json.dumps(request).encode() + b"\n")

    def take(self) -> dict[str, Any] | None:
        """The worker's reply, None while it is not complete; `{"failed": reason}` when there will be none."""
        received = os.read(self.replies, 1 << 16)
        if not received:
            self.stop()
            return {"failed": "time" if self.process.returncode == -signal.SIGPROF else "died"}
        self._received += received
        if not self._received.endswith(b"\n"):
            return None
        reply: dict[str, Any] = json.loads(self._received)
        self._received = b""
        return reply

    def stop(self) -> None:
        with self.process:  # closes its pipes and waits for it
            self.process.kill()
