"""Run the toy pipeline as a program, to be killed: `python toy_run.py STORE FIRST_CONFIG SECOND_CONFIG`."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from toy_stages import ToyConfig

from components.store.errors import OrreryError
from components.store.open import open_store
from data_contracts.base import Contract
from pipelines import runner
from pipelines.recipes.base import Recipe


class ToyRecipe(Recipe):
    """A recipe of toys."""

    name: str = "toy"
    first: ToyConfig = ToyConfig()
    second: ToyConfig = ToyConfig()
    third: ToyConfig = ToyConfig(text="third")

    def stages(self) -> dict[str, Contract]:
        return {"first": self.first, "second": self.second, "third": self.third}


@dataclass(frozen=True)
class ToyPipeline:
    """What the runner needs of a catalogue entry."""

    name: str = "toy"
    inputs: dict[str, str] = field(default_factory=dict)

    def load(self) -> Any:
        import toy_pipeline

        return getattr(toy_pipeline, self.name)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    recipe = ToyRecipe(
        first=ToyConfig.model_validate_json(sys.argv[2]), second=ToyConfig.model_validate_json(sys.argv[3])
    )
    try:
        runner.run([ToyPipeline()], recipe, open_store(sys.argv[1]))  # type: ignore[list-item, arg-type]
    except OrreryError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
