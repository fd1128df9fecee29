"""The challenger: what it is asked, and what its questions earn (R-Zero, arXiv 2508.05004, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedTokenizerFast

from components.language import model as language_model
from components.language.boxed import boxed_answer
from components.language.grading import Grader, Groups
from components.language.online import trainers_gpus
from components.language.players import Earned
from components.language.samples import SamplingConfig, read_samples
from components.language.sampling import open_engine, sample_to
from components.language.tokenise import Refused, asked
from components.language.vllm_server import VllmServer
from components.r_zero.config import ChallengerStageConfig
from components.r_zero.questions import Question, read_question
from components.r_zero.repetition import shares
from components.r_zero.rewards import challenger_rewards, uncertainty


class Challenger:
    """Writes questions on which a frozen solver is split. Every prompt is the same; the groups differ by chance."""

    def __init__(
        self, config: ChallengerStageConfig, tokenizer: PreTrainedTokenizerFast, solver: Path, seed: int,
        folder: Path, engines: ExitStack,
    ) -> None:  # fmt: skip
        self._config, self._seed = config, seed
        self._prompt = asked(config.ask.user, config.ask.system, tokenizer)
        behind = trainers_gpus() + config.engine.gpus  # the policy's own
        self._solver = engines.enter_context(open_engine(solver, folder / "solver.log", config.engine, behind))
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
