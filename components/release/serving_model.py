"""What Triton's Python backend runs: checks a request, keeps the session's memory, asks the policy.

Free of Triton: arrays in, arrays out, so it is tested without a server, and it runs under numpy 1 and 2 alike.
"""

from __future__ import annotations

import copy
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from components.release.sessions import RequestError, Sessions
from data_contracts.bundle import PolicyBundle

MAX_INSTRUCTION_BYTES = 1024
MAX_EXECUTED_STEPS = 100_000
SESSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class Actor(Protocol):
    """`components.envisioner.policy.Policy`, as far as serving needs it."""

    def act(self, memory: np.ndarray, state: np.ndarray, instruction: str, seed: int) -> np.ndarray:
        """(M, V, H, W, 3) uint8 RGB and (D,) raw state -> (chunk, D) float32 absolute actions."""


@dataclass(frozen=True, slots=True)
class ActRequest:
    """One checked request. `images` (V, H, W, 3) uint8 RGB; `state` (D,) float32 in the schema's raw units."""

    images: np.ndarray
    state: np.ndarray
    instruction: str
    session: str
    executed_steps: int
    reset: bool
    seed: int


class ServingModel:
    """A policy with its sessions."""

    def __init__(self, bundle: PolicyBundle, actor: Actor, sessions: Sessions | None = None) -> None:
        from components.envisioner.memory import SessionMemory

        self.bundle, self._actor = bundle, actor
        self._sessions: Sessions[SessionMemory] = sessions or Sessions(
            lambda: SessionMemory(bundle.memory.frames, bundle.memory.stride_steps)
        )

    @classmethod
    def load(cls, folder: Path) -> ServingModel:
        """From a published version's folder (`bundle.json` beside the weights). A first act proves that it can act:
        what is wrong with a policy ends its loading, not a robot's request."""
        from components.envisioner.policy import Policy

        bundle = PolicyBundle.model_validate_json((folder / "bundle.json").read_bytes())
        policy = Policy.load(bundle, folder)
        memory = np.zeros(
            (bundle.memory.frames, len(bundle.cameras), bundle.image_height, bundle.image_width, 3), np.uint8
        )
        policy.act(memory, np.asarray(bundle.action.state.mean, np.float32), bundle.instructions[0], 0)
        return cls(bundle, policy)

    def answer(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(chunk, D) float32 actions. Raises RequestError; the session is as before if anything goes wrong."""
        request = self.parse(inputs)
        kept = self._sessions.get(request.session, fresh=request.reset, executed_steps=request.executed_steps)
        memory = copy.deepcopy(kept)
        frames = memory.observe(request.images, request.executed_steps)
        actions = self._actor.act(frames, request.state, request.instruction, request.seed)
        if not np.isfinite(actions).all():
            raise RequestError("the policy's actions are not finite for this input; nothing was sent to the robot")
        self._sessions.keep(request.session, memory)
        return np.ascontiguousarray(actions, dtype=np.float32)

    def parse(self, inputs: Mapping[str, np.ndarray]) -> ActRequest:
        """Check everything before anything changes. Raises RequestError that names the input and the mend."""
        bundle = self.bundle
        views, height, width = len(bundle.cameras), bundle.image_height, bundle.image_width
        images = _array(inputs, "images", np.uint8, (views, height, width, 3), f"cameras {', '.join(bundle.cameras)}")
        state = _array(inputs, "state", np.float32, (bundle.action.width,), ", ".join(bundle.action.names))
        bad = np.flatnonzero(~np.isfinite(state))
        if bad.size:
            raise RequestError(
                f"state[{bad[0]}] ({bundle.action.names[bad[0]]}) is {state[bad[0]]}; send finite numbers"
            )
        executed = _integer(inputs, "executed_steps", np.int32, 0)
        if not 0 <= executed <= MAX_EXECUTED_STEPS:
            raise RequestError(f"executed_steps is {executed}; it must be 0 to {MAX_EXECUTED_STEPS}")
        seed = _integer(inputs, "seed", np.int64, 0)
        if seed < 0:
            raise RequestError(f"seed is {seed}; it must not be negative")
        return ActRequest(
            images=images.copy(),  # Triton reuses its buffers, and memory keeps this frame
            state=state,
            instruction=_instruction(_text(inputs, "instruction", MAX_INSTRUCTION_BYTES)),
            session=_session(_text(inputs, "session", 128)),
            executed_steps=executed,
            reset=bool(_integer(inputs, "reset", np.bool_, 0)),
            seed=seed,
        )


def _array(inputs: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...], what: str) -> np.ndarray:
    if name not in inputs:
        raise RequestError(f"{name} is missing; send {np.dtype(dtype).name} {list(shape)} ({what})")
    value = np.asarray(inputs[name])
    if value.dtype != np.dtype(dtype) or value.shape != shape:
        raise RequestError(
            f"{name} is {value.dtype.name} {list(value.shape)}; this policy takes "
            f"{np.dtype(dtype).name} {list(shape)} ({what})"
        )
    return value


def _integer(inputs: Mapping[str, np.ndarray], name: str, dtype: type, default: int) -> int:
    if name not in inputs:
        return default
    return int(_array(inputs, name, dtype, (1,), "one value")[0])


def _text(inputs: Mapping[str, np.ndarray], name: str, limit: int) -> str:
    """One UTF-8 text. Triton hands strings over as an object array of bytes."""
    if name not in inputs:
        raise RequestError(f"{name} is missing; send one text")
    value = np.asarray(inputs[name])
    if value.shape != (1,):
        raise RequestError(f"{name} has shape {list(value.shape)}; send exactly one text, shape [1]")
    raw = value[0].encode() if isinstance(value[0], str) else value[0]
    if not isinstance(raw, bytes):
        raise RequestError(f"{name} is {value.dtype.name}; send text")
    if len(raw) > limit:
        raise RequestError(f"{name} has {len(raw)} bytes; at most {limit} are taken")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is not UTF-8 (byte {error.start}); encode it as UTF-8") from None


def _instruction(text: str) -> str:
    if not text.strip():
        raise RequestError("instruction is empty; say what the robot is to do")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise RequestError("instruction holds control characters; send one line of plain text")
    return text


def _session(text: str) -> str:
    if not SESSION_NAME.fullmatch(text):
        raise RequestError(
            "session must be 1 to 128 letters, digits, '.', '_', ':' or '-', and begin with a letter or digit"
        )
    return text
