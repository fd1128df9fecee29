"""The losses of fine-tuning on given answers, all of one form: the sum of -sg(w_t) log p_t over the trained tokens t.

p_t is the model's probability of token t: a softmax over the whole vocabulary, without temperature or clamp; sg stops
the gradient. Variants differ in the weight w_t (and ASFT adds a term). s is the sequence that t belongs to, |s| the
number of its trained tokens, and the reference is the frozen model from which training started:

    sft        w = 1                                          cross-entropy
    dft        w = p_t                                        2508.05629, Eq. 9; the gradient is that of -sum of p_t
    sequence   w = product of p over s                        2508.05629, Eq. 8 and section 4.6: ablation
    geometric  w = (product of p over s) ^ (1 / |s|)          2508.05629, section 4.6, after GSPO: ablation
    iw-sft     w = min(ratio_limit, exp(ratio_exponent * mean over s of log(p / p_reference)))
                                                              2507.12856, as its authors' code trains
    asft       w = p_t, and + kl_weight * KL(p_reference ‖ p) of the distributions at t
                                                              2509.23753, Eq. 6
    eaft       w = entropy of the entropy_top_k likeliest tokens at t / ln entropy_top_k, in [0, 1]
                                                              2601.02151, Eqs. 2 and 3
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, distributed

from components.dft.loss_config import LossConfig
from components.language.fused import IGNORED, Reference, TokenStats, linear_logprobs
from components.store.errors import OrreryError

Needed = TypeVar("Needed")


def loss_sum(
    config: LossConfig,
    stats: TokenStats,
    mask: Tensor,
    *,
    sequence: Tensor | None = None,
    reference_logp: Tensor | None = None,
) -> Tensor:
    """The sum of the trained tokens' losses: a scalar, 0 if there are none.

    Divided by `global_tokens`, it does not depend on micro-batches, ranks, padding or packing. Variants weighted by
    token (sft, dft, asft, eaft) may be split within sequences, as sequence parallelism does; the others may not.

    Args:
        stats: each (B, T), or any one shape. What is not trained on may hold anything, infinities too.
        mask: (B, T) bool, the tokens that are trained on.
        sequence: (B, T) integers from 0: a token's sequence, where rows are packed; None: each row is one.
        reference_logp: (B, T), log p_reference of each token; iw-sft alone needs it.
    """
    logp = stats.logp.masked_fill(~mask, 0)
    constant = logp.detach()
    match config.variant:
        case "sft":
            weight = torch.ones_like(constant)
        case "dft" | "asft":
            weight = constant.exp()
        case "sequence":
            weight = _over_sequences(constant, mask, sequence, mean=False).exp()
        case "geometric":
            weight = _over_sequences(constant, mask, sequence, mean=True).exp()
        case "iw-sft":
            ratio = constant - _present(reference_logp, "reference_logp", config).detach().masked_fill(~mask, 0)
            ratio = _over_sequences(ratio, mask, sequence, mean=True)
            weight = (config.ratio_exponent * ratio).exp().clamp(max=config.ratio_limit)
        case "eaft":
            weight = stats.entropy.detach() / math.log(config.entropy_top_k)
    loss = -weight * logp
    if config.variant == "asft":
        loss = loss + config.kl_weight * _present(stats.kl, "stats.kl", config)
    return loss.masked_fill(~mask, 0).sum()


def fused_loss_sum(
    config: LossConfig,
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    sequence: Tensor | None = None,
    reference: Reference | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, TokenStats]:
    """`loss_sum` of hidden states (B, T, H) and a head (V, H), and the tokens' statistics, by way of `linear_logprobs`.

    The arguments are those functions'; trained are the tokens whose `labels` (B, T) are not `IGNORED`.
    """
    frozen = _present(reference, "reference", config) if config.needs_reference else None
    stats = linear_logprobs(
        hidden, weight, labels, bias, chunk=chunk,
        reference=frozen if config.variant == "asft" else None,
        top_k=config.entropy_top_k if config.variant == "eaft" else None,
    )  # fmt: skip
    reference_logp = None
    if frozen is not None and config.variant == "iw-sft":
        with torch.no_grad():
            reference_logp = linear_logprobs(frozen.hidden, frozen.weight, labels, frozen.bias, chunk=chunk).logp
    loss = loss_sum(config, stats, labels != IGNORED, sequence=sequence, reference_logp=reference_logp)
    return loss, stats


def global_tokens(mask: Tensor) -> int:
    """How many tokens of an optimiser step are trained on, over all ranks: what its sum of losses is divided by.

    `mask` is that of all micro-batches of this rank. An engine that averages gradients over R ranks (DDP, DeepSpeed)
    needs R times the quotient.

    Raises:
        OrreryError: there are none.
    """
    count = mask.sum()
    if distributed.is_initialized():
        if distributed.get_backend() == "nccl":  # it knows only tensors of GPUs, and batches are made on the CPU
            count = count.cuda()
        distributed.all_reduce(count)
    if not (tokens := int(count)):
        raise OrreryError(
            "no token of the batch is trained on: every label is that of a prompt or of padding; check that examples "
            "end with an assistant's answer, and that the maximum length does not cut it off"
        )
    return tokens


def _over_sequences(values: Tensor, mask: Tensor, sequence: Tensor | None, *, mean: bool) -> Tensor:
    """At each token, the sum (or mean) of `values`, 0 where masked, over the trained tokens of its sequence."""
    if sequence is None:
        sequence = torch.arange(len(values), device=values.device).unsqueeze(1).expand_as(values)
    index = sequence.flatten()
    total = values.new_zeros(int(index.max()) + 1).index_add_(0, index, values.flatten())
    if mean:
        total /= total.new_zeros(len(total)).index_add_(0, index, mask.flatten().to(total.dtype)).clamp(min=1)
    return total[sequence]


def _present(value: Needed | None, name: str, config: LossConfig) -> Needed:
    if value is None:
        raise ValueError(f"variant '{config.variant}' needs {name}")
    return value
