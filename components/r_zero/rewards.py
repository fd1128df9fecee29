"""The rewards of R-Zero (arXiv 2508.05004), and the advantages that GRPO makes of rewards.

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

from components.language.grading import Grader, Groups
from components.r_zero.config import RewardConfig

EPS_R_ZERO = 1e-6
"""added to the standard deviation by R-Zero's public code"""
EPS_TRL = 1e-4
"""the same by TRL's GRPOTrainer"""


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


def solver_rewards(responses: Sequence[str], labels: Sequence[str], grader: Grader) -> NDArray[np.float64]:
    """(N,) 1 where the response's last box equals the pseudo-label, else 0: nothing for format or style."""
    return np.array([bool(verdict) for verdict in grader.correct_all(zip(responses, labels, strict=True))], np.float64)


def advantages(rewards: NDArray[np.float64], group_size: int, eps: float = EPS_R_ZERO) -> NDArray[np.float64]:
    """(N,) (r - mean) / (std + eps) within each group of consecutive responses to one prompt; GRPO, DeepSeekMath
    (arXiv 2402.03300), Sec. 4.1.2, with the unbiased std that R-Zero and TRL take. 0 where a group's rewards are equal.

    Raises ValueError: groups of one have no spread, and N must be a multiple of `group_size`.
    """
    if group_size < 2 or rewards.ndim != 1 or len(rewards) % group_size:
        raise ValueError(f"rewards of shape {rewards.shape} do not form groups of {group_size}, two at least")
    grouped = rewards.reshape(-1, group_size)
    above = grouped - grouped.mean(axis=1, keepdims=True)
    above[np.ptp(grouped, axis=1) == 0] = 0  # a mean of equal numbers may be off by a rounding
    return (above / (grouped.std(axis=1, ddof=1, keepdims=True) + eps)).reshape(-1)
