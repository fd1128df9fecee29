"""`bench`: R-Zero's comparisons (`r_zero_paper`) on two cores in up to two hours."""

from __future__ import annotations

from components.language.config import ProblemsConfig
from pipelines.recipes.dft.types import Judge, Problems
from pipelines.recipes.r_zero.tiny import noisy, tiny, train
from pipelines.recipes.r_zero.types import RZeroRecipe


def bench() -> RZeroRecipe:
    """`tiny` from a base that is competent over a wider range, so that there is somewhere for a challenger to go."""
    small, levels = tiny(), (1, 2)
    return small.model_copy(
        update={
            "name": "bench",
            "problems": Problems(
                base=noisy(levels),
                train=ProblemsConfig(levels=levels, word_share=0.0),
                base_examples=80_000,
                train_examples=1,
                test_examples=200,
                harder_examples=50,
            ),
            "base_train": train(steps=4000, batch_size=32, learning_rate=2e-3, warmup_steps=200, decay="cosine"),
            "judge": Judge(samples=8, pass_at=(1, 8)),
            "estimates": {**small.estimates, "dft.base": 600.0},
        }
    )
