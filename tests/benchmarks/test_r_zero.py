"""The repetition penalty runs in every training step: pairwise NLTK would take most of an hour of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sklearn.cluster import AgglomerativeClustering

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
