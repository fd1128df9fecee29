"""How a model does on held-out problems: greedy, avg@n and pass@k, every sample graded (paper DFT, Sec. 4.1)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from components.dft.answers import right_all
from components.dft.config import EvaluateStageConfig
from components.dft.reading import read_chats
from components.language.boxed import boxed_answer
from components.language.grading import Grader
from components.language.samples import Completion, read_samples
from components.language.sampling import open_engine, sample_to
from components.language.tokenise import prompt_tokens
from components.language.vllm_server import VllmServer
from components.store.errors import ConfigurationError
from components.store.files import hash_file
from data_contracts.chat import ChatExample, Message
from data_contracts.interval import score_interval, wilson
from data_contracts.scores import Scores, SetScores, Share


def evaluate(
    config: EvaluateStageConfig,
    model: Path,
    version: str,
    sets: Mapping[str, Path],
    seed: int,
    scratch: Path,
    out: Path,
) -> Scores:
    """Sample and grade every set with one engine; samples are kept in `scratch` over kills, then in `out`.

    Raises:
        ConfigurationError: a problem without an answer, or a set without problems.
        EngineUnavailable: vLLM can't be started or kept alive.
    """
    from components.language import model as language_model

    tokenizer = language_model.load_tokenizer(model)
    with open_engine(model, scratch / "vllm.log", config.engine) as server, Grader() as grader:
        found = judge_sets(config, server, grader, tokenizer, sets, seed, scratch, out)
    scores = Scores(model=version, sets=found, files={name: hash_file(file) for name, file in sets.items()})
    (out / "scores.json").write_text(scores.model_dump_json(indent=1))
    return scores


def judge_sets(
    config: EvaluateStageConfig,
    server: VllmServer,
    grader: Grader,
    tokenizer: PreTrainedTokenizerFast,
    sets: Mapping[str, Path],
    seed: int,
    scratch: Path,
    out: Path,
) -> dict[str, SetScores]:
    """The scores of the model that `server` serves on every set; samples are kept in `scratch`, then in `out`."""
    found: dict[str, SetScores] = {}
    for name, file in sets.items():
        problems = [_told(problem, config.system) for problem in _problems(file, config.problems)]
        prompts = [prompt_tokens(problem, tokenizer) for problem in problems]
        completions = {}
        for part, greedy in (("greedy", True), ("samples", False)):
            path = scratch / f"{name}-{part}.jsonl"
            sample_to(path, server, prompts, config.sampling(seed, greedy))
            completions[part] = [sampled.completions for sampled in read_samples(path)]
            shutil.copyfile(path, out / path.name)
        found[name] = _scores(problems, completions["greedy"], completions["samples"], config, grader)
    return found


def _problems(file: Path, limit: int) -> list[ChatExample]:
    problems = [row.example for row in read_chats([file]) if row.example is not None]
    problems = problems[: limit or None]
    if not problems:
        raise ConfigurationError(f"{file.name} holds no problem to judge with")
    if any(not problem.answer for problem in problems):
        raise ConfigurationError(f"{file.name} has problems without `answer`; a model can't be judged with them")
    return problems


def _told(problem: ChatExample, system: str) -> ChatExample:
    """The problem after what the model is told, unless it tells something itself."""
    if not system or problem.messages[0].role == "system":
        return problem
    return problem.model_copy(update={"messages": (Message(role="system", content=system), *problem.messages)})


def _scores(
    problems: Sequence[ChatExample],
    greedy: Sequence[Sequence[Completion]],
    samples: Sequence[Sequence[Completion]],
    config: EvaluateStageConfig,
    grader: Grader,
) -> SetScores:
    right_greedy = _graded(problems, greedy, grader)[:, 0]
    right = _graded(problems, samples, grader)
    every = [completion for of_one in samples for completion in of_one]
    low, high = wilson(int(right_greedy.sum()), len(problems))
    return SetScores(
        problems=len(problems),
        samples=config.samples,
        greedy=Share(value=float(right_greedy.mean()), low=low, high=high),
        mean=_mean(right.mean(axis=1)),
        pass_at={k: fmean(pass_at(k, config.samples, int(n)) for n in right.sum(axis=1)) for k in config.pass_at},
        unboxed=fmean(boxed_answer(completion.text) is None for completion in every),
        cut=fmean(completion.finish == "length" for completion in every),
        tokens=fmean(len(completion.token_ids) for completion in every),
        right=tuple(right.sum(axis=1).tolist()),
        greedy_right=tuple(right_greedy.tolist()),
    )  # fmt: skip


def _graded(
    problems: Sequence[ChatExample], completions: Sequence[Sequence[Completion]], grader: Grader
) -> NDArray[np.bool_]:
    """(problems, samples): whether each completion is right."""
    asked = [problem for problem, of_one in zip(problems, completions, strict=True) for _ in of_one]
    right = right_all(asked, [c.text for of_one in completions for c in of_one], grader)
    return np.array(right, bool).reshape(len(problems), -1)


def _mean(of_problems: NDArray[np.float64]) -> Share:
    """Mean over problems, and its interval: the samples of one problem are no independent trials, the problems are."""
    mean = float(of_problems.mean())
    low, high = score_interval(mean, float(of_problems.var()), len(of_problems))
    return Share(value=mean, low=low, high=high)


def pass_at(k: int, samples: int, right: int) -> float:
    """Chance that one of `k` samples is right, estimated without bias from `right` of `samples` (Chen et al. 2021)."""
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)
