"""R-Zero: a challenger and a solver that start from one model and teach each other, without any data.

(Huang et al., arXiv 2508.05004, Fig. 2.) In each of three iterations the challenger is trained against the solver, its
questions are labelled by the solver's own majority, and the solver is trained on them. Beside them runs "base
challenger": a solver trained once on the questions of a challenger that was never trained.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import PipelineTask

from components.dft.component import dft_base, dft_evaluate, dft_problems
from components.r_zero.component import (
    r_zero_challenger,
    r_zero_labels,
    r_zero_questions,
    r_zero_select,
    r_zero_solver,
)
from components.release.component import release_language_gate, release_language_publish
from pipelines.dag import titled


class Played(NamedTuple):
    base: str
    challenger: str
    solver: str
    released: str


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
    gate_config: str,
    publish_config: str,
) -> Played:
    problems = titled("Held-out problems", dft_problems(store=store, seed=seed, config=problems_config))
    base = titled("Base model", dft_base(store=store, seed=seed, config=base_config, problems=problems.output))

    def judged(title: str, model: PipelineTask) -> PipelineTask:
        task = dft_evaluate(
            store=store, seed=seed, config=evaluate_config, model=model.output, problems=problems.output
        )
        return titled(f"Judge: {title}", task)

    def taught(iteration: str, challenger: PipelineTask, solver: PipelineTask) -> PipelineTask:
        """The solver after an iteration's questions."""
        asked = r_zero_questions(
            store=store, seed=seed, config=questions_config, iteration=iteration, challenger=challenger.output
        )
        labelled = r_zero_labels(
            store=store, seed=seed, config=labels_config, iteration=iteration, solver=solver.output,
            questions=asked.output,
        )  # fmt: skip
        trained = r_zero_solver(
            store=store, seed=seed, config=solver_config, iteration=iteration, model=solver.output,
            labels=labelled.output,
        )  # fmt: skip
        titled(f"Questions {iteration}", asked)
        titled(f"Labels {iteration}", labelled)
        return titled(f"Solver {iteration}", trained)

    base_scores = judged("base", base)
    challenger, solver = base, base
    solvers, scores = [], []
    for iteration in ("1", "2", "3"):
        challenger = r_zero_challenger(
            store=store, seed=seed, config=challenger_config, iteration=iteration, model=challenger.output,
            solver=solver.output,
        )  # fmt: skip
        titled(f"Challenger {iteration}", challenger)
        solver = taught(iteration, challenger, solver)
        solvers.append(solver)
        scores.append(judged(f"solver {iteration}", solver))
    untrained = judged("base challenger", taught("untrained", base, base))
    best = r_zero_select(
        store=store, seed=seed, config=select_config,
        first=solvers[0].output, second=solvers[1].output, third=solvers[2].output,
        first_scores=scores[0].output, second_scores=scores[1].output, third_scores=scores[2].output,
    )  # fmt: skip
    titled("Best iteration", best)
    best_scores = judged("best iteration", best)
    gate = release_language_gate(
        store=store, seed=seed, config=gate_config, model=best.output, evaluation=best_scores.output,
        base=base_scores.output,
    )  # fmt: skip
    gate.after(untrained)  # a refusal ends the run, but never the comparison
    published = release_language_publish(
        store=store, seed=seed, config=publish_config, model=best.output, evaluation=best_scores.output,
        gate=gate.output,
    )  # fmt: skip
    titled("Gate", gate)
    titled("Publish as candidate", published)
    return Played(base=base.output, challenger=challenger.output, solver=best.output, released=published.output)
