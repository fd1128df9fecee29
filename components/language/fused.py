"""Log-probabilities of labels from hidden states, without the logits of a whole batch: forward and backward in chunks.

Of a token's logits a loss needs three numbers; at a vocabulary of 152k, the logits of 16k tokens are 10 GB in fp32, and
their gradient as many again. A chunk's logits are computed, used and dropped, and computed once more on the way back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from components.store.errors import ConfigurationError

IGNORED = -100
"""The label of a token that is not trained on: of a prompt, of padding."""

CPU_CHUNK = 1 << 22
"""Logits at a time on a CPU, 16 MiB in fp32: about what its caches hold."""
GPU_CHUNK = 1 << 26
"""Logits at a time elsewhere, 256 MiB in fp32: each chunk also reads and writes the weight's whole gradient."""


class TokenStats(NamedTuple):
    """What a loss needs of each token: shaped like the labels, fp32 or fp64, zero where the label is `IGNORED`."""

    logp: Tensor
    """log-probability of the label, at most 0; differentiable"""
    entropy: Tensor
    """entropy of the distribution, nats; without gradient"""
    kl: Tensor | None
    """KL(reference ‖ model) over the whole vocabulary, nats; differentiable; None without a reference"""


class Reference(NamedTuple):
    """A frozen model on the same tokens: hidden states (..., H'), head (V, H') and (V,). It gets no gradient."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None


def linear_logprobs(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    reference: Reference | None = None,
    top_k: int | None = None,
    chunk: int | None = None,
) -> TokenStats:
    """Log-softmax of `hidden @ weight.T + bias` at `labels`, its entropy and KL, `chunk` tokens' logits at a time.

    The products are in `hidden`'s dtype; the softmax, and the sum of the weight's gradient over chunks, in fp32 (for
    fp64 in fp64). Tokens labelled `IGNORED` cost nothing. Under ZeRO-3 call it in the `forward` of the module that owns
    `weight`: only there, and on the way back through it, is the weight whole.

    Args:
        hidden: (..., H), contiguous or not.
        weight: (V, H); cast to `hidden`'s dtype, as is `bias`.
        labels: (...), integers in [0, V) or `IGNORED`, already shifted: each is the label of its own hidden state.
        bias: (V,).
        reference: adds `kl`.
        top_k: the entropy is that of the `top_k` most likely tokens alone, renormalised; None: of the whole vocabulary.
        chunk: None: by `CPU_CHUNK` or `GPU_CHUNK`.

    Raises:
        ConfigurationError: a label, or `top_k`, is outside the vocabulary.
    """
    vocabulary = len(weight)
    _check(labels, top_k, vocabulary)
    if chunk is None:
        chunk = max(1, (CPU_CHUNK if hidden.device.type == "cpu" else GPU_CHUNK) // vocabulary)
    with torch.autocast(hidden.device.type, enabled=False):
        logp, entropy, kl = _LinearLogprobs.apply(
            hidden.reshape(-1, hidden.shape[-1]),
            weight.to(hidden.dtype),
            None if bias is None else bias.to(hidden.dtype),
            labels.reshape(-1),
            None if reference is None else _flat(reference),
            top_k,
            chunk,
        )
    return TokenStats(logp.view_as(labels), entropy.view_as(labels), None if kl is None else kl.view_as(labels))


def _check(labels: Tensor, top_k: int | None, vocabulary: int) -> None:
    outside = labels[(labels != IGNORED) & ((labels < 0) | (labels >= vocabulary))]
    if len(outside):
        raise ConfigurationError(
            f"label {int(outside[0])} is outside the model's vocabulary of {vocabulary} tokens; "
            "take the tokenizer that belongs to the model"
        )
    if top_k is not None and not 1 <= top_k <= vocabulary:
        raise ConfigurationError(f"top_k {top_k} is outside the model's vocabulary of {vocabulary} tokens; lower it")


def _flat(reference: Reference) -> Reference:
    hidden, weight, bias = reference
    dtype = hidden.dtype
    hidden = hidden.detach().reshape(-1, hidden.shape[-1])
    return Reference(hidden, weight.detach().to(dtype), None if bias is None else bias.detach().to(dtype))


class _LinearLogprobs(torch.autograd.Function):
    """`linear_logprobs` of tokens in one row: hidden (N, H), labels (N,).

    Saved for the way back: the inputs and, of each token, the logarithm of the softmax's denominator (`norm`).
    With z the logits of a token and p their softmax,
    d logp / dz = onehot(label) - p and d KL(reference ‖ model) / dz = p - p_reference.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        reference: Reference | None,
        top_k: int | None,
        chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        zeros = hidden.new_zeros(labels.shape, dtype=torch.promote_types(hidden.dtype, torch.float32))
        logp, entropy, kl, norm, reference_norm = (zeros.clone() for _ in range(5))
        for rows in _trained(labels, chunk):
            z, shift, exp, log_mass = _softmax(_logits(hidden[rows], weight, bias))
            norm[rows] = shift + log_mass
            logp[rows] = z.gather(1, labels[rows, None]).squeeze(1) - log_mass
            if reference is not None:
                r, shift, r_exp, r_log_mass = _softmax(_logits(reference.hidden[rows], *reference[1:]))
                reference_norm[rows] = shift + r_log_mass
                kl[rows] = r_exp.mul_(r.sub_(z)).sum(1) / r_log_mass.exp() + log_mass - r_log_mass
            if top_k is None:
                entropy[rows] = log_mass - exp.mul_(z).sum(1) / log_mass.exp()
            else:
                likely = z.topk(top_k, sorted=False).values.log_softmax(1)
                entropy[rows] = -(likely.exp() * likely).sum(1)
        ctx.save_for_backward(hidden, weight, bias, labels, norm, reference_norm)
        ctx.reference, ctx.chunk = reference, chunk
        ctx.mark_non_differentiable(entropy)
        return logp, entropy, None if reference is None else kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_logp: Tensor, _: Tensor, d_kl: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, norm, reference_norm = ctx.saved_tensors
        for_hidden, for_weight, for_bias = ctx.needs_input_grad[:3]
        d_hidden = hidden.new_zeros(hidden.shape) if for_hidden else None
        d_weight = weight.new_zeros(weight.shape, dtype=norm.dtype) if for_weight else None
        d_bias = weight.new_zeros(bias.shape, dtype=norm.dtype) if for_bias else None
        for rows in _trained(labels, ctx.chunk):
            h, g = hidden[rows], d_logp[rows, None]
            dz = _logits(h, weight, bias).sub_(norm[rows, None]).exp_()
            if ctx.reference is None:
                dz.mul_(-g)
            else:
                p = _logits(ctx.reference.hidden[rows], *ctx.reference[1:]).sub_(reference_norm[rows, None]).exp_()
                dz.mul_(d_kl[rows, None] - g).addcmul_(p, d_kl[rows, None], value=-1)
            dz.scatter_add_(1, labels[rows, None], g)
            if d_hidden is not None:
                d_hidden[rows] = dz.to(h.dtype) @ weight
            if d_weight is not None:
                _add_product(d_weight, dz.t(), h)
            if d_bias is not None:
                d_bias += dz.sum(0)
        d_parameters = (None if d is None else d.to(weight.dtype) for d in (d_weight, d_bias))
        return d_hidden, *d_parameters, None, None, None, None


def _trained(labels: Tensor, chunk: int) -> tuple[Tensor, ...]:
    """The indices of tokens that are trained on, in chunks."""
    return (labels != IGNORED).nonzero().squeeze(1).split(chunk)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(C, V), rounded to the operands' dtype as a model's own are, then fp32 (or fp64)."""
    z = torch.nn.functional.linear(hidden, weight, bias)
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _softmax(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`z` (C, V) shifted in place to a maximum of 0, the shift (C,), exp(z), and the logarithm of its sum (C,)."""
    shift = z.amax(1, keepdim=True)
    exp = z.sub_(shift).exp()
    return z, shift.squeeze(1), exp, exp.sum(1).log()


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """`total += a @ b`, summed in `total`'s dtype: chunks' products rounded to bf16 would lose small gradients."""
    if b.is_cuda and b.dtype != total.dtype:
        torch.addmm(total, a.to(b.dtype), b, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(a, b.to(total.dtype))
