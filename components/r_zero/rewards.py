"""The reward of R-Zero's challenger (arXiv 2508.05004); its solver is paid 1 for an answer that is its label.

The challenger is paid for questions on which the solver is split: r = max(0, 1 - 2|p - 1/2| - lambda |C| / B), where
p is the majority's share of m samples and |C| / B comes from `repetition.shares`; 0 for a response without a proper
question.

p counts all m samples, and a sample without an answer has no vote. That alone would pay best for a question that leaves
half of the samples without an answer and puzzles nobody else. So an unanswered sample counts in whichever way pays
least: against the majority or with it. A question that derails the solver earns nothing, one that derails it in part
earns what the split of the others is surely worth, and to lose an answer never pays. Where all samples answer, it is
the paper's reward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.language.grading import Groups
from components.r_zero.config import RewardConfig


def uncertainty(groups: Groups) -> float:
    """1 - 2|p - 1/2| in [0, 1], the least over all p that the unanswered samples leave open."""
    samples = len(groups.labels)
    votes = Counter(groups.labels)
    unanswered = votes.pop(None, 0)
    most = max(votes.values(), default=0)
    if not most:
        return 0.0
    furthest = max(abs(2 * most - samples), abs(2 * (most + unanswered) - samples))
    return 1 - furthest / samples


def challenger_rewards(
    answers: Sequence[Groups | None], repetition: NDArray[np.float64], config: RewardConfig
) -> NDArray[np.float64]:
    """(B,) rewards of a whole rollout batch, over all processes.

    Args:
        answers: of each response, the solver's grouped answers to its question; None if it holds no proper question.
        repetition: (B,) from `repetition.shares`.
        config: form "paper" is max(0, u - lambda c), and 0 for None; form "public" is u / 2 - lambda c, where
            u / 2 = min(p, 1 - p), and -1 - lambda c for None. There repetition weighs twice as much against u.

    Raises:
        ValueError: the two differ in length.
    """
    if repetition.shape != (len(answers),):
        raise ValueError(f"{len(answers)} responses, but repetition has shape {repetition.shape}")
    proper = np.array([groups is not None for groups in answers], bool)
    worth = np.array([uncertainty(groups) if groups else 0.0 for groups in answers], np.float64)
    penalty = config.repetition_weight * repetition
    if config.form == "public":
        return np.where(proper, worth / 2, -1.0) - penalty
    return np.where(proper, np.maximum(0.0, worth - penalty), 0.0)
