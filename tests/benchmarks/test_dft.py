"""The DFT loss from hidden states against whole logits and TRL's own chunked path; the checks of chats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from components.dft.checks import CheckConfig, check
from components.dft.loss_config import LossConfig
from components.dft.losses import fused_loss_sum
from components.dft.reading import Row
from components.language import tokenizer
from components.language.config import ProblemsConfig, TokenizerConfig
from components.language.problems import generate
from components.language.tokenise import tokenise

from .conftest import Table

SIZE = (32_768, 4096, 256)
"""Vocabulary, tokens, width of the hidden states: what the limits below are for."""
SIZES = [SIZE, (32_768, 512, 256), (8192, 1024, 256), (8192, 512, 1024), (1024, 4096, 256)]
MOST_MEMORY = 1 / 4
MOST_TIME = 1.1
CHATS, HELD_OUT = 3000, 300
MOST_CHECKING = 1.0
"""Times tokenising the same chats, which training does anyway"""
MEMORY = """
import json, sys, torch
from components.dft.loss_config import LossConfig
from components.dft.losses import fused_loss_sum

def peak():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024

def fused(hidden, weight, labels):
    return fused_loss_sum(LossConfig(), hidden[None], weight, labels[None])[0]

def whole(hidden, weight, labels):
    logp = -torch.nn.functional.cross_entropy(hidden @ weight.T, labels, reduction="none")
    return -(logp.detach().exp() * logp).sum()

def measure(loss, vocabulary, tokens, width):
    hidden, weight = torch.randn(tokens, width).requires_grad_(), torch.randn(vocabulary, width).requires_grad_()
    labels = torch.randint(vocabulary, (tokens,))
    open("/proc/self/clear_refs", "w").write("5")  # from here on, the peak is counted anew
    before = peak()
    loss(hidden, weight, labels).backward()
    return peak() - before

measure(fused, 64, 64, 64), measure(whole, 64, 64, 64)
print(json.dumps([[measure(fused, *size), measure(whole, *size)] for size in json.loads(sys.argv[1])]))
"""
"""Prints, for each size, by how many MiB the process grows in a forward and a backward pass: fused, and with logits."""


def growth(sizes: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Peak resident memory over that of the inputs, MiB, with the gradients of hidden states and weight in it."""
    root = Path(__file__).resolve().parents[2]
    # glibc keeps freed blocks, which later ones would reuse unseen; larger than this, they go back at once
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", MEMORY, json.dumps(sizes)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=900)
    return [(fused, whole) for fused, whole in json.loads(done.stdout)]


def contenders(vocabulary: int, tokens: int, width: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """A forward and a backward pass, ours and TRL's: each returns the gradient of the weight.

    TRL's is the function behind its `loss_type="dft"`, with its chunk, asked for the log-probabilities alone: for its
    trainer it computes entropy and accuracy as well. Ours always computes the entropy.
    """
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as TRL_CHUNK

    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).requires_grad_()
    weight = (torch.randn(vocabulary, width, generator=generator) / width**0.5).requires_grad_()
    labels = torch.randint(vocabulary, (tokens,), generator=generator)

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, (hidden, weight))[1]

    def ours() -> Tensor:
        return gradient(fused_loss_sum(LossConfig(), hidden[None], weight, labels[None])[0])

    def trl() -> Tensor:
        logp = ChunkedLogProbFunction.apply(hidden, weight, None, labels, 1.0, TRL_CHUNK, None, 1.0, ("log_probs",))[0]
        return gradient((-logp * logp.exp().detach()).sum())

    return ours, trl


def test_trl_computes_the_same() -> None:
    """Else the race below would be between different things."""
    ours, trl = contenders(500, 100, 32)
    torch.testing.assert_close(ours(), trl(), rtol=1e-4, atol=1e-6)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """CPU seconds are those of a thread's work only where no other waits for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cpu_seconds(*calls: Callable[[], object], turns: int) -> list[float]:
    """The least CPU seconds of each call; they take turns."""
    least = [float("inf")] * len(calls)
    for _ in range(turns):
        for number, call in enumerate(calls):
            started = time.process_time()
            call()
            least[number] = min(least[number], time.process_time() - started)
    return least


@pytest.mark.usefixtures("one_thread")
@pytest.mark.timeout(1200)  # a minute and a half of one processor's work; on a loaded machine it waits for it
def test_the_fused_loss_is_small_and_fast(table: Table) -> None:
    rows, ratios = [], {}
    for size, (fused, whole) in zip(SIZES, growth(SIZES), strict=True):
        ours, trl = cpu_seconds(*contenders(*size), turns=1 if size == SIZE else 3)  # the largest takes half a minute
        ratios[size] = fused / whole, ours / trl
        name = "{:,} × {:,} × {:,}".format(*size)
        rows.append((f"{name}, MiB", f"{fused:,} / {whole:,} = {fused / whole:.2f}"))
        rows.append((f"{name}, CPU seconds", f"{ours:.2f} / {trl:.2f} = {ours / trl:.2f}"))
    table("DFT loss by vocabulary × tokens × width: memory fused / whole logits, time fused / TRL", rows)
    memory, seconds = ratios[SIZE]
    assert memory <= MOST_MEMORY
    assert seconds <= MOST_TIME


@pytest.mark.usefixtures("one_thread")
def test_chats_are_judged_in_less_time_than_they_are_tokenised(table: Table, tmp_path: Path) -> None:
    """Against each other and against held-out problems; 100,000 of them should take seconds, not minutes."""
    levels = (1, 2, 3)
    fast = tokenizer.create(TokenizerConfig(), ProblemsConfig(levels=levels), 0, tmp_path)
    train = [Row(f"train:{i}", c) for i, c in enumerate(islice(generate(ProblemsConfig(levels=levels), 1), CHATS))]
    asked = islice(generate(ProblemsConfig(levels=levels, split="held-out"), 1), HELD_OUT)
    held_out = [Row(f"test:{i}", c) for i, c in enumerate(asked)]

    def judged() -> object:
        return check(train, CheckConfig(max_length=512), held_out, fast)

    def tokenised() -> object:
        return [tokenise(row.example, fast, 512) for row in train if row.example]

    ours, tokens = cpu_seconds(judged, tokenised, turns=3)
    per_chat = f"{1000 * ours / CHATS:.2f} / {1000 * tokens / CHATS:.2f} = {ours / tokens:.2f}"
    table("Chats of arithmetic problems, milliseconds each", [("checks / tokenising", per_chat)])
    assert ours <= MOST_CHECKING * tokens
