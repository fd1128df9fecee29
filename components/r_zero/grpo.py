"""The loss of GRPO, by which both players are trained (DeepSeekMath, arXiv 2402.03300, Eq. 3; R-Zero's settings).

Of a token with ratio r = p / p_old to the policy that sampled it, in a sequence of advantage A:

    -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), for A < 0 at most -dual_clip A   (dual clip: arXiv 1912.09729)
    + kl_weight k3,  k3 = p_ref / p - log(p_ref / p) - 1                                (Schulman's k3 estimator)

Tokens are averaged over their sequence, sequences over the batch. So a batch may be split into equal micro-batches and
over ranks, and padding changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from components.r_zero.config import GrpoConfig

KL_LIMIT = 10.0
"""k3 and log(p_ref / p) are kept within it, as R-Zero's code does: one token's exponential must not rule a batch."""


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


def _k3(log_ratio: Tensor) -> Tensor:
    log_ratio = log_ratio.clamp(-KL_LIMIT, KL_LIMIT)
    return (log_ratio.exp() - log_ratio - 1).clamp(max=KL_LIMIT)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Over each sequence's tokens, then over sequences; one without tokens counts as 0."""
    tokens = mask.sum(1)
    return (values.masked_fill(~mask, 0).sum(1) / tokens.clamp(min=1)).mean()
