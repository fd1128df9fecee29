"""The offline setting of the DFT paper: a model's own answers to the training questions, graded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from components.dft.answers import right_all
from components.dft.config import SampleStageConfig
from components.dft.reading import read_chats
from components.language import model as language_model
from components.language.grading import Grader
from components.language.samples import Completion, SamplingConfig, read_samples
from components.language.sampling import open_engine, sample_to
from components.language.tokenise import Refused, prompt_tokens, tokenise
from components.store.errors import OrreryError
from data_contracts.base import Contract
from data_contracts.chat import ChatExample, Message, PreferencePair
from data_contracts.lineage import Metric


def sample_own(
    config: SampleStageConfig, model: Path, chats: Path, seed: int, scratch: Path, out: Path
) -> Mapping[str, Metric]:
    """Write `accepted.jsonl`, the right answers as chats, and `pairs.jsonl`, a right and a wrong one of a question.

    Raises:
        OrreryError: no question has a known answer, or no answer is right.
        EngineUnavailable: vLLM can't be started or kept alive.
    """
    questions = known_questions(chats, config.questions)
    tokenizer, context = language_model.load_tokenizer(model), language_model.context(model)
    prompts = [prompt_tokens(question, tokenizer) for question in questions]
    drawn = SamplingConfig(n=config.samples, max_tokens=config.max_tokens, seed=seed)
    samples = scratch / "samples.jsonl"
    with open_engine(model, scratch / "vllm.log", config.engine) as server:
        sample_to(samples, server, prompts, drawn)
    answers = [sampled.completions for sampled in read_samples(samples)]
    with Grader() as grader:
        judged = graded(questions, answers, grader)
    kept = [sort_out(q, a, r, tokenizer, context) for q, a, r in zip(questions, answers, judged, strict=True)]
    right = [chat for chats, _ in kept for chat in chats]
    pairs = [pair for _, pair in kept if pair is not None]
    if not right:
        raise OrreryError(
            f"none of {config.samples} answers to each of {len(questions)} questions is right, so there is nothing to "
            "train on; take a stronger base, or easier questions"
        )
    _write(out / "accepted.jsonl", right)
    _write(out / "pairs.jsonl", pairs)
    return {
        "questions": len(questions),
        "solved": sum(any(r) for r in judged),
        "right": round(sum(map(sum, judged)) / (len(questions) * config.samples), 4),
        "accepted": len(right),
        "pairs": len(pairs),
    }


def known_questions(chats: Path, limit: int) -> list[ChatExample]:
    """The first chats whose answer is known, each prompt once; 0: all. Raises OrreryError if there is none."""
    known = {row.example.prompt: row.example for row in read_chats([chats]) if row.example and row.example.answer}
    questions = list(islice(known.values(), limit or None))
    if not questions:
        raise OrreryError("no training chat says its answer, so nothing sampled could be graded; give them an `answer`")
    return questions


def graded(
    questions: Sequence[ChatExample], answers: Sequence[Sequence[Completion]], grader: Grader
) -> list[list[bool]]:
    """Whether each answer is right. One that was cut off is not: nobody knows how it would have ended."""
    asked = [question for question, of_one in zip(questions, answers, strict=True) for _ in of_one]
    right = iter(right_all(asked, [c.text for of_one in answers for c in of_one], grader))
    return [[next(right) and c.finish == "stop" for c in of_one] for of_one in answers]


def sort_out(
    question: ChatExample,
    answers: Sequence[Completion],
    right: Sequence[bool],
    tokenizer: PreTrainedTokenizerFast,
    context: int,
) -> tuple[list[ChatExample], PreferencePair | None]:
    """The distinct right answers of a question as chats, and its first right and first wrong one, if it has both.

    Only answers that ended can be trained on, and only such as fit the contract of chats: a model can write anything.
    """
    usable: dict[bool, list[ChatExample]] = {True: [], False: []}
    for is_right, chat in _ended(question, answers, right):
        if chat not in usable[is_right] and _fits(chat, tokenizer, context):
            usable[is_right].append(chat)
    good, bad = usable[True], usable[False]
    if not (good and bad):
        return good, None
    return good, PreferencePair(prompt=question.prompt, chosen=good[0].response, rejected=bad[0].response)


def _ended(
    question: ChatExample, answers: Sequence[Completion], right: Sequence[bool]
) -> Iterator[tuple[bool, ChatExample]]:
    for answer, is_right in zip(answers, right, strict=True):
        if answer.finish == "stop" and answer.text.strip():
            said = Message(role="assistant", content=answer.text)
            messages = (*question.prompt, said)
            yield is_right, question.model_copy(update={"messages": messages, "source": "own samples"})


def _fits(chat: ChatExample, tokenizer: PreTrainedTokenizerFast, context: int) -> bool:
    try:
        tokenise(chat, tokenizer, context)
    except Refused:
        return False
    return True


def _write(path: Path, rows: Iterable[Contract]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(row.model_dump_json() + "\n" for row in rows)
