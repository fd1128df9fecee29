"""The questions of an iteration and their pseudo-labels: what the challenger writes, what the solver answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.language import model as language_model
from components.language.grading import Grader, Groups
from components.language.judge import Claim
from components.language.samples import SamplingConfig, read_samples
from components.language.sampling import open_engine, sample_to
from components.language.tokenise import asked
from components.language.truth import true_answer
from components.r_zero.audit import by_truth, by_truth_or_judge
from components.r_zero.config import LabelStageConfig, PoolStageConfig
from components.r_zero.labels import PseudoLabel, pseudo_labels, require_batch
from components.r_zero.players import answer, solver_prompts
from components.r_zero.questions import Question, question_pool
from components.r_zero.repetition import clusters
from components.store.errors import IntegrityError, OrreryError
from data_contracts.r_zero import LabelSummary, PoolSummary
from data_contracts.rollouts import Example

EXAMPLES = 12
CLUSTER_DISTANCE = 0.5


def write_questions(config: PoolStageConfig, challenger: Path, seed: int, scratch: Path, out: Path) -> PoolSummary:
    """Sample the challenger; writes `questions.jsonl` and `pool.json`. Samples outlive a kill in `scratch`.

    Raises OrreryError if not one response holds a question.
    """
    tokenizer = language_model.load_tokenizer(challenger)
    prompts = [asked(config.ask.user, config.ask.system, tokenizer)] * config.responses
    samples = scratch / "responses.jsonl"
    with open_engine(challenger, scratch / "vllm.log", config.engine) as server:
        sample_to(samples, server, prompts, SamplingConfig(top_p=config.top_p, max_tokens=config.max_tokens, seed=seed))
    pool = question_pool([sampled.completions[0].text for sampled in read_samples(samples)], config.question)
    if not pool.questions:
        raise OrreryError(
            f"not one of {config.responses} responses of the challenger holds a question that can be asked "
            f"({pool.counts}); train it on the format first, or raise max_tokens"
        )
    texts = [question.text for question in pool.questions]
    summary = PoolSummary(
        asked=config.responses, kept=len(texts), refused=pool.counts,
        clusters=int(clusters(texts, CLUSTER_DISTANCE).max()) + 1,
    )  # fmt: skip
    (out / "questions.jsonl").write_text("".join(q.model_dump_json() + "\n" for q in pool.questions))
    (out / "pool.json").write_text(summary.model_dump_json(indent=1))
    return summary


def label_questions(
    config: LabelStageConfig,
    solver: Path,
    questions: Path,
    seed: int,
    scratch: Path,
    out: Path,
    auditor: Path | None = None,
) -> LabelSummary:
    """Sample m answers to every question; writes `labels.jsonl`, of those that are kept, and `labels.json`.

    With `auditor`, the folder of a judge, it audits a sample of the labels; without, only known answers do.

    Raises OrreryError if fewer are kept than one rollout of the solver asks.
    """
    texts = [question.text for question in _read(questions)]
    tokenizer = language_model.load_tokenizer(solver)
    sampling = SamplingConfig(n=config.label.samples, max_tokens=config.max_tokens, seed=seed)
    with Grader() as grader:
        with open_engine(solver, scratch / "vllm.log", config.engine) as server:
            room = server.config.max_model_len - config.max_tokens
            prompts = solver_prompts(texts, config.solver_system, tokenizer, room)
            groups = answer(list(prompts.values()), sampling, server, grader, scratch / "answers.jsonl")
        kept, counts = pseudo_labels(list(prompts), groups, config.label)
        require_batch(counts, config.least, config.label)
        answered = [
            Claim(question, group.majority)
            for question, group in zip(prompts, groups, strict=True)
            if group.majority is not None
        ]
        labelled = [Claim(label.question, label.answer) for label in kept]
        if auditor is None:
            audited = by_truth(labelled, grader)
        else:
            audited = by_truth_or_judge(labelled, config.audit, auditor, config.engine, seed, grader, scratch)
        summary = LabelSummary(
            counts=counts, kept=audited, every=by_truth(answered, grader),
            examples=_examples(list(prompts), groups, kept),
        )  # fmt: skip
    (out / "labels.jsonl").write_text("".join(label.model_dump_json() + "\n" for label in kept))
    (out / "labels.json").write_text(summary.model_dump_json(indent=1))
    return summary


def _read(path: Path) -> list[Question]:
    try:
        return [Question.model_validate_json(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise IntegrityError(f"{path.name} holds no questions: {error}") from error


def _examples(questions: Sequence[str], groups: Sequence[Groups], kept: Sequence[PseudoLabel]) -> tuple[Example, ...]:
    """Questions from all over the pool, with their votes."""
    chosen = {label.question for label in kept}
    step = max(1, len(groups) // EXAMPLES)
    return tuple(
        Example(
            text=question,
            note=f"{'kept' if question in chosen else 'dropped'}: {group.share:.0%} say {group.majority}"
            + (f", true is {truth}" if (truth := true_answer(question)) is not None else ""),
        )
        for question, group in list(zip(questions, groups, strict=True))[::step][:EXAMPLES]
    )
