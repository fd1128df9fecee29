"""Robot episodes in, from a raw drop that somebody uploaded: validated in shards, joined to the dataset's last version.

What the dataset has already is not read again; a drop that was taken in before changes nothing.
"""

from typing import NamedTuple

from kfp import dsl

from components.agibot.component import agibot_adopt, agibot_examine, agibot_join, agibot_plan
from pipelines.dag import titled


class Published(NamedTuple):
    dataset: str


@dsl.pipeline(name="drop-intake", display_name="Drop intake", description=__doc__)
def drop_intake(store: str, seed: int, adopt_config: str, intake_config: str) -> Published:
    raw = titled("Adopt the drop", agibot_adopt(store=store, seed=seed, config=adopt_config)).output
    plan = titled("Plan the shards", agibot_plan(store=store, seed=seed, config=intake_config, raw=raw))
    with dsl.ParallelFor(plan.output) as shard:
        part = titled("Validate a shard", agibot_examine(store=store, seed=seed, config=intake_config, shard=shard))
    parts = dsl.Collected(part.output)
    joined = agibot_join(store=store, seed=seed, config=intake_config, raw=raw, parts=parts)
    return Published(dataset=titled("Join and publish", joined).output)
