"""`bench`: the arms of `dft_paper` told apart on two cores in up to two hours."""

from __future__ import annotations

from pipelines.recipes.dft.tiny import tiny, train
from pipelines.recipes.dft.types import DftRecipe, Judge, Offline, Online


def bench() -> DftRecipe:
    """`tiny` with the same steps for all arms, judged by twice the problems.

    Four samples of a problem from each of three trainings make twelve; what is left of the interval is the problems'.
    """
    small = tiny()
    return small.model_copy(
        update={
            "name": "bench",
            "problems": small.problems.model_copy(update={"test_examples": 200, "harder_examples": 100}),
            "train": train(steps=200, learning_rate=3e-4),
            "offline": Offline(questions=1000, dpo=train(steps=200, learning_rate=2e-5)),
            # GRPO's rate, by what it earned on training questions, in one run each: 0.57 in the first and 0.64 in the
            # second half of 32 steps at 2e-4; 0.55 and 0.56 of 64 steps at 5e-4, five times as far from the start.
            "online": Online(sequences=128, train=train(32, 2e-4, batch_size=64, decay="constant")),
            "judge": Judge(samples=4, pass_at=(1, 4)),
        }
    )
