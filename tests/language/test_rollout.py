"""The file that a killed online training goes on from: what was sampled, in its places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.language.rollout import Rollout
from components.language.samples import Completion
from components.store.errors import IntegrityError


def rollout() -> Rollout:
    said = [Completion(text="x", token_ids=ids, finish="stop", logprobs=[-0.1 * i for i in ids])
            for ids in ((7, 8, 2), (9, 2))]  # fmt: skip
    return Rollout.of([[5], [5, 6]], said, np.array([1.0, 0.0]), np.array([0.7, -0.7]))


def test_what_is_read_back_is_what_was_sampled(tmp_path: Path) -> None:
    """Breaks if a token met another's log-probability, or a sequence another's advantage: the ratio would be noise."""
    rollout().save(tmp_path / "r")
    batch = Rollout.load(tmp_path / "r").batch([1, 0])
    ids, sampled, old = (batch[name].numpy() for name in ("input_ids", "sampled", "old"))
    assert ids.tolist() == [[5, 6, 9, 2, 0, 0, 0, 0], [5, 7, 8, 2, 0, 0, 0, 0]]
    assert [row.nonzero()[0].tolist() for row in sampled] == [[1, 2], [0, 1, 2]], "of the tokens 1 .. 7"
    np.testing.assert_allclose(old, np.where(sampled, -0.1 * ids[:, 1:], 0), rtol=1e-6)
    assert batch["advantage"].tolist() == pytest.approx([-0.7, 0.7])
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_damaged_rollout_is_named(tmp_path: Path) -> None:
    """Breaks if a run trained on half of a file, or died with an error that says nothing of it."""
    rollout().save(tmp_path / "r")
    whole = (tmp_path / "r").read_bytes()
    for content in (whole[:-4], b"", b"no tensors"):
        (tmp_path / "r").write_bytes(content)
        with pytest.raises(IntegrityError, match=r"is no rollout .*remove it, and it is sampled again"):
            Rollout.load(tmp_path / "r")
