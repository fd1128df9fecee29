"""Every loss against its formula, token by token in fp64, and against every way to cut up the same tokens."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from components.dft.loss_config import LossConfig, Variant
from components.dft.losses import fused_loss_sum, global_tokens, loss_sum
from components.language.fused import IGNORED, Reference, TokenStats
from components.store.errors import OrreryError

V = 7
TOP_K = 3
CONFIGS = [
    LossConfig(variant="eaft", entropy_top_k=TOP_K)
    if variant == "eaft"
    else LossConfig(variant="iw-sft", ratio_exponent=1.5, ratio_limit=1.2)
    if variant == "iw-sft"
    else LossConfig(variant=variant)
    for variant in get_args(Variant)
]
BY_SEQUENCE = ("sequence", "geometric", "iw-sft")
"""Variants whose weight is one of a whole sequence."""
every_variant = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.variant)
DEADLINE = 120.0


class Batch(NamedTuple):
    """Logits stand for hidden states: the head is the identity, so the whole path from them to the loss is tested."""

    logits: Tensor
    reference: Tensor
    labels: Tensor
    sequence: Tensor | None = None


def batch(rows: int, length: int, seed: int = 0) -> Batch:
    """fp64, a third of the tokens not trained on, in every row one that is."""
    generator = torch.Generator().manual_seed(seed)
    logits, reference = 2 * torch.randn(2, rows, length, V, generator=generator, dtype=torch.float64)
    labels = torch.randint(V, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < 1 / 3] = IGNORED
    labels[:, 0] = 1
    return Batch(logits, reference, labels)


def ours(config: LossConfig, data: Batch) -> Tensor:
    head = torch.eye(V, dtype=torch.float64)
    return fused_loss_sum(
        config, data.logits, head, data.labels, sequence=data.sequence, reference=Reference(data.reference, head)
    )[0]


def with_gradient(config: LossConfig, data: Batch) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient with respect to the logits."""
    logits = data.logits.clone().requires_grad_()
    loss = ours(config, data._replace(logits=logits))
    loss.backward()
    assert logits.grad is not None
    return loss.detach(), logits.grad


def formula(config: LossConfig, data: Batch) -> Tensor:
    """The module's table, in probabilities and one token after another."""
    p, q = data.logits.softmax(-1), data.reference.softmax(-1)
    total = data.logits.new_zeros(())
    for row, labels in enumerate(data.labels.tolist()):
        trained = [(row, t, label) for t, label in enumerate(labels) if label != IGNORED]
        own = [p[place].item() for place in trained]
        theirs = [q[place].item() for place in trained]
        geometric = math.prod(own) ** (1 / len(own))
        ratio = geometric / math.prod(theirs) ** (1 / len(own))
        for place, probability in zip(trained, own, strict=True):
            top = p[place[:2]].detach().sort(descending=True).values[:TOP_K]
            top /= top.sum()
            weight = {
                "sft": 1.0,
                "dft": probability,
                "asft": probability,
                "sequence": math.prod(own),
                "geometric": geometric,
                "iw-sft": min(config.ratio_limit, ratio**config.ratio_exponent),
                "eaft": -sum(x * math.log(x) for x in top.tolist()) / math.log(TOP_K),
            }[config.variant]
            total = total - weight * p[place].log()
            if config.variant == "asft":
                here, there = p[place[:2]], q[place[:2]]
                total = total + config.kl_weight * (there * (there / here).log()).sum()
    return total


@every_variant
def test_it_is_the_formula(config: LossConfig) -> None:
    """A run is called by the name of its loss; its numbers are worth nothing if the loss is another one."""
    data = batch(4, 6)
    logits = data.logits.clone().requires_grad_()
    expected = formula(config, data._replace(logits=logits))
    expected.backward()
    loss, gradient = with_gradient(config, data)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, logits.grad, rtol=1e-10, atol=1e-14)


def test_the_importance_weight_is_limited() -> None:
    """The formula's test must see both sides of the limit, or a missing one would pass."""
    data = batch(4, 6)
    p, q = (x.log_softmax(-1) for x in (data.logits, data.reference))
    mask = data.labels != IGNORED
    at = data.labels.clamp(min=0).unsqueeze(-1)
    ratio = ((p - q).gather(-1, at).squeeze(-1) * mask).sum(1) / mask.sum(1)
    weights = (1.5 * ratio).exp()
    assert weights.min() < 1.2 < weights.max()


