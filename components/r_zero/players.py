"""The two players: what they are asked, and what their answers earn (R-Zero, arXiv 2508.05004, sections 3.2, 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from components.language import model as language_model
from components.language.boxed import boxed_answer
from components.language.grading import Grader, Groups
from components.language.samples import SamplingConfig, read_samples
from components.language.sampling import sample_to, whole_context
from components.language.tokenise import Refused, asked
from components.language.vllm_server import VllmServer
from components.r_zero.config import ChallengerStageConfig, SolverStageConfig
from components.r_zero.labels import PseudoLabel
from components.r_zero.questions import Question, read_question
from components.r_zero.repetition import shares
from components.r_zero.rewards import challenger_rewards, solver_rewards, uncertainty
from components.training.job import epoch_order


@dataclass(frozen=True)
class Earned:
    """The rewards of a rollout, and what is worth a curve."""

    rewards: NDArray[np.float64]
    """(N,), groups one after another"""
    of_task: dict[str, float] = field(default_factory=dict)


class Player(Protocol):
    """What a policy plays. It lives where the policy is sampled, and nowhere else."""

    def prompts(self, rollout: int) -> list[list[int]]:
        """Tokens of the prompts of a rollout, one a group."""

    def reward(self, rollout: int, responses: Sequence[str], folder: Path) -> Earned:
        """What the responses to these prompts earn; what it samples itself it keeps in `folder`."""


class Challenger:
    """Writes questions on which a frozen solver is split. Every prompt is the same; the groups differ by chance."""

    def __init__(
        self, config: ChallengerStageConfig, tokenizer: PreTrainedTokenizerFast, solver: Path, seed: int,
        folder: Path, engines: ExitStack,
    ) -> None:  # fmt: skip
        self._config, self._seed = config, seed
        self._prompt = asked(config.ask.user, config.ask.system, tokenizer)
        self._solver = engines.enter_context(whole_context(solver, folder / "solver.log"))
        self._solver_tokenizer = language_model.load_tokenizer(solver)
        self._grader = engines.enter_context(Grader())

    def prompts(self, rollout: int) -> list[list[int]]:
        return [self._prompt] * self._config.grpo.prompts

    def reward(self, rollout: int, responses: Sequence[str], folder: Path) -> Earned:
        found = [read_question(response, self._config.question) for response in responses]
        texts = [question.text if isinstance(question, Question) else "" for question in found]
        answers = self._solve(sorted(set(texts) - {""}), rollout, folder / f"{rollout:05d}-solver.jsonl")
        groups = [answers.get(text) for text in texts]
        repetition = shares(texts, self._config.reward.distance_threshold)
        rewards = challenger_rewards(groups, repetition, self._config.reward)
        worth = [uncertainty(group) for group in groups if group is not None]
        return Earned(rewards, {
            "proper": len(worth) / len(responses),
            "uncertainty": fmean(worth) if worth else 0.0,
            "repetition": float(repetition.mean()),
        })  # fmt: skip

    def _solve(self, questions: Sequence[str], rollout: int, path: Path) -> dict[str, Groups]:
        """The solver's grouped answers to every question that fits it."""
        room = self._solver.config.max_model_len - self._config.answer_tokens
        prompts = solver_prompts(questions, self._config.solver_system, self._solver_tokenizer, room)
        sampling = SamplingConfig(
            n=self._config.samples, max_tokens=self._config.answer_tokens, seed=self._seed + rollout
        )
        return dict(
            zip(prompts, answer(list(prompts.values()), sampling, self._solver, self._grader, path), strict=True)
        )


class Solver:
    """Answers the questions of a set in epochs; what agrees with the pseudo-label earns 1."""

    def __init__(
        self, config: SolverStageConfig, tokenizer: PreTrainedTokenizerFast, labels: Sequence[PseudoLabel],
        seed: int, engines: ExitStack,
    ) -> None:  # fmt: skip
        self._config, self._seed, self._labels = config, seed, labels
        self._prompts = [asked(label.question, config.solver_system, tokenizer) for label in labels]
        self._grader = engines.enter_context(Grader())

    def prompts(self, rollout: int) -> list[list[int]]:
        return [self._prompts[i] for i in self._chosen(rollout)]

    def reward(self, rollout: int, responses: Sequence[str], folder: Path) -> Earned:
        group = self._config.grpo.group
        labels = [self._labels[i].answer for i in self._chosen(rollout) for _ in range(group)]
        return Earned(solver_rewards(responses, labels, self._grader))

    def _chosen(self, rollout: int) -> list[int]:
        """The questions of a rollout: each once in every epoch, in its own order."""
        size, number = len(self._labels), self._config.grpo.prompts
        places = (divmod(rollout * number + i, size) for i in range(number))
        return [epoch_order(self._seed, epoch, size)[place] for epoch, place in places]


def solver_prompts(
    questions: Sequence[str], system: str, tokenizer: PreTrainedTokenizerFast, room: int
) -> dict[str, list[int]]:
    """The prompt of each question, of at most `room` tokens; what is longer or spells a special token is left out."""
    prompts: dict[str, list[int]] = {}
    for question in questions:
        try:
            tokens = asked(question, system, tokenizer)
        except Refused:
            continue
        if len(tokens) <= room:
            prompts[question] = tokens
    return prompts


def answer(
    prompts: Sequence[Sequence[int]], sampling: SamplingConfig, server: VllmServer, grader: Grader, path: Path
) -> list[Groups]:
    """Sample every prompt into `path` and group the boxed answers to each."""
    if not prompts:
        return []
    sample_to(path, server, prompts, sampling)
    return grader.groups([[boxed_answer(c.text) for c in sampled.completions] for sampled in read_samples(path)])
