"""Questions and labels with the real engine: what is written, refused, voted on, and kept over a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.language.truth import true_answer
from components.r_zero.config import Instruction, LabelConfig, LabelStageConfig, PoolStageConfig
from components.r_zero.pool import label_questions, write_questions
from components.store.errors import IntegrityError, OrreryError
from tests.engines.digits import ASK, QUESTIONS

pytestmark = pytest.mark.timeout(900)

POOL = PoolStageConfig(name="pool", ask=Instruction(user=ASK), responses=60, max_tokens=48)
LABELS = LabelStageConfig(name="labels", max_tokens=16)


def folders(path: Path) -> tuple[Path, Path]:
    scratch, out = path / "scratch", path / "out"
    scratch.mkdir(parents=True)
    out.mkdir()
    return scratch, out


@pytest.fixture(scope="module")
def pool(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its scratch and out folders, after a first run."""
    path = tmp_path_factory.mktemp("pool")
    write_questions(POOL, digits, 5, *folders(path))
    return path


def questions(out: Path) -> list[str]:
    return [json.loads(line)["text"] for line in (out / "questions.jsonl").read_text().splitlines()]


def test_every_response_is_a_question_or_is_refused(pool: Path) -> None:
    told = json.loads((pool / "out" / "pool.json").read_text())
    asked = questions(pool / "out")
    assert told["kept"] + sum(told["refused"].values()) == told["asked"] == 60
    assert len(set(asked)) == len(asked) == told["kept"]
    assert set(asked) & set(QUESTIONS), "it learned to write these"


def test_a_second_run_asks_no_engine_and_says_the_same(pool: Path, digits: Path, tmp_path: Path) -> None:
    """After a kill behind the sampling nothing is sampled again."""
    log = pool / "scratch" / "vllm.log"
    before = log.read_bytes()
    write_questions(POOL, digits, 5, pool / "scratch", tmp_path)
    assert questions(tmp_path) == questions(pool / "out")
    assert log.read_bytes() == before


def say(text: str, pool: Path, scratch: Path) -> None:
    """The samples of `pool`, as if every response had been `text`."""
    header, *lines = (pool / "scratch" / "responses.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    for sampled in said:
        sampled["completions"][0]["text"] = text
    (scratch / "responses.jsonl").write_text("".join(line + "\n" for line in [header, *map(json.dumps, said)]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I would rather not.", r"'language\.no-question': 60"),
        ("<question>一个篮子里有几个苹果？</question> \\boxed{1}", r"'language\.unexpected-script': 60"),
        ("<question>What is 1+1?</question> 2", r"'language\.no-boxed-answer': 60"),
    ],
)
def test_a_challenger_that_writes_no_question_is_told_why(
    text: str, reason: str, pool: Path, digits: Path, tmp_path: Path
) -> None:
    """Breaks if an empty pool were published, and the labelling then failed on it."""
    scratch, out = folders(tmp_path)
    say(text, pool, scratch)
    with pytest.raises(OrreryError, match=rf"not one of 60 responses.*{reason}.*train it on the format first"):
        write_questions(POOL, digits, 5, scratch, out)
    assert not list(out.iterdir())


def test_a_challenger_that_repeats_itself_leaves_one_question(pool: Path, digits: Path, tmp_path: Path) -> None:
    """The pool says so, and one question is fewer than the solver's batch: the labels end there, with a finding."""
    scratch, out = folders(tmp_path)
    say(f"<question>{QUESTIONS[0]}</question> \\boxed{{1}}", pool, scratch)
    told = write_questions(POOL, digits, 5, scratch, out)
    assert (told.kept, told.clusters, told.refused) == (1, 1, {"duplicate.same-question": 59})


def test_labels_are_the_votes_and_are_audited(digits: Path, tmp_path: Path) -> None:
    """The model answers at random, so its majority is right about as often as chance."""
    scratch, out = folders(tmp_path)
    asked = [*QUESTIONS, "How many days has a week?"]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"text": text, "answer": "1"}) + "\n" for text in asked))
    found = label_questions(LABELS, digits, file, 5, scratch, out)
    labels = [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]
    counts = found.counts
    assert counts.asked == 9 == counts.kept + counts.too_easy + counts.too_hard + counts.unanswered
    assert len(labels) == counts.kept > 0
    assert all(3 <= label["votes"] <= 7 for label in labels)
    right = sum(label["answer"] == true_answer(label["question"]) for label in labels)
    assert found.kept.known == len([label for label in labels if label["question"] in QUESTIONS])
    assert found.kept.right is not None
    assert round(found.kept.right.value * found.kept.known) == right
    with pytest.raises(OrreryError, match=rf"{counts.kept} of 9 questions are fit to train on .* one batch of 100"):
        label_questions(LABELS.model_copy(update={"least": 100}), digits, file, 5, scratch, tmp_path)
    assert not (tmp_path / "labels.jsonl").exists()


def test_a_solver_that_answers_nothing_is_told(digits: Path, tmp_path: Path) -> None:
    scratch, out = folders(tmp_path)
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"text": "What is it? " * 60, "answer": "1"}) + "\n")  # longer than the model reads
    with pytest.raises(OrreryError, match=r"0 of 0 questions are fit"):
        label_questions(LABELS, digits, file, 5, scratch, out)
    file.write_text("{}\n")
    with pytest.raises(IntegrityError, match=r"questions\.jsonl holds no questions"):
        label_questions(LABELS, digits, file, 5, scratch, out)


def test_label_widths_that_keep_nothing_fail_before_anything_starts() -> None:
    with pytest.raises(ValueError, match=r"raise label\.half_width or label\.samples"):
        LabelConfig(samples=5, half_width=0.0)
