"""KFP shells of the R-Zero stages. `iteration` only names the stage: 1, 2, 3, or the arm that trains no challenger."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def r_zero_challenger(store: str, config: str, seed: int, iteration: str, model: str, solver: str) -> str:
    """Challenger: GRPO on questions that the frozen solver is unsure of."""
    from components.r_zero.stages import challenger
    from components.store.shell import call

    return call(challenger, store=store, config=config, seed=seed, iteration=iteration, model=model, solver=solver)


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def r_zero_questions(store: str, config: str, seed: int, iteration: str, challenger: str) -> str:
    """Questions: sample the challenger, check, drop repetitions."""
    from components.r_zero.stages import questions
    from components.store.shell import call

    return call(questions, store=store, config=config, seed=seed, iteration=iteration, challenger=challenger)


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def r_zero_labels(
    store: str, config: str, seed: int, iteration: str, solver: str, questions: str, auditor: str = ""
) -> str:
    """Labels: the solver's majority answers, filtered by their share, audited."""
    from components.r_zero.stages import labels
    from components.store.shell import call

    return call(
        labels, store=store, config=config, seed=seed, iteration=iteration, solver=solver, questions=questions,
        auditor=auditor,
    )  # fmt: skip


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def r_zero_solver(store: str, config: str, seed: int, iteration: str, model: str, labels: str) -> str:
    """Solver: GRPO on the pseudo-labels."""
    from components.r_zero.stages import solver
    from components.store.shell import call

    return call(solver, store=store, config=config, seed=seed, iteration=iteration, model=model, labels=labels)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def r_zero_decide(
    store: str,
    config: str,
    seed: int,
    base_scores: str,
    first_scores: str,
    second_scores: str = "",
    third_scores: str = "",
    fourth_scores: str = "",
) -> str:
    """Decide whether another iteration is played: `on` or `stop`. Its only output, as kfp.local resolves no other."""
    from components.r_zero.stages import decide
    from components.store.shell import ask

    return ask(
        decide, store=store, config=config, seed=seed, base_scores=base_scores, first_scores=first_scores,
        second_scores=second_scores, third_scores=third_scores, fourth_scores=fourth_scores,
    )[0]  # fmt: skip


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def r_zero_select(
    store: str,
    config: str,
    seed: int,
    base_scores: str,
    first: str,
    first_scores: str,
    second: str = "",
    second_scores: str = "",
    third: str = "",
    third_scores: str = "",
    fourth: str = "",
    fourth_scores: str = "",
    fifth: str = "",
    fifth_scores: str = "",
) -> str:
    """Select: the best solver of the iterations that were played, by held-out score."""
    from components.r_zero.stages import select
    from components.store.shell import call

    return call(
        select, store=store, config=config, seed=seed, base_scores=base_scores, first=first, second=second, third=third,
        fourth=fourth, fifth=fifth, first_scores=first_scores, second_scores=second_scores, third_scores=third_scores,
        fourth_scores=fourth_scores, fifth_scores=fifth_scores,
    )  # fmt: skip
