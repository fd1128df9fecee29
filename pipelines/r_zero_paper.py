"""R-Zero's claims as one table: the iterations beside what the paper takes away, three times from one base.

(Huang et al., arXiv 2508.05004, Tables 1 and 3.) A repetition plays three iterations. Beside them stand three solvers
that had one iteration with a part missing: a trained challenger ("base challenger"), the repetition penalty, the filter
of labels. A repetition has its own rollouts, questions and answers.
"""

from typing import NamedTuple

from kfp import dsl

from components.dft.component import dft_base, dft_players, dft_problems, dft_table
from components.r_zero.component import (
    r_zero_challenger,
    r_zero_labels,
    r_zero_questions,
    r_zero_solver,
)
from pipelines.dag import titled

SEEDS = (0, 1, 2)


class Compared(NamedTuple):
    base: str
    table: str


@dsl.pipeline(name="r-zero-paper", display_name="R-Zero, the paper's comparisons", description=__doc__)
def r_zero_paper(
    store: str,
    seed: int,
    problems_config: str,
    base_config: str,
    challenger_config: str,
    unpenalised_config: str,
    questions_config: str,
    labels_config: str,
    unfiltered_config: str,
    solver_config: str,
    players_config: str,
    table_config: str,
) -> Compared:
    problems = titled("Held-out problems", dft_problems(store=store, seed=seed, config=problems_config))
    base = titled("Base model", dft_base(store=store, seed=seed, config=base_config, problems=problems.output))

    def challenged(number: int, name: str, config: str, challenger: str, solver: str) -> str:
        """A challenger trained against a solver."""
        task = r_zero_challenger(
            store=store, seed=number, config=config, iteration=f"{name}-seed-{number}", model=challenger, solver=solver
        )
        return titled(f"Challenger {name}, seed {number}", task).output

    def taught(number: int, name: str, challenger: str, solver: str, labels: str = labels_config) -> str:
        """The solver after a challenger's questions."""
        iteration = f"{name}-seed-{number}"
        asked = r_zero_questions(
            store=store, seed=number, config=questions_config, iteration=iteration, challenger=challenger
        )
        labelled = r_zero_labels(
            store=store, seed=number, config=labels, iteration=iteration, solver=solver, questions=asked.output
        )
        trained = r_zero_solver(
            store=store, seed=number, config=solver_config, iteration=iteration, model=solver, labels=labelled.output
        )
        titled(f"Questions {name}, seed {number}", asked)
        titled(f"Labels {name}, seed {number}", labelled)
        return titled(f"Solver {name}, seed {number}", trained).output

    judged = []
    for number in SEEDS:
        challenger, solver, solvers = base.output, base.output, []
        for iteration in ("1", "2", "3"):
            challenger = challenged(number, iteration, challenger_config, challenger, solver)
            if iteration == "1":
                unfiltered = taught(number, "unfiltered", challenger, base.output, unfiltered_config)
            solver = taught(number, iteration, challenger, solver)
            solvers.append(solver)
        unpenalised = challenged(number, "unpenalised", unpenalised_config, base.output, base.output)
        scores = dft_players(
            store=store, seed=number, config=players_config, repetition=str(number), problems=problems.output,
            base=base.output, first=solvers[0], second=solvers[1], third=solvers[2], unfiltered=unfiltered,
            untrained=taught(number, "untrained", base.output, base.output),
            unpenalised=taught(number, "unpenalised", unpenalised, base.output),
        )  # fmt: skip
        judged.append(titled(f"Judge, seed {number}", scores).output)
    table = dft_table(store=store, seed=seed, config=table_config, first=judged[0], second=judged[1], third=judged[2])
    titled("Table", table)
    return Compared(base=base.output, table=table.output)
