r"""What models write is anybody's text: hostile answers, none, or one question for ever end in a defined result.

What the engine would have answered is written into its file of samples, so none is started.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from components.language import model as language_model
from components.language.grading import Grader, GradingConfig
from components.language.grpo import advantages
from components.language.grpo_config import GrpoConfig
from components.language.samples import Completion, Sampled, SampleFile, SamplingConfig
from components.language.tokenise import asked
from components.r_zero import pool
from components.r_zero.config import ChallengerStageConfig, Instruction, LabelStageConfig
from components.r_zero.players import Challenger
from components.r_zero.pool import label_questions
from components.store.errors import OrreryError
from components.training.config import TrainConfig
from data_contracts.base import fingerprint
from tests.engines.digits import ASK, QUESTIONS

SEED, SAMPLES, TOKENS = 5, 10, 16
HOSTILE = (
    r"\boxed{10^{10^{10^{10}}}}", r"\boxed{" + "{" * 500, r"\boxed{" + r"\frac{1}{" * 60 + "2" + "}" * 60 + "}",
    r"\boxed{99999999999!}", r"\boxed{__import__('os').system('id')}", r"\boxed{" + "9" * 5000 + "}",
    r"\boxed{\sum_{n=1}^{10^{12}} n}", r"\boxed{" + "x+" * 400 + "x}", "\\boxed{\x00}", r"\boxed{}",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A started engine would be one that can't be found in time."""
    monkeypatch.setattr("components.language.vllm_server.VllmServer._spawn", _must_not_start)


def _must_not_start(*_: object) -> None:
    raise AssertionError("an engine was started")


def answers(path: Path, model: Path, questions: Sequence[str], texts: Sequence[Sequence[str]], seed: int) -> None:
    """The file of samples that holds these texts as the answers to the questions."""
    tokenizer = language_model.load_tokenizer(model)
    prompts = [asked(question, "", tokenizer) for question in questions]
    sampling = SamplingConfig(n=SAMPLES, max_tokens=TOKENS, seed=seed)
    with SampleFile(path, fingerprint([sampling.model_dump(mode="json"), prompts])) as file:
        for index, of_one in enumerate(texts):
            said = tuple(Completion(text=text, token_ids=(5,), finish="stop") for text in of_one)
            file.append(Sampled(index=index, completions=said))


def test_hostile_answers_cost_their_votes_and_nothing_else(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if one answer could stop the labels of an iteration, be evaluated, or outvote the honest ones."""
    monkeypatch.setattr(pool, "Grader", lambda: Grader(GradingConfig(cpu_seconds=0.5)))
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    out.mkdir()
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"text": text, "answer": "1"}) + "\n" for text in QUESTIONS[:3]))
    texts = [HOSTILE, [*HOSTILE[:5], *[r"\boxed{4}"] * 5], ["no box"] * SAMPLES]
    answers(scratch / "answers.jsonl", digits, QUESTIONS[:3], texts, SEED)
    found = label_questions(LabelStageConfig(name="labels", max_tokens=TOKENS), digits, file, SEED, scratch, out)
    labels = [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]
    assert [(label["question"], label["answer"], label["votes"]) for label in labels] == [(QUESTIONS[1], "4", 5)]
    counts = found.counts
    assert (counts.asked, counts.kept, counts.too_hard, counts.unanswered) == (3, 1, 1, 1)


def challenger(digits: Path, folder: Path, engines: ExitStack) -> Challenger:
    train = TrainConfig(steps=2, batch_size=4, warmup_steps=0, processes=1, precision="fp32")
    config = ChallengerStageConfig(
        name="challenger", ask=Instruction(user=ASK), answer_tokens=TOKENS, train=train, samples=SAMPLES,
        grpo=GrpoConfig(prompts=2, group=4, updates=2, max_tokens=48),
    )  # fmt: skip
    return Challenger(config, language_model.load_tokenizer(digits), digits, SEED, folder, engines)


@pytest.mark.parametrize(
    "text",
    ["", "No.", "<question>", "<question>一个篮子里有几个苹果？</question> \\boxed{1}", "<question>2+2?</question>"],
)
def test_a_rollout_without_a_question_earns_nothing_and_teaches_nothing(
    text: str, digits: Path, tmp_path: Path
) -> None:
    """Wrong format or language. Breaks if the solver's engine were started for nobody, or a mean were taken of none."""
    with ExitStack() as engines:
        earned = challenger(digits, tmp_path, engines).reward(0, [text] * 8, tmp_path)
    assert not earned.rewards.any()
    assert (earned.of_task["proper"], earned.of_task["uncertainty"]) == (0, 0)
    assert not advantages(earned.rewards, 4).any(), "no gradient"


def test_a_challenger_that_repeats_itself_earns_nothing(digits: Path, tmp_path: Path) -> None:
    """The best of questions, asked by the whole batch. Breaks if saying one thing for ever could pay."""
    answers(tmp_path / "00000-solver.jsonl", digits, QUESTIONS[:1], [[r"\boxed{2}"] * 5 + [r"\boxed{3}"] * 5], SEED)
    with ExitStack() as engines:
        response = f"<question>{QUESTIONS[0]}</question> \\boxed{{2}}"
        earned = challenger(digits, tmp_path, engines).reward(0, [response] * 8, tmp_path)
    assert earned.of_task["uncertainty"] == 1, "it splits the solver in half"
    assert earned.of_task["repetition"] == 1
    np.testing.assert_array_equal(earned.rewards, np.zeros(8))


def test_a_pool_that_nothing_survives_ends_with_a_finding(digits: Path, tmp_path: Path) -> None:
    """The solver knows every answer: nothing is worth training on, and the stage says so before the training starts."""
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"text": text, "answer": "1"}) + "\n" for text in QUESTIONS[:2]))
    answers(tmp_path / "answers.jsonl", digits, QUESTIONS[:2], [[r"\boxed{4}"] * SAMPLES] * 2, SEED)
    config = LabelStageConfig(name="labels", max_tokens=TOKENS)
    with pytest.raises(
        OrreryError, match=r"0 of 2 questions are fit to train on .*too easy 2.*generate more questions"
    ):
        label_questions(config, digits, file, SEED, tmp_path, tmp_path)
    assert not (tmp_path / "labels.jsonl").exists()