def test_the_gradient_of_dft_is_that_of_minus_the_probabilities() -> None:
    """The paper's own reading of it (A.3, Eq. 13): what a run of DFT maximises is the sum of p."""
    data = batch(4, 6)
    logits = data.logits.clone().requires_grad_()
    p = logits.softmax(-1).gather(-1, data.labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    (-p[data.labels != IGNORED].sum()).backward()
    torch.testing.assert_close(with_gradient(LossConfig(), data)[1], logits.grad, rtol=1e-10, atol=1e-14)


def test_at_a_probability_of_a_tenth_dft_pulls_a_tenth_as_hard() -> None:
    """p (p - 1) on the label's logit against p - 1. If p were not detached, (1 + log p) would turn the sign below 1/e,
    and an unlikely label would be made unlikelier."""
    logits = torch.tensor([0.1, *[0.9 / (V - 1)] * (V - 1)], dtype=torch.float64).log().view(1, 1, V)
    data = Batch(logits, logits, torch.zeros(1, 1, dtype=torch.long))
    assert with_gradient(LossConfig(variant="sft"), data)[1][0, 0, 0].item() == pytest.approx(-0.9)
    assert with_gradient(LossConfig(variant="dft"), data)[1][0, 0, 0].item() == pytest.approx(-0.09)

    attached = logits.clone().requires_grad_()
    logp = attached.log_softmax(-1)[0, 0, 0]
    (-logp.exp() * logp).backward()
    assert attached.grad is not None
    assert attached.grad[0, 0, 0].item() == pytest.approx(-0.09 * (1 + math.log(0.1)))
    assert attached.grad[0, 0, 0].item() > 0


@every_variant
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5), cut=st.integers(1, 5), seed=st.integers(0, 99))
def test_how_tokens_are_cut_up_does_not_matter(config: LossConfig, lengths: list[int], cut: int, seed: int) -> None:
    """The public code's gradient grows with the number of micro-batches. Here sequences one by one are the measure; the
    same ones padded (with what must not be seen), packed into one row, and in micro-batches have to give the same."""
    alone = [batch(1, length, 100 * seed + i) for i, length in enumerate(lengths)]
    tokens = global_tokens(torch.cat([x.labels != IGNORED for x in alone], 1))
    results = [with_gradient(config, x) for x in alone]
    loss = torch.stack([r[0] for r in results]).sum() / tokens
    gradient = torch.cat([r[1][0] for r in results]) / tokens

    sequence = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).unsqueeze(0)
    packed = Batch(*(torch.cat(parts, 1) for parts in zip(*(x[:3] for x in alone), strict=True)), sequence)
    packed_loss, packed_gradient = with_gradient(config, packed)
    torch.testing.assert_close(packed_loss / tokens, loss)
    torch.testing.assert_close(packed_gradient[0] / tokens, gradient)

    padded = pad(alone, max(lengths) + 2)
    split = [with_gradient(config, Batch(*(x[i : i + cut] for x in padded[:3]))) for i in range(0, len(alone), cut)]
    torch.testing.assert_close(torch.stack([s[0] for s in split]).sum() / tokens, loss)
    padded_gradient = torch.cat([s[1] for s in split]) / tokens
    torch.testing.assert_close(torch.cat([g[:n] for g, n in zip(padded_gradient, lengths, strict=True)]), gradient)
    assert all(not g[n:].any() for g, n in zip(padded_gradient, lengths, strict=True))

    if config.variant not in BY_SEQUENCE:  # as sequence parallelism does: each rank has some of a sequence's tokens
        shards = [Batch(*(x[:, i : i + cut] for x in packed[:3])) for i in range(0, sum(lengths), cut)]
        parts = [with_gradient(config, shard) for shard in shards]
        torch.testing.assert_close(torch.stack([part[0] for part in parts]).sum() / tokens, loss)
        torch.testing.assert_close(torch.cat([part[1][0] for part in parts]) / tokens, gradient)


def pad(alone: list[Batch], length: int) -> Batch:
    """The sequences as rows of one batch; the padding's hidden states are large, and not trained on."""

    def rows(parts: list[Tensor], fill: float) -> Tensor:
        out = parts[0].new_full((len(parts), length, *parts[0].shape[2:]), fill)
        for row, part in zip(out, parts, strict=True):
            row[: part.shape[1]] = part[0]
        return out

    return Batch(
        rows([x.logits for x in alone], 1e4), rows([x.reference for x in alone], -1e4),
        rows([x.labels for x in alone], IGNORED),
    )  # fmt: skip


