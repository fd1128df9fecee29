"""From a KFP component to a library function: strings in, one call, a string out, one clear line on failure."""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import signal
import sys
import typing
from collections.abc import Callable
from types import UnionType
from typing import Any

from pydantic import BaseModel, ValidationError

from components.store.api import Store
from components.store.code import other_code
from components.store.errors import ConfigurationError, OrreryError
from components.store.open import open_store
from components.store.records import first_problem, read_reference, reference
from data_contracts.lineage import StageRecord

_PR_SET_PDEATHSIG = 1


def call(stage: Callable[..., StageRecord], *, store: str, config: str, seed: int, **inputs: Any) -> str:
    """Run a stage as a component does; the RecordRef JSON of its output.

    Inputs that the stage declares as StageRecord come as RecordRef JSON ('' for an optional one that is absent); others
    are handed on as they are. An OrreryError becomes one line on stderr and its exit code.
    """
    return _plainly(lambda: _hand_on(*_run(stage, store, config, seed, inputs)))


def ask(question: Callable[..., tuple[Any, ...]], *, store: str, config: str, seed: int, **inputs: Any) -> Any:
    """Run what is like a stage but publishes nothing: its answers, in which versions are RecordRef JSON, or ''."""

    def answer() -> Any:
        opened, answers = _run(question, store, config, seed, inputs)
        return tuple(_hand_on(opened, a) if isinstance(a, StageRecord) else "" if a is None else a for a in answers)

    return _plainly(answer)


def _hand_on(store: Store, record: StageRecord) -> str:
    return reference(store, record).model_dump_json()


def _run(stage: Callable[..., Any], store: str, config: str, seed: int, inputs: dict[str, Any]) -> tuple[Store, Any]:
    types = _annotations(stage)
    opened = open_store(store)
    parsed = _config(stage, types, config)
    records = {name: _input(opened, types.get(name), value) for name, value in inputs.items()}
    return opened, stage(opened, parsed, seed, **records)


def _plainly(work: Callable[[], Any]) -> Any:
    """What `work` gives; an OrreryError is one line on stderr and its exit code."""
    die_with_parent()
    try:
        return work()
    except OrreryError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that started it dies, so that a killed runner leaves no orphan.

    Forked workers of this process are bound to it in the same way; programs that it starts must do it themselves.
    """
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        arm = functools.partial(prctl, _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        arm()
        os.register_at_fork(after_in_child=arm)


def _annotations(stage: Callable[..., Any]) -> dict[str, Any]:
    """The stage's parameter types. Its module may import some for the type checker only; those stay unknown."""
    module = inspect.getmodule(stage)
    scope = {**vars(module), **getattr(stage, "__globals__", {})} if module else {}
    types = {}
    for name, parameter in inspect.signature(stage).parameters.items():
        hint = parameter.annotation
        if isinstance(hint, str):
            try:
                hint = eval(hint, scope)  # the module's own annotation, not input
            except NameError:
                continue
        types[name] = hint
    return types


def _config(stage: Callable[..., Any], types: dict[str, Any], text: str) -> BaseModel:
    wanted = types.get("config")
    if not (isinstance(wanted, type) and issubclass(wanted, BaseModel)):
        raise ConfigurationError(f"{stage.__qualname__} does not annotate its `config` with a Contract")
    try:
        return wanted.model_validate_json(text)
    except ValidationError as error:
        refused = f"configuration of {stage.__qualname__}: {first_problem(error)}"
        differs = other_code()  # another commit's configuration may have fields that this one's lacks
        raise ConfigurationError(f"{refused}; {differs}" if differs else refused) from error


def _input(store: Any, wanted: Any, value: Any) -> Any:
    choices = typing.get_args(wanted) if isinstance(wanted, UnionType) or typing.get_origin(wanted) else (wanted,)
    if StageRecord not in choices:
        return value
    if not value and type(None) in choices:
        return None
    return read_reference(store, value)
