"""The served policy without a server: what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.envisioner.policy import Policy
from components.release import serving_model
from components.release.serving_model import ServingModel
from components.release.sessions import RequestError

Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def policy(published: Any) -> Policy:
    return Policy.load(published.bundle, published.folder)


@pytest.fixture
def model(published: Any, policy: Policy) -> ServingModel:
    return ServingModel(published.bundle, policy)


def text(value: str | bytes) -> np.ndarray:
    return np.array([value.encode() if isinstance(value, str) else value], dtype=object)


def request(seed: int = 0, session: str = "robot", **more: np.ndarray) -> Tensors:
    random = np.random.default_rng(seed)
    good = {
        "images": random.integers(0, 256, (2, 16, 24, 3), dtype=np.uint8),
        "state": random.normal(size=16).astype(np.float32),
        "instruction": text("press the red button"),
        "session": text(session),
    }
    return good | more


def one(value: Any, kind: type) -> np.ndarray:
    return np.array([value], dtype=kind)


def test_a_chunk_of_54_absolute_actions(model: ServingModel) -> None:
    actions = model.answer(request())
    assert actions.shape == (54, 16)
    assert actions.dtype == np.float32


def test_memory_changes_the_answer_and_sessions_do_not_share_it(model: ServingModel) -> None:
    """Equal frames, other pasts: other actions; equal pasts under other names: equal actions."""
    for name, past in (("a", 1), ("b", 2), ("c", 1)):
        model.answer(request(past, name))
    now = {name: model.answer(request(9, name, executed_steps=one(18, np.int32))) for name in "abc"}
    assert not np.allclose(now["a"], now["b"])
    np.testing.assert_array_equal(now["a"], now["c"])


def test_reset_forgets_the_past(model: ServingModel) -> None:
    first = model.answer(request(5, "fresh"))
    model.answer(request(1, "robot"))
    again = model.answer(request(5, "robot", reset=one(True, np.bool_)))
    np.testing.assert_array_equal(first, again)


def test_the_kept_frame_is_a_copy(model: ServingModel) -> None:
    """Triton reuses its buffers: writing into a request's array later must not change a session's memory."""
    past = request(1, "a")
    model.answer(past)
    model.answer(request(1, "b"))
    past["images"][:] = 0
    later = [model.answer(request(2, name, executed_steps=one(18, np.int32))) for name in "ab"]
    np.testing.assert_array_equal(*later)


BAD: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "no images": (lambda r: r.pop("images"), "images is missing"),
    "one camera less": (
        lambda r: r.update(images=r["images"][:1]),
        r"images is uint8 \[1, 16, 24, 3\].*\[2, 16, 24, 3\]",
    ),
    "float images": (lambda r: r.update(images=r["images"] / np.float32(255)), "images is float32"),
    "wrong size": (lambda r: r.update(images=np.zeros((2, 480, 640, 3), np.uint8)), "480, 640"),
    "short state": (lambda r: r.update(state=r["state"][:14]), r"state is float32 \[14\]"),
    "NaN state": (lambda r: r["state"].__setitem__(3, np.nan), r"state\[3\] \(left_joint4\) is nan"),
    "infinite state": (lambda r: r["state"].__setitem__(15, np.inf), "right_gripper"),
    "double state": (lambda r: r.update(state=r["state"].astype(np.float64)), "float64"),
    "no instruction": (lambda r: r.pop("instruction"), "instruction is missing"),
    "empty instruction": (lambda r: r.update(instruction=text("  ")), "instruction is empty"),
    "a number for an instruction": (lambda r: r.update(instruction=one(1 << 60, np.int64)), "is int64; send text"),
    "two instructions": (lambda r: r.update(instruction=np.array([b"a", b"b"], object)), "exactly one text"),
    "instruction too long": (lambda r: r.update(instruction=text("x" * 1025)), "1025 bytes; at most 1024"),
    "instruction not UTF-8": (lambda r: r.update(instruction=text(b"press \xff")), "not UTF-8 .byte 6."),
    "control characters": (lambda r: r.update(instruction=text("press\x1b[2J")), "control characters"),
    "empty session": (lambda r: r.update(session=text("")), "session must be"),
    "session with a path": (lambda r: r.update(session=text("../../etc")), "session must be"),
    "session too long": (lambda r: r.update(session=text("s" * 129)), "129 bytes"),
    "session not UTF-8": (lambda r: r.update(session=text(b"\x80")), "session is not UTF-8"),
    "negative steps": (lambda r: r.update(executed_steps=one(-1, np.int32)), "executed_steps is -1"),
    "too many steps": (lambda r: r.update(executed_steps=one(10**6, np.int32)), "executed_steps is 1000000"),
    "wide steps": (lambda r: r.update(executed_steps=one(1, np.int64)), "executed_steps is int64"),
    "negative seed": (lambda r: r.update(seed=one(-5, np.int64)), "seed is -5"),
    "unknown session that moved": (
        lambda r: r.update(session=text("x"), executed_steps=one(18, np.int32)),
        "not known",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_named_and_changes_nothing(model: ServingModel, case: str) -> None:
    spoil, message = BAD[case]
    model.answer(request(1))
    bad = request(2, executed_steps=one(18, np.int32))
    spoil(bad)
    with pytest.raises(RequestError, match=message):
        model.answer(bad)
    model.answer(request(1, "twin"))
    after = [model.answer(request(3, name, executed_steps=one(30, np.int32))) for name in ("robot", "twin")]
    np.testing.assert_array_equal(*after)


def test_a_failure_inside_the_policy_leaves_the_session_as_it_was(published: Any, policy: Policy) -> None:
    class Failing:
        broken = False

        def act(self, *arguments: Any) -> np.ndarray:
            if self.broken:
                raise RuntimeError("out of memory")
            return policy.act(*arguments)

    actor = Failing()
    model = ServingModel(published.bundle, actor)
    model.answer(request(1, "a"))
    model.answer(request(1, "b"))
    actor.broken = True
    with pytest.raises(RuntimeError):
        model.answer(request(2, "a", executed_steps=one(30, np.int32)))
    actor.broken = False
    after = [model.answer(request(3, name, executed_steps=one(30, np.int32))) for name in "ab"]
    np.testing.assert_array_equal(*after)


def test_a_policy_that_can_not_act_does_not_load(published: Any, tmp_path: Path) -> None:
    """Six memory frames in the bundle, three in the network: found when loading, not on a robot's first request."""
    for name in ("model.safetensors", "codec.safetensors"):
        (tmp_path / name).symlink_to(published.folder / name)
    memory = published.bundle.memory.model_copy(update={"frames": 6})
    (tmp_path / "bundle.json").write_text(published.bundle.model_copy(update={"memory": memory}).model_dump_json())
    with pytest.raises(ValueError, match="memory must be"):
        ServingModel.load(tmp_path)


def test_actions_that_are_not_finite_never_leave(published: Any) -> None:
    class Diverged:
        def act(self, *arguments: Any) -> np.ndarray:
            return np.full((54, 16), np.nan, np.float32)

    with pytest.raises(RequestError, match="not finite"):
        ServingModel(published.bundle, Diverged()).answer(request())


def test_what_triton_imports_needs_no_store_and_no_triton() -> None:
    """The serving environment may lack the store's packages: model.py's import chain must not reach them."""
    allowed = ("components.release.se", "components.envisioner", "data_contracts")
    for file in (Path(serving_model.__file__), Path(serving_model.__file__).with_name("triton_model.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("components",):
                assert node.module.startswith(allowed), f"{file.name} imports {node.module}"
