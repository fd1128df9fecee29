"""R-Zero: a challenger and a solver that start from one model and teach each other, without any data.

(Huang et al., arXiv 2508.05004, Fig. 2.) In each iteration the challenger is trained against the solver, its questions
are labelled by the solver's own majority, and the solver is trained on them, as long as that helps on held-out
problems. Beside them runs "base challenger": a solver trained once on the questions of a challenger that was never
trained. The best solver may go on to learn from supervised data, and then to the gate.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import PipelineTask

from components.dft.component import dft_base, dft_evaluate, dft_further, dft_problems
from components.r_zero.component import (
    r_zero_challenger,
    r_zero_decide,
    r_zero_labels,
    r_zero_questions,
    r_zero_select,
    r_zero_solver,
)
from components.release.component import release_language_gate, release_language_publish
from pipelines.dag import titled

ORDINALS = ("first", "second", "third", "fourth", "fifth")
"""The iterations that a pipeline holds; how many are played is a setting, and the held-out score's to say."""


class Played(NamedTuple):
    base: str


class Iteration(NamedTuple):
    """What an iteration leaves to the next one, as KFP's channels."""

    challenger: Any
    solver: Any
    scores: Any


def as_long_as_it_helps(
    common: Mapping[str, Any],
    base: Any,
    base_scores: Any,
    play: Callable[[int, Any, Any], Iteration],
    end: Callable[[int, Any], None],
) -> None:
    """Play iterations from `base` until one too many was played, or as many as were asked for.

    `common` has store, seed and the configuration of select; `play(number, challenger, solver)` is an iteration,
    `end(number, best)` what becomes of the best solver of so many. What is not played costs nothing: it is not started.
    """

    def from_here(number: int, challenger: Any, solver: Any, solvers: dict[str, Any], scores: dict[str, Any]) -> None:
        played = play(number, challenger, solver)
        ordinal = ORDINALS[number - 1]
        solvers = {**solvers, ordinal: played.solver}
        scores = {**scores, f"{ordinal}_scores": played.scores}

        def select() -> None:
            best = r_zero_select(**common, base_scores=base_scores, **solvers, **scores)
            end(number, titled(f"Best of {number}", best).output)

        if number == len(ORDINALS):
            select()
            return
        decided = titled(f"Go on past {number}?", r_zero_decide(**common, base_scores=base_scores, **scores)).output
        with dsl.If(decided == "on", name=f"iteration-{number + 1}"):
            from_here(number + 1, played.challenger, played.solver, solvers, scores)
        with dsl.If(decided == "stop", name=f"end-after-{number}"):
            select()

    from_here(1, base, base, {}, {})


def curriculum(
    store: str, seed: int, problems: PipelineTask, base: PipelineTask, configs: Mapping[str, str], auditor: Any = ""
) -> None:
    """Both players from `base`, judged by `problems`, their labels audited by `auditor`; `configs` by stage."""
    common = {"store": store, "seed": seed}

    def judged(title: str, model: Any) -> Any:
        task = dft_evaluate(config=configs["evaluate"], model=model, problems=problems.output, **common)
        return titled(f"Judge: {title}", task).output

    def taught(iteration: str, challenger: Any, solver: Any) -> Any:
        """The solver after an iteration's questions."""
        asked = r_zero_questions(config=configs["questions"], iteration=iteration, challenger=challenger, **common)
        titled(f"Questions {iteration}", asked)
        labelled = r_zero_labels(
            config=configs["labels"], iteration=iteration, solver=solver, questions=asked.output, auditor=auditor,
            **common,
        )  # fmt: skip
        titled(f"Labels {iteration}", labelled)
        trained = r_zero_solver(
            config=configs["solver"], iteration=iteration, model=solver, labels=labelled.output, **common
        )
        return titled(f"Solver {iteration}", trained).output

    def play(number: int, challenger: Any, solver: Any) -> Iteration:
        trained = r_zero_challenger(
            config=configs["challenger"], iteration=str(number), model=challenger, solver=solver, **common
        )
        titled(f"Challenger {number}", trained)
        better = taught(str(number), trained.output, solver)
        return Iteration(trained.output, better, judged(f"solver {number}", better))

    def end(number: int, best: Any) -> None:
        further = dft_further(config=configs["further"], model=best, problems=problems.output, **common)
        model = titled(f"Supervised data, after {number}", further).output
        scores = judged(f"best of {number}", model)
        gate = release_language_gate(
            config=configs["gate"], model=model, evaluation=scores, base=base_scores, **common
        ).after(untrained)  # a refusal ends the run, but never the comparison
        published = release_language_publish(
            config=configs["publish"], model=model, evaluation=scores, gate=gate.output, **common
        )
        titled(f"Gate, after {number}", gate)
        titled(f"Publish as candidate, after {number}", published)

    base_scores = judged("base", base.output)
    beside = taught("untrained", base.output, base.output)
    untrained = dft_evaluate(config=configs["evaluate"], model=beside, problems=problems.output, **common)
    titled("Judge: base challenger", untrained)
    as_long_as_it_helps(common | {"config": configs["select"]}, base.output, base_scores, play, end)


@dsl.pipeline(name="r-zero", display_name="R-Zero", description=__doc__)
def r_zero(
    store: str,
    seed: int,
    problems_config: str,
    base_config: str,
    challenger_config: str,
    questions_config: str,
    labels_config: str,
    solver_config: str,
    evaluate_config: str,
    select_config: str,
    further_config: str,
    gate_config: str,
    publish_config: str,
) -> Played:
    problems = titled("Held-out problems", dft_problems(store=store, seed=seed, config=problems_config))
    base = titled("Base model", dft_base(store=store, seed=seed, config=base_config, problems=problems.output))
    configs = {
        "challenger": challenger_config, "questions": questions_config, "labels": labels_config,
        "solver": solver_config, "evaluate": evaluate_config, "select": select_config, "further": further_config,
        "gate": gate_config, "publish": publish_config,
    }  # fmt: skip
    curriculum(store, seed, problems, base, configs)
    return Played(base=base.output)
