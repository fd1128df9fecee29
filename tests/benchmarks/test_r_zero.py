"""The repetition penalty runs in every training step: pairwise NLTK would take most of an hour of it. And sampling,
which takes the rest of the time: vLLM beside transformers, and what the stage adds to vLLM.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sklearn.cluster import AgglomerativeClustering

from components.language import model as language_model
from components.language import tokenizer
from components.language.config import ModelConfig, ProblemsConfig, TokenizerConfig
from components.language.engine_config import EngineConfig
from components.language.problems import generate
from components.language.samples import SamplingConfig, read_samples
from components.language.sampling import open_engine, sample_to
from components.language.tokenise import prompt_tokens
from components.language.vllm_server import VllmServer
from components.r_zero.config import QuestionConfig
from components.r_zero.questions import question_pool
from components.r_zero.repetition import clusters, distances, shares

from .conftest import Table

T = TypeVar("T")
BATCH, LARGE, POOL = 2048, 16_384, 8000
"""R-Zero's rollout batch, eight of them, and its pool of questions."""
COMPARED = 120
"""Questions whose clusters are compared with those from NLTK's distances of all their pairs."""
LEAST_SPEEDUP = 100.0
MOST_POOL_SECONDS = 30.0
MOST_GROWTH = 1.5
"""Of the seconds a pair, from `BATCH` to `LARGE`."""
MOST_MEMORY_MIB = 1024
"""At `LARGE`; the matrix of distances alone would have this size."""
PROMPTS, ANSWERS, TOKENS, TURNS = 96, 4, 160, 3
"""Of the sampling: prompts, answers to each, the most tokens of one; how often it is measured."""
LEAST_OF_GENERATE = 1.5
"""times its speed; far below what is seen, for a machine with other work"""
MOST_OVERHEAD = 0.05
MEASURE = """
import sys, time
from components.r_zero.repetition import shares
def peak():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
questions = sys.stdin.read().splitlines()
shares(questions[:9])
before, started = peak(), time.process_time()
shares(questions)
print(time.process_time() - started, peak() - before)
"""
"""Prints the CPU seconds of the penalty and what it adds to the process's peak memory, in MiB."""
METHOD = SmoothingFunction().method1


def written(count: int) -> list[str]:
    """Questions of 30 to 60 words, as frequent as words are; a quarter are variations of 20 templates."""
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, 5001)
    templates = rng.choice(5000, (20, 60), p=frequency / frequency.sum())
    questions = []
    for number in range(count):
        words = rng.choice(5000, int(rng.integers(30, 61)), p=frequency / frequency.sum())
        if number % 4 == 0:
            kept = rng.random(len(words)) > 0.1
            words[kept] = templates[rng.integers(20)][: len(words)][kept]
        questions.append(" ".join(f"w{word}" for word in words))
    return questions


def cpu_seconds(call: Callable[[], T]) -> tuple[float, T]:
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def nltk_bleu(hypothesis: str, reference: str) -> float:
    return sentence_bleu([reference.split()], hypothesis.split(), smoothing_function=METHOD)


def test_the_penalty_is_faster_than_pairwise_nltk(table: Table) -> None:
    """CPU seconds. NLTK has some pairs of the batch, in one direction as in the public code, and is scaled to all of
    them; the penalty is all that a batch needs: distances in both directions, clusters, shares."""
    batch = written(BATCH)
    some = sorted(batch[:COMPARED])
    pairs = list(zip(*np.triu_indices(COMPARED, 1), strict=True))
    peer, there = cpu_seconds(lambda: [nltk_bleu(some[i], some[j]) for i, j in pairs])
    back = [nltk_bleu(some[j], some[i]) for i, j in pairs]
    matrix = np.zeros((COMPARED, COMPARED), np.float32)
    for (i, j), one, other in zip(pairs, there, back, strict=True):
        matrix[i, j] = matrix[j, i] = 1 - (one + other) / 2
    np.testing.assert_allclose(distances(some), matrix, atol=1e-6)
    theirs = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=0.5
    ).fit_predict(matrix)
    ours = clusters(some)
    np.testing.assert_array_equal(ours[:, None] == ours, theirs[:, None] == theirs)
    assert 1 < np.bincount(ours).max() < COMPARED

    scaled = peer / len(pairs) * BATCH * (BATCH - 1) / 2
    seconds = min(cpu_seconds(lambda: shares(batch))[0] for _ in range(3))
    table(f"repetition penalty, {BATCH} questions, CPU seconds", [
        ("pairwise NLTK, one direction", f"{scaled:.0f} s"),
        ("this", f"{seconds:.2f} s"),
        ("times faster", f"{scaled / seconds:.0f}"),
    ])  # fmt: skip
    assert scaled / seconds >= LEAST_SPEEDUP


def test_the_penalty_grows_with_the_pairs_and_in_little_memory(table: Table) -> None:
    """Eight batches at once, as more processes or larger groups make them."""
    measured = {size: measure(written(size)) for size in (BATCH, LARGE)}
    growth = measured[LARGE][0] / measured[BATCH][0] / (LARGE / BATCH) ** 2
    rows = [(f"{size} questions", f"{seconds:.2f} s, {mib} MiB") for size, (seconds, mib) in measured.items()]
    table("repetition penalty, CPU seconds and memory", [*rows, ("growth of the seconds a pair", f"{growth:.2f}")])
    assert growth <= MOST_GROWTH
    assert measured[LARGE][1] <= MOST_MEMORY_MIB


