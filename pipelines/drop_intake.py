"""Robot episodes in, from a raw drop that somebody uploaded: adopted as it is, validated, published as a dataset."""

from typing import NamedTuple

from kfp import dsl

from components.agibot.component import agibot_adopt, agibot_intake


class Published(NamedTuple):
    dataset: str


@dsl.pipeline(name="drop-intake", display_name="Drop intake", description=__doc__)
def drop_intake(store: str, seed: int, adopt_config: str, intake_config: str) -> Published:
    raw = agibot_adopt(store=store, seed=seed, config=adopt_config).set_display_name("Adopt the drop")
    dataset = agibot_intake(store=store, seed=seed, config=intake_config, raw=raw.output)
    dataset.set_display_name("Validate and publish")
    return Published(dataset=dataset.output)
