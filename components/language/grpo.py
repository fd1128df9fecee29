"""The loss of GRPO and its advantages (DeepSeekMath, arXiv 2402.03300, Eq. 3 and Sec. 4.1.2; R-Zero's settings).

Of a token with ratio r = p / p_old to the policy that sampled it, in a sequence of advantage A:

    -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), for A < 0 at most -dual_clip A   (dual clip: arXiv 1912.09729)
    + kl_weight k3,  k3 = p_ref / p - log(p_ref / p) - 1                                (Schulman's k3 estimator)

Tokens are averaged over their sequence, sequences over the batch. So a batch may be split into equal micro-batches and
over ranks, and padding changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.language.grpo_config import GrpoConfig

KL_LIMIT = 10.0
"""k3 and log(p_ref / p) are kept within it, as R-Zero's code does: one token's exponential must not rule a batch."""
EPS_R_ZERO = 1e-6
"""added to the standard deviation by R-Zero's public code"""
EPS_TRL = 1e-4
"""the same by TRL's GRPOTrainer"""


class GrpoLoss(NamedTuple):
    """Scalars, averaged as the loss is."""

    loss: Tensor
    kl: Tensor
    clipped: Tensor
    """share of the tokens whose gradient a clip takes away"""


def grpo_loss(
    config: GrpoConfig, logp: Tensor, old: Tensor, reference: Tensor | None, advantages: Tensor, mask: Tensor
) -> GrpoLoss:
    """The loss of a batch of sequences.

    Args:
        logp: (B, T) log-probabilities of the sampled tokens, differentiable. Where `mask` is False, anything.
        old: (B, T) the same of the policy that sampled them.
        reference: (B, T) the same of the frozen model that training started from; None where `kl_weight` is 0.
        advantages: (B,).
        mask: (B, T) bool, the sampled tokens.
    """
    logp, old = logp.masked_fill(~mask, 0), old.masked_fill(~mask, 0)
    advantage = advantages.unsqueeze(1)
    ratio = (logp - old).exp()
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    gain = torch.minimum(ratio * advantage, clipped * advantage)
    gain = torch.where(advantage < 0, gain.maximum(config.dual_clip * advantage), gain)
    loss = -gain
    kl = torch.zeros_like(loss)
    if reference is not None:
        kl = _k3(reference.masked_fill(~mask, 0) - logp)
        loss = loss + config.kl_weight * kl
    free = (gain == ratio * advantage).to(loss.dtype)
    return GrpoLoss(_mean(loss, mask), _mean(kl.detach(), mask), _mean(1 - free, mask))


def advantages(rewards: NDArray[np.float64], group_size: int, eps: float = EPS_R_ZERO) -> NDArray[np.float64]:
    """(N,) (r - mean) / (std + eps) within each group of consecutive responses, with the unbiased std that R-Zero and
    TRL take. 0 where a group's rewards are equal.

    GRPO's groups answer one prompt. With N as the size the batch is the baseline, as in REINFORCE++ (arXiv 2501.03262).

    Raises ValueError: groups of one have no spread, and N must be a multiple of `group_size`.
    """
    if group_size < 2 or rewards.ndim != 1 or len(rewards) % group_size:
        raise ValueError(f"rewards of shape {rewards.shape} do not form groups of {group_size}, two at least")
    grouped = rewards.reshape(-1, group_size)
    above = grouped - grouped.mean(axis=1, keepdims=True)
    above[np.ptp(grouped, axis=1) == 0] = 0  # a mean of equal numbers may be off by a rounding
    return (above / (grouped.std(axis=1, ddof=1, keepdims=True) + eps)).reshape(-1)


def _k3(log_ratio: Tensor) -> Tensor:
    log_ratio = log_ratio.clamp(-KL_LIMIT, KL_LIMIT)
    return (log_ratio.exp() - log_ratio - 1).clamp(max=KL_LIMIT)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Over each sequence's tokens, then over sequences; one without tokens counts as 0."""
    tokens = mask.sum(1)
    return (values.masked_fill(~mask, 0).sum(1) / tokens.clamp(min=1)).mean()
