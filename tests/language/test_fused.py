"""The chunked log-probabilities against plain log-softmax over whole logits: values, gradients, memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from components.dft.loss_config import LossConfig, Variant
from components.dft.losses import fused_loss_sum, loss_sum
from components.language.fused import IGNORED, Reference, TokenStats, linear_logprobs
from components.store.errors import ConfigurationError

B, T, H, V = 3, 7, 16, 50
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Inputs(NamedTuple):
    hidden: Tensor
    weight: Tensor
    bias: Tensor
    labels: Tensor
    reference: Reference


def inputs(dtype: torch.dtype = torch.float32, seed: int = 0) -> Inputs:
    """Logits of a spread of about 2; every third token or so is not trained on."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    labels = torch.randint(V, (B, T), generator=generator)
    labels[torch.rand(B, T, generator=generator) < 0.3] = IGNORED
    reference = Reference(normal(B, T, H + 1), 0.5 * normal(V, H + 1), normal(V))
    return Inputs(normal(B, T, H), 0.5 * normal(V, H), normal(V), labels, reference)


def materialised(given: Inputs, top_k: int | None = None) -> TokenStats:
    """The same, of all logits at once."""
    hidden, weight, bias, labels, reference = given
    logs = (hidden @ weight.T + bias).float().log_softmax(-1)
    theirs = (reference.hidden @ reference.weight.T + reference.bias).float().log_softmax(-1)
    logp = logs.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    likely = logs.detach().topk(top_k or V).values.log_softmax(-1)
    entropy, kl = -(likely.exp() * likely).sum(-1), (theirs.exp() * (theirs - logs)).sum(-1)
    return TokenStats(*(x.masked_fill(labels == IGNORED, 0) for x in (logp, entropy, kl)))


def gradients(given: Inputs, total: Callable[[Inputs], Tensor]) -> list[Tensor]:
    """d total / d hidden, weight, bias."""
    leaves = [x.detach().requires_grad_() for x in given[:3]]
    return list(torch.autograd.grad(total(Inputs(*leaves, *given[3:])), leaves))


def on(device: str, given: Inputs) -> Inputs:
    bias = given.reference.bias
    assert bias is not None
    reference = Reference(given.reference.hidden.to(device), given.reference.weight.to(device), bias.to(device))
    return Inputs(*(x.to(device) for x in given[:4]), reference)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("chunk", [1, 4, 1000])
