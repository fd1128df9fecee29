"""Robot episodes in: a raw drop recorded in simulation, validated, repaired or quarantined, published as a dataset."""

from typing import NamedTuple

from kfp import dsl

from components.agibot.component import agibot_intake
from components.robots.component import robots_record
from pipelines.dag import titled


class Published(NamedTuple):
    dataset: str


@dsl.pipeline(name="episode-intake", display_name="Episode intake", description=__doc__)
def episode_intake(store: str, seed: int, record_config: str, intake_config: str) -> Published:
    raw = titled("Record episodes", robots_record(store=store, seed=seed, config=record_config))
    dataset = agibot_intake(store=store, seed=seed, config=intake_config, raw=raw.output)
    return Published(dataset=titled("Validate and publish", dataset).output)