def measure(questions: list[str]) -> tuple[float, int]:
    result = subprocess.run(
        [sys.executable, "-c", MEASURE], input="\n".join(questions), capture_output=True, text=True, check=True,
        timeout=300, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    seconds, mib = result.stdout.split()
    return float(seconds), int(mib)


def test_a_pool_is_checked_in_seconds(table: Table) -> None:
    """All questions of an iteration: read, checked, without repetitions."""
    responses = [f"<question>{question}</question> \\boxed{{1}}" for question in written(POOL)]
    seconds, pool = cpu_seconds(lambda: question_pool(responses, QuestionConfig()))
    refused = len(pool.refused)
    table(f"question pool, {POOL} responses", [("CPU seconds", f"{seconds:.1f} s"), ("repetitions", f"{refused}")])
    assert seconds <= MOST_POOL_SECONDS


@dataclass(frozen=True)
class Asked:
    """A model of the tracks' size with random weights, so that answers end anywhere; an engine that serves it."""

    model: Any
    server: VllmServer
    prompts: list[list[int]]
    end: int


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("random")
    fast = tokenizer.create(TokenizerConfig(vocabulary=160, examples=100), ProblemsConfig(), 0, folder)
    language_model.create(ModelConfig(), fast, 0, folder)
    prompts = [prompt_tokens(problem, fast) for problem in islice(generate(ProblemsConfig(), 0), PROMPTS)]
    with open_engine(folder, folder / "vllm.log", EngineConfig()) as server:
        server.start()
        yield Asked(language_model.load(folder)[0].eval(), server, prompts, fast.eos_token_id)


def from_vllm(asked: Asked, path: Path, turn: int) -> int:
    """Tokens of all answers, sampled as a rollout is: with their log-probabilities, into a file."""
    sampling = SamplingConfig(n=ANSWERS, max_tokens=TOKENS, logprobs=True, seed=turn)
    sample_to(path / f"{turn}.jsonl", asked.server, asked.prompts, sampling)
    return sum(len(c.token_ids) for sampled in read_samples(path / f"{turn}.jsonl") for c in sampled.completions)


def from_transformers(asked: Asked, turn: int) -> int:
    """The same by `generate`, all prompts in one batch, padded on the left."""
    torch.manual_seed(turn)
    longest = max(map(len, asked.prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in asked.prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in asked.prompts])
    with torch.no_grad():
        made = asked.model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            num_return_sequences=ANSWERS, max_new_tokens=TOKENS, pad_token_id=0, eos_token_id=asked.end,
        )[:, longest:]  # fmt: skip
    ended = (made == asked.end).int().argmax(1)
    return int(torch.where((made == asked.end).any(1), ended + 1, made.shape[1]).sum())


def engine_seconds(server: VllmServer) -> float:
    """CPU seconds of the engine's processes so far: those of its session."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended
            continue
        if int(fields[3]) == server.pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.timeout(3600)
def test_vllm_beside_generate(asked: Asked, tmp_path: Path, table: Table) -> None:
    """Tokens a second, in turns. The answers of a batch end anywhere up to the limit, as real ones do."""
    from_vllm(asked, tmp_path, 0)  # what an engine does once
    ratios, of_cpu = [], []
    for turn in range(1, TURNS + 1):
        before = time.perf_counter(), time.process_time() + engine_seconds(asked.server)
        ours = from_vllm(asked, tmp_path, turn)
        between = time.perf_counter(), time.process_time() + engine_seconds(asked.server)
        theirs = from_transformers(asked, turn)
        after = time.perf_counter(), time.process_time() + engine_seconds(asked.server)
        assert abs(ours - theirs) < 0.2 * theirs, "the same work"
        speedup, cheaper = (
            ours / (middle - start) / (theirs / (end - middle))
            for start, middle, end in zip(before, between, after, strict=True)
        )
        ratios.append(speedup)
        of_cpu.append(cheaper)
    table(f"vLLM against generate, {PROMPTS} x {ANSWERS} answers of up to {TOKENS} tokens", [
        ("times faster, median", f"{median(ratios):.2f}"), ("turns", ", ".join(f"{x:.2f}" for x in ratios)),
        ("tokens a CPU second, times as many", f"{median(of_cpu):.2f}"),
        ("turns", ", ".join(f"{x:.2f}" for x in of_cpu)),
    ])  # fmt: skip
    assert median(ratios) >= LEAST_OF_GENERATE


@pytest.mark.timeout(3600)
def test_a_stage_adds_little_to_vllm(asked: Asked, tmp_path: Path, table: Table) -> None:
    """CPU seconds of the stage's process, requests, answers and file included, for each of vLLM's own."""
    from_vllm(asked, tmp_path, 0)
    shares = []
    for turn in range(1, TURNS + 1):
        before, engine = time.process_time(), engine_seconds(asked.server)
        from_vllm(asked, tmp_path, turn)
        shares.append((time.process_time() - before) / (engine_seconds(asked.server) - engine))
    table("the stage's own work beside vLLM's, CPU seconds", [
        ("share, median", f"{100 * median(shares):.1f} %"), ("turns", ", ".join(f"{100 * x:.1f}" for x in shares)),
    ])  # fmt: skip
    assert median(shares) <= MOST_OVERHEAD