@pytest.mark.parametrize("variant", get_args(Variant))
def test_every_loss_is_that_of_whole_logits(variant: Variant, chunk: int, device: str) -> None:
    """What is gained in memory must cost nothing in the numbers: 1e-5 in fp32, for the loss and for every gradient."""
    config, given = LossConfig(variant=variant), on(device, inputs())
    top_k = config.entropy_top_k if variant == "eaft" else None
    reference_logp = materialised(given._replace(hidden=given.reference.hidden, weight=given.reference.weight,
                                                 bias=given.reference.bias)).logp  # fmt: skip

    def plain(x: Inputs) -> Tensor:
        return loss_sum(config, materialised(x, top_k), x.labels != IGNORED, reference_logp=reference_logp)

    def fused(x: Inputs) -> Tensor:
        return fused_loss_sum(config, *x[:2], x.labels, x.bias, reference=x.reference, chunk=chunk)[0]

    torch.testing.assert_close(fused(given), plain(given), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients(given, fused), gradients(given, plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("top_k", [None, 5])
def test_the_statistics_are_those_of_whole_logits(top_k: int | None) -> None:
    """Analyses report entropy and KL as such, not only through a loss."""
    given = inputs()
    given.hidden.requires_grad_()
    ours = linear_logprobs(*given[:2], given.labels, given.bias, reference=given.reference, top_k=top_k, chunk=4)
    for mine, theirs in zip(ours, materialised(given, top_k), strict=True):
        assert mine is not None
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert ours.kl is not None
    assert [x.requires_grad for x in (ours.logp, ours.entropy, ours.kl)] == [True, False, True]
    assert linear_logprobs(*given[:2], given.labels).kl is None


def test_the_gradient_is_the_derivative() -> None:
    """Against finite differences in fp64: it would be found even if the plain version shared the mistake."""
    hidden, weight, bias, labels, reference = inputs(torch.float64)
    leaves = [x.requires_grad_() for x in (hidden, weight, bias)]

    def both(h: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        stats = linear_logprobs(h, w, labels, b, reference=reference, chunk=4)
        assert stats.kl is not None
        return stats.logp, stats.kl

    assert torch.autograd.gradcheck(both, leaves, fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda h, w: linear_logprobs(h, w, labels, chunk=4).logp, leaves[:2], fast_mode=True
    )


@given(seed=st.integers(0, 99), chunk=st.integers(1, 30), lead=st.sampled_from([(B, T), (B * T,), (T, B), (1, B, T)]))
def test_neither_chunks_nor_shapes_matter(seed: int, chunk: int, lead: tuple[int, ...]) -> None:
    """A chunk's edge in the wrong place would lose or count twice some tokens."""
    given = inputs(seed=seed)
    whole = linear_logprobs(given.hidden, given.weight, given.labels)
    parts = linear_logprobs(given.hidden.view(*lead, H), given.weight, given.labels.view(lead), chunk=chunk)
    for one, other in zip(whole[:2], parts[:2], strict=True):
        assert other.shape == lead
        torch.testing.assert_close(one.flatten(), other.flatten(), rtol=1e-5, atol=1e-6)


def test_inputs_need_not_be_contiguous() -> None:
    """Shifting by one token makes views; reading them as if they were dense would mix up tokens."""
    given = inputs()
    hidden, weight, labels = given.hidden[:, :-1], given.weight.T.contiguous().T, given.labels[:, 1:]
    assert not any(x.is_contiguous() for x in (hidden, weight, labels))

    def total(h: Tensor, w: Tensor, y: Tensor) -> list[Tensor]:
        h, w = h.detach().requires_grad_(), w.detach().requires_grad_()
        return list(torch.autograd.grad(linear_logprobs(h, w, y, chunk=4).logp.exp().sum(), (h, w)))

    dense = [x.contiguous() for x in (hidden, weight, labels)]
    for ours, theirs in zip(total(hidden, weight, labels), total(*dense), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_tokens_left_out_get_exactly_nothing() -> None:
    """Prompts and padding: no gradient at all, and no part in the weight's."""
    given = inputs()
    out = given.labels == IGNORED

    def total(x: Inputs) -> Tensor:
        return linear_logprobs(x.hidden, x.weight, x.labels, x.bias, chunk=4).logp.sum()

    d_hidden, d_weight, _ = gradients(given, total)
    assert not d_hidden[out].any()
    assert d_hidden[~out].any(1).all()
    noise = given._replace(hidden=given.hidden.masked_fill(out.unsqueeze(-1), math.nan))
    assert torch.equal(gradients(noise, total)[1], d_weight)
    nothing = given._replace(labels=torch.full_like(given.labels, IGNORED))
    assert not any(d.any() for d in gradients(nothing, total))


def test_a_frozen_head_gets_no_gradient() -> None:
    """With adapters the head is frozen: a vocabulary-sized gradient would be computed for nothing."""
    given = inputs()
    hidden, weight = given.hidden.requires_grad_(), given.weight.requires_grad_()
    linear_logprobs(hidden, weight.detach(), given.labels).logp.sum().backward()
    alone = hidden.grad
    hidden.grad = None
    linear_logprobs(hidden, weight, given.labels).logp.sum().backward()
    assert alone is not None
    assert torch.equal(alone, hidden.grad)


class _Largest(TorchDispatchMode):
    """Remembers the most elements that any tensor had that an operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("variant", get_args(Variant))
def test_the_logits_of_all_tokens_never_exist(variant: Variant) -> None:
    """Forward or backward, nothing is larger than a chunk's logits or the weight: else long sequences do not fit."""
    tokens, vocabulary, chunk, width = 64, 500, 8, 4
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=generator).requires_grad_()
    labels = torch.randint(vocabulary, (tokens,), generator=generator)
    frozen, config = Reference(hidden.detach() + 1, weight.detach()), LossConfig(variant=variant)
    with _Largest() as largest:
        fused_loss_sum(config, hidden[None], weight, labels[None], reference=frozen, chunk=chunk)[0].backward()
    assert chunk * vocabulary <= largest.elements < tokens * vocabulary / 4
    with _Largest() as largest:
        (hidden @ weight.T).log_softmax(-1)[:, 0].sum().backward()
    assert largest.elements == tokens * vocabulary, "the measure sees whole logits where they are"


def test_bf16_is_rounded_once_and_no_more() -> None:
    """Logits are bf16, as a model's are; a softmax or a sum over chunks in bf16 would lose what small gradients say.

    Integers: their logits are the same in any order of summing.
    """
    given = inputs(torch.bfloat16)
    given = given._replace(hidden=given.hidden.round(), weight=given.weight.round(), bias=given.bias.round())
    logits = torch.nn.functional.linear(given.hidden, given.weight, given.bias)
    trained = given.labels != IGNORED
    expected = logits[trained].double().log_softmax(-1).gather(-1, given.labels[trained].unsqueeze(-1)).squeeze(-1)
    stats = linear_logprobs(given.hidden, given.weight, given.labels, given.bias, chunk=1)
    assert stats.logp.dtype == torch.float32
    torch.testing.assert_close(stats.logp[trained].double(), expected, rtol=1e-6, atol=1e-6)

    # Three chunks add 128.5 each. Their sum is 385.5, in bf16 386; rounded on the way, one by one or as a sum, 384.
    hidden = torch.ones(771, 1, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16).requires_grad_()
    linear_logprobs(hidden, weight, torch.zeros(771, dtype=torch.long), chunk=257).logp.sum().backward()
    assert weight.grad is not None
    assert weight.grad.flatten().tolist() == [386, -386]


def test_under_autocast_it_is_the_same() -> None:
    """The products' dtype is the hidden states'; autocast ends before the backward pass, which must agree."""
    given = inputs()
    hidden, weight = given.hidden.requires_grad_(), given.weight
    plain = linear_logprobs(hidden, weight, given.labels).logp
    with torch.autocast("cpu", torch.bfloat16):
        cast = linear_logprobs(hidden, weight, given.labels).logp
    assert torch.equal(cast, plain)


def test_large_logits_stay_finite() -> None:
    """A model that is sure of itself has logits of hundreds, whose exponentials are infinite."""
    hidden = torch.tensor([[1000.0], [-1000.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    reference = Reference(-hidden.detach(), weight.detach())
    stats = linear_logprobs(hidden, weight, torch.tensor([0, 0]), reference=reference)
    assert stats.kl is not None
    assert stats.logp.tolist() == [0, -2000]
    assert stats.entropy.tolist() == [0, 0]
    assert stats.kl.tolist() == [2000, 2000]
    (stats.logp.sum() + stats.kl.sum()).backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    assert hidden.grad.isfinite().all()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("label", [V, -1])
def test_a_label_outside_the_vocabulary_is_named(label: int) -> None:
    """Another model's tokenizer: an index error in the middle of a run, or on a GPU a crash without a place."""
    given = inputs()
    given.labels[1, 2] = label
    with pytest.raises(ConfigurationError, match=rf"label {label} is outside the model's vocabulary of {V} tokens"):
        linear_logprobs(given.hidden, given.weight, given.labels)


def test_more_likely_tokens_than_the_vocabulary_has_are_named() -> None:
    """EAFT's 20 on a toy vocabulary."""
    given = inputs()
    with pytest.raises(ConfigurationError, match=f"top_k {V + 1} is outside"):
        linear_logprobs(given.hidden, given.weight, given.labels, top_k=V + 1)
