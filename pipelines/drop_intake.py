"""Robot episodes in, from a raw drop that somebody uploaded: adopted as it is, validated, published as a dataset."""

from typing import NamedTuple

from kfp import dsl

from components.agibot.component import agibot_adopt, agibot_intake
from pipelines.dag import titled


class Published(NamedTuple):
    dataset: str


@dsl.pipeline(name="drop-intake", display_name="Drop intake", description=__doc__)
def drop_intake(store: str, seed: int, adopt_config: str, intake_config: str) -> Published:
    raw = titled("Adopt the drop", agibot_adopt(store=store, seed=seed, config=adopt_config))
    dataset = agibot_intake(store=store, seed=seed, config=intake_config, raw=raw.output)
    return Published(dataset=titled("Validate and publish", dataset).output)
