"""KFP's local runner, made quiet, killable and honest about exit codes. The only file that knows its inside.

`kfp.local` runs a compiled pipeline's tasks one after another, each in a subprocess, but it says only whether a task
failed, mixes its own log into the task's output, and leaves the task running when it is killed itself. Here its one
function that starts a process, and the one that orders tasks, are replaced for the time of a run (kfp is pinned to the
version this was read from, and a test runs a pipeline through it).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import json
import os
import signal
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from components.store.files import scratch_folder
from components.store.status import TASK

OnLine = Callable[[str], None]
OnStart = Callable[[str, Mapping[str, Any]], None]
OnEnd = Callable[[str, int], None]
GRACE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec nothing may take a lock


def run(
    pipeline: Any,
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
    on_start: OnStart,
    on_line: OnLine,
    on_end: OnEnd,
) -> dict[str, str]:
    """Run a KFP pipeline here; its outputs by name, or an empty dictionary if a task failed.

    Tasks get `environment` on top of this process's. `on_start(task, parameters)` and `on_end(task, exit_code)` frame
    each task, and `on_line` gets what it printed, one line at a time, without KFP's own log.
    """
    from kfp import local

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())  # a short name: sockets in it have short ones
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # display names and resources have no effect here, as they should
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(folder / "kfp"),
            workspace_root=str(folder / "workspace"),
            raise_on_error=False,
        )
        scratch = folder / "tmp"
        scratch.mkdir()
        stack.enter_context(_starting(_Starter({**environment, "TMPDIR": str(scratch)}, on_start, on_line, on_end)))
        return dict(pipeline(**arguments).outputs)


def tasks(pipeline: Any) -> dict[str, str]:
    """Name and title of each task of a KFP pipeline that runs code, in the order in which they run here."""

    def walk(component: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        specs = component.dag.tasks
        for name in reversed(_in_order(specs)):
            inner = spec.components[specs[name].component_ref.name]
            is_dag = inner.WhichOneof("implementation") == "dag"
            found |= walk(inner) if is_dag else {name: specs[name].task_info.name or name}
        return found

    spec = pipeline.pipeline_spec
    return walk(spec.root)


def _in_order(tasks: Mapping[str, Any]) -> list[str]:
    """The last first, as KFP's own function of this has them. That takes tasks that do not wait for each other as
    protobuf's map holds them, which is another way in each process."""
    from kfp.local.graph_utils import build_dependency_map, topological_sort

    def number(name: str) -> tuple[str, int]:  # `x`, `x-2`, … `x-10`
        head, _, last = name.rpartition("-")
        return (head, int(last)) if last.isdigit() else (name, 1)

    return topological_sort(build_dependency_map({name: tasks[name] for name in sorted(tasks, key=number)}))


class _Starter:
    """Starts a task's process in a group of its own, which dies with this process and ends when this one is stopped."""

    def __init__(self, environment: Mapping[str, str], on_start: OnStart, on_line: OnLine, on_end: OnEnd):
        self._environment = environment
        self._on_start, self._on_line, self._on_end = on_start, on_line, on_end
        self._one = threading.Lock()

    def __call__(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        with self._one:  # a loop's tasks come from several threads; each may use the whole machine, so they take turns
            return self._run(full_command, env_vars)

    def _run(self, full_command: list[str], env_vars: dict[str, str] | None) -> int:
        task, parameters = _task_of(full_command)
        self._on_start(task, parameters)
        process = subprocess.Popen(
            full_command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **(env_vars or {}), **self._environment, TASK: task},
            start_new_session=True,
            preexec_fn=functools.partial(_die_with_parent, os.getpid()),
        )
        threading.Thread(target=_reap, args=(process,), daemon=True).start()
        try:
            for line in _without_kfp(process.stdout):  # type: ignore[arg-type]
                self._on_line(line)
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            process.stdout.close()  # type: ignore[union-attr]
        self._on_end(task, code)
        return code


@contextlib.contextmanager
def _starting(starter: _Starter) -> Iterator[None]:
    from kfp.local import graph_utils
    from kfp.local import subprocess_task_handler as handler

    original, order = handler.run_local_subprocess, graph_utils.topological_sort_tasks
    handler.run_local_subprocess = starter  # type: ignore[assignment]
    graph_utils.topological_sort_tasks = _in_order  # type: ignore[assignment]
    try:
        yield
    finally:
        handler.run_local_subprocess, graph_utils.topological_sort_tasks = original, order


def _task_of(command: list[str]) -> tuple[str, dict[str, Any]]:
    """The task's name (the folder in which KFP wants the executor's output) and its input parameters."""
    executor_input = json.loads(command[command.index("--executor_input") + 1])
    parameters = executor_input.get("inputs", {}).get("parameterValues", {})
    return Path(executor_input["outputs"]["outputFile"]).parent.name, parameters


def _without_kfp(lines: Any) -> Iterator[str]:
    """Lines that the task printed: KFP's executor marks its own, and its one dump of JSON ends with a lone brace."""
    inside = False
    for raw in lines:
        line = raw.rstrip("\n")
        if "[KFP Executor " in line:
            inside = line.endswith("Got executor_input:")
        elif inside:
            inside = line != "}"
        elif line.strip():
            yield line


def _die_with_parent(parent: int) -> None:
    """In the child, before exec: a runner that is killed takes its stage along, and leaves nothing running."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before this call
        os._exit(1)


def _reap(process: subprocess.Popen[str]) -> None:
    """What a task left running in its group ends with it: it would hold the task's output open, and be waited for."""
    process.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    """Ask the task's process group to stop, then make it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        try:
            process.wait(GRACE_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue
