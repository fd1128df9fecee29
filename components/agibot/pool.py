"""Work on untrusted files in processes of their own: one that dies or hangs costs its own task, never the others'.

A broken file can bring a C library down. Each worker does one task at a time and has a deadline for it; a worker that
dies or overruns is replaced, and its task gets a `Failure`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from components.store.shell import die_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a task has no result."""

    message: str


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    deadline: Callable[[Task], float],
    workers: int | None = None,
) -> Iterator[tuple[int, Result | Failure]]:
    """(number, result) of every task, as they end. `work` must be importable; `deadline(task)` is in seconds."""
    waiting = list(range(len(tasks)))[::-1]
    pool = [_Worker(work) for _ in range(min(workers or usable_cores(), len(tasks)))]
    try:
        while waiting or any(w.task is not None for w in pool):
            for worker in pool:
                if worker.task is None and waiting:
                    number = waiting.pop()
                    worker.give(number, tasks[number], deadline(tasks[number]))
            yield from _collect(pool)
    finally:
        for worker in pool:
            worker.stop()


def _collect(pool: list[_Worker[Any, Any]]) -> Iterator[tuple[int, Any]]:
    """Wait until something ends: a task, a worker or a deadline."""
    busy = [(w.task, w) for w in pool if w.task is not None]
    ready = set(wait([w.pipe for _, w in busy], max(0.0, min(w.until for _, w in busy) - time.monotonic())))
    for number, worker in busy:
        if worker.pipe in ready:
            yield number, worker.take()
        elif time.monotonic() > worker.until:
            yield number, worker.replace(f"it did not end within {worker.allowed:.0f} s")


class _Worker(Generic[Task, Result]):
    """One process and its pipe."""

    def __init__(self, work: Callable[[Task], Result]) -> None:
        self._work = work
        self.task: int | None = None
        self.until = self.allowed = 0.0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, number: int, task: Task, seconds: float) -> None:
        self.task, self.allowed, self.until = number, seconds, time.monotonic() + seconds
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # died while idle: `take` will find out
            self.pipe.send(task)

    def take(self) -> Result | Failure:
        """What the worker sent, or why it can send nothing any more."""
        try:
            result = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            return self.replace(f"the process that read it died (exit code {self._process.exitcode})")
        self.task = None
        return result

    def replace(self, message: str) -> Failure:
        """A new process in place of one that died or hangs."""
        self.stop()
        self._start()
        self.task = None
        return Failure(message)

    def stop(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join(5)


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """A worker's life: task in, result out, until the pipe closes."""
    die_with_parent()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            result = work(task)
        except MemoryError:
            result = Failure("it needs more memory than there is")
        except Exception as error:  # a defect of ours must not stop the other episodes either
            result = Failure(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        pipe.send(result)
