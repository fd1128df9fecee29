"""GRPO's loss against TRL's, and what must not change it."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from trl.trainer.grpo_trainer import GRPOTrainer

from components.language.grpo import GrpoLoss, grpo_loss
from components.language.grpo_config import GrpoConfig

B, T = 6, 9


def batch(seed: int = 0, spread: float = 0.7) -> dict[str, Tensor]:
    """Random log-probabilities, fp64, of sequences of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    logp = -torch.rand(B, T, generator=generator, dtype=torch.float64) * 3
    lengths = torch.tensor([9, 1, 4, 7, 9, 2])
    return {
        "logp": logp,
        "old": logp + spread * torch.randn(B, T, generator=generator, dtype=torch.float64),
        "reference": logp + 0.3 * torch.randn(B, T, generator=generator, dtype=torch.float64),
        "advantages": torch.randn(B, generator=generator, dtype=torch.float64),
        "mask": torch.arange(T) < lengths[:, None],
    }


def loss_of(parts: dict[str, Tensor], config: GrpoConfig | None = None) -> GrpoLoss:
    return grpo_loss(config or GrpoConfig(), **parts)  # type: ignore[arg-type]


def trl_loss(parts: dict[str, Tensor], config: GrpoConfig) -> Tensor:
    """TRL's own method, with a trainer that is nothing but its settings."""
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (parts["logp"], torch.zeros_like(parts["logp"]), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, loss_type="grpo",
        importance_sampling_level="token", beta=config.kl_weight, use_vllm=False, epsilon_low=config.clip_low,
        epsilon_high=config.clip_high, model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=config.dual_clip), aux_loss_coef=0.0,
        _entropy_bonus_enabled=False, _metrics={"train": defaultdict(list)},
        accelerator=SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1),
    )  # fmt: skip
    mask = parts["mask"].long()
    ids = torch.zeros_like(mask)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": mask[:, :1], "completion_ids": ids, "completion_mask": mask,
        "advantages": parts["advantages"], "old_per_token_logps": parts["old"],
        "ref_per_token_logps": parts["reference"],
    }  # fmt: skip
    found: Tensor = GRPOTrainer._compute_loss(trainer, None, inputs)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.0, 0.1, 1.5])
def test_loss_and_gradient_are_trls(seed: int, spread: float) -> None:
    """With delta as the dual clip; spread 1.5 reaches every clip."""
    config = GrpoConfig(kl_weight=0.04)
    ours, theirs = batch(seed, spread), batch(seed, spread)
    for parts in (ours, theirs):
        parts["logp"].requires_grad_()
    loss = loss_of(ours, config).loss
    other = trl_loss(theirs, config)
    torch.testing.assert_close(loss, other)
    torch.testing.assert_close(
        torch.autograd.grad(loss, ours["logp"])[0], torch.autograd.grad(other, theirs["logp"])[0]
    )


def test_on_policy_the_gradient_is_that_of_advantage_times_logp() -> None:
    """Ratio 1, no reference: the policy gradient, each token by its sequence's length."""
    parts = batch(spread=0.0) | {"reference": None}
    parts["logp"].requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(parts).loss, parts["logp"])
    tokens = parts["mask"].sum(1, keepdim=True)
    torch.testing.assert_close(gradient, -parts["advantages"][:, None] / tokens / B * parts["mask"])


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [
        (1.2, 1.0, -1.2), (1.4, 1.0, 0.0), (0.5, 1.0, -0.5),  # a good token: no further up than 1.3
        (0.9, -1.0, 0.9), (0.7, -1.0, 0.0), (2.5, -1.0, 2.5), (3.5, -1.0, 0.0),  # a bad one: down to 0.8; 3 at most
    ],
)  # fmt: skip
def test_clips_end_the_gradient_where_they_should(ratio: float, advantage: float, slope: float) -> None:
    logp = torch.tensor([[ratio]], dtype=torch.float64).log().requires_grad_()
    found = grpo_loss(
        GrpoConfig(),
        logp,
        torch.zeros(1, 1),
        None,
        torch.tensor([advantage], dtype=torch.float64),
        torch.ones(1, 1) > 0,
    )
    (gradient,) = torch.autograd.grad(found.loss, logp)
    assert gradient.item() == pytest.approx(slope)
    assert found.clipped.item() == (slope == 0)


def test_equal_micro_batches_and_padding_change_nothing() -> None:
    """The loop splits batches, and ranks pad to different lengths; masked places may hold anything."""
    parts = batch(spread=0.5)
    whole = loss_of(parts)
    halves = [loss_of({name: value[rows] for name, value in parts.items()}) for rows in (slice(0, 3), slice(3, 6))]
    padded = {
        name: value if name == "advantages" else torch.cat([value, torch.full((B, 3), fill).to(value)], 1)
        for name, value, fill in zip(parts, parts.values(), (float("nan"), float("inf"), 7.0, 0.0, False), strict=True)
    }
    for name in ("loss", "kl", "clipped"):
        expected = getattr(whole, name)
        torch.testing.assert_close((getattr(halves[0], name) + getattr(halves[1], name)) / 2, expected)
        torch.testing.assert_close(getattr(loss_of(padded), name), expected)


def test_kl_is_nothing_at_the_reference_and_positive_elsewhere() -> None:
    parts = batch()
    assert loss_of(parts | {"reference": parts["logp"]}).kl.item() == 0
    assert loss_of(parts).kl.item() > 0
