"""`bench`: R-Zero's comparisons (`r_zero_paper`) on two cores in up to two hours."""

from __future__ import annotations

from components.language.config import ProblemsConfig
from pipelines.recipes.dft.types import Judge, Problems
from pipelines.recipes.r_zero.tiny import noisy, tiny, train
from pipelines.recipes.r_zero.types import RZeroRecipe


def bench() -> RZeroRecipe:
    """A base whose own questions are too easy for it.

    Six of seven problems that it learned to write are of level 1 (one or two additions), whose clean solutions it has
    mastered. Half of the solutions of level 2 (three additions, larger numbers) that it saw hold a slip: there its
    samples disagree, and its majority is right. Held-out problems are of level 2. So a challenger has somewhere to go,
    and a solver something to gain from its going there. Of expressions with all four operations a challenger that can't
    reckon would find those hard that have no whole or no positive result, of which the base has seen none: labels of
    such questions were right in 38 of 100 cases.
    """
    small = tiny()
    base = noisy((1, 2)).model_copy(
        update={"noise_share": 0.5, "noise_levels": (2,), "asked_levels": (1, 1, 1, 1, 1, 1, 2), "sums_only": True}
    )
    return small.model_copy(
        update={
            "name": "bench",
            "problems": Problems(
                base=base,
                train=ProblemsConfig(levels=(2,), word_share=0.0, sums_only=True),
                base_examples=50_000,
                train_examples=1,
                test_examples=200,
                harder_examples=50,
            ),
            "base_train": train(steps=2500, batch_size=32, learning_rate=2e-3, warmup_steps=200, decay="cosine"),
            "judge": Judge(samples=8, pass_at=(1, 8)),
            "estimates": {**small.estimates, "dft.base": 400.0},
        }
    )