@every_variant
def test_what_is_not_trained_on_may_be_anything(config: LossConfig) -> None:
    """A model may overflow on padding; one NaN there would end the run, or worse, not end it."""
    mask = torch.tensor([[True, True, False], [False, False, False]])
    good = torch.tensor([[0.5, 0.2, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    losses, gradients = [], []
    for bad in (0.0, math.nan, -math.inf):
        logp = (-good - 0.1).masked_fill(~mask, bad).requires_grad_()
        stats = TokenStats(logp, good.masked_fill(~mask, bad), good.masked_fill(~mask, bad))
        loss = loss_sum(config, stats, mask, reference_logp=good.masked_fill(~mask, bad))
        loss.backward()
        losses.append(loss.detach())
        gradients.append(logp.grad)
    for loss, gradient in zip(losses, gradients, strict=True):
        assert torch.equal(loss, losses[0])
        assert gradient is not None
        assert gradients[0] is not None
        assert torch.equal(gradient, gradients[0])
        assert not gradient[~mask].any()


@every_variant
def test_a_micro_batch_without_trained_tokens_gives_nothing(config: LossConfig) -> None:
    """All-prompt micro-batches happen; they must add 0 to the sum and to the gradient, not NaN."""
    data = batch(2, 3)
    loss, gradient = with_gradient(config, data._replace(labels=torch.full_like(data.labels, IGNORED)))
    assert loss == 0
    assert not gradient.any()


def test_a_step_without_trained_tokens_is_named() -> None:
    """0 / 0 would end a run with «the loss became nan; lower the learning rate», which mends nothing."""
    assert global_tokens(torch.tensor([[True, False, True]])) == 2
    with pytest.raises(OrreryError, match="no token of the batch is trained on"):
        global_tokens(torch.zeros(2, 3, dtype=torch.bool))


RANK = """
import json, sys, torch
from components.language.fused import IGNORED
from components.dft.loss_config import LossConfig
from components.dft.losses import fused_loss_sum, global_tokens
meet, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method="file://" + meet, rank=rank, world_size=2)
found = []
for variant, logits, labels in torch.load(f"{meet}.{rank}"):
    loss, _ = fused_loss_sum(LossConfig(variant=variant), logits.requires_grad_(), torch.eye(7).double(), labels)
    loss = loss / global_tokens(labels != IGNORED)
    loss.backward()
    torch.distributed.all_reduce(loss.detach())
    found.append([loss.item(), logits.grad.tolist()])
print(json.dumps(found))
torch.distributed.destroy_process_group()
"""
CASES: list[tuple[Variant, int, int]] = [("geometric", 0, 1), ("sft", 1, 2), ("dft", 1, 2)]
"""Variant, the dimension along which a batch is parted, and where: between sequences, or within them (1)"""


def test_two_processes_give_what_one_does(tmp_path: Path) -> None:
    """Ranks have different numbers of trained tokens: each dividing by its own would weigh their tokens differently.
    Sequences parted among ranks, as by sequence parallelism, give the same: the weight of DFT is there, too."""
    whole, meet = batch(3, 5), tmp_path / "meet"
    parts = [
        [[variant, *(x.tensor_split([place], dim)[rank] for x in (whole.logits, whole.labels))] for rank in range(2)]
        for variant, dim, place in CASES
    ]
    assert all(len({int((rank[2] != IGNORED).sum()) for rank in case}) > 1 for case in parts)
    for rank in range(2):
        torch.save([(v, x.clone(), y.clone()) for v, x, y in (case[rank] for case in parts)], f"{meet}.{rank}")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", RANK, str(meet)]
    ranks = [subprocess.Popen([*command, str(r)], stdout=subprocess.PIPE, text=True, cwd=root) for r in range(2)]
    try:
        results = [json.loads(rank.communicate(timeout=DEADLINE)[0]) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    tokens = global_tokens(whole.labels != IGNORED)
    for (variant, dim, _), (loss, first), (same, second) in zip(CASES, *results, strict=True):
        expected, gradient = with_gradient(LossConfig(variant=variant), whole)
        assert loss == same == pytest.approx(expected.item() / tokens)
        found = [torch.tensor(part, dtype=torch.float64) for part in (first, second)]
        torch.testing.assert_close(torch.cat(found, dim), gradient / tokens)


@pytest.mark.parametrize(
    ("wrong", "mend"),
    [
        ({"variant": "dft", "kl_weight": 0.1}, "set loss.variant to 'asft' or leave loss.kl_weight out"),
        ({"variant": "asft", "ratio_limit": 2.0}, "set loss.variant to 'iw-sft' or leave loss.ratio_limit out"),
        ({"variant": "sft", "entropy_top_k": 5}, "set loss.variant to 'eaft' or leave loss.entropy_top_k out"),
        ({"variant": "eaft", "entropy_top_k": 1}, "greater than or equal to 2"),
        ({"variant": "DFT"}, "Input should be 'sft', 'dft'"),
    ],
)
def test_numbers_that_change_nothing_are_refused(wrong: dict[str, object], mend: str) -> None:
    """Somebody who sets a KL weight believes that there is a KL; the run would teach them something untrue."""
    with pytest.raises(ValidationError, match=mend):
        LossConfig.model_validate(wrong)


@every_variant
def test_a_configuration_survives_its_record(config: LossConfig) -> None:
    """Versions are named by it, and a published run is repeated from it."""
    assert LossConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("variant", ["iw-sft", "asft"])
def test_a_forgotten_reference_is_an_error(variant: Variant) -> None:
    """Without it, ASFT would quietly be DFT."""
    config, data = LossConfig(variant=variant), batch(1, 2)
    assert config.needs_reference
    with pytest.raises(ValueError, match=f"variant '{variant}' needs reference"):
        fused_loss_sum(config, data.logits, torch.eye(V, dtype=torch.float64), data.labels)
