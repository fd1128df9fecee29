"""The stages of a recurring retrain around those that train: adopt what arrived, take it in, decide, tell.

Its only memory is the store's lineage: which drops a dataset holds, and which dataset the last judged policy learned
from. So a run that was killed, or never started, is made good by the next one.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from components.agibot.config import AdoptConfig, IntakeConfig
from components.agibot.head import read_head
from components.agibot.stages import NOTHING, adopt, examine, join, plan
from components.release import registry
from components.retrain.config import DecideConfig, DropsConfig, NotifyConfig
from components.retrain.drops import Listing, arrived
from components.store.api import Store
from components.store.errors import ConfigurationError, OrreryError
from components.store.records import find_records, read_input, read_reference, reference
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord
from data_contracts.release import CHANNELS, Decision
from data_contracts.retrain import Mode

DECIDE_STAGE = "retrain.decide"
DECIDE = ("components/retrain/decide.py", "components/retrain/stages.py", "data_contracts/changes.py")


class Adopted(NamedTuple):
    """Every drop that has arrived, as RecordRef JSON of its raw version, oldest name first."""

    raws: list[str]


class Base(NamedTuple):
    """What a released policy was made of."""

    model: StageRecord
    codec: StageRecord


def adopt_all(store: Store, config: DropsConfig, seed: int) -> Adopted:
    """A raw version of every drop that has arrived. Those adopted before are found again without reading them."""
    known: dict[tuple[str, Listing], StageRecord] = {}
    for record in find_records(store, "raw", config.name):
        if record.stage == "agibot.adopt":
            known[record.config["source"], frozenset((o.path, o.size) for o in record.objects)] = record
    raws = []
    for source, listing in arrived(store, config).items():
        found = known.get((source, listing))
        if found is None:
            print(f"new: {source}, {len(listing)} files", file=sys.stderr, flush=True)
            found = adopt(store, AdoptConfig(name=config.name, source=source), seed)
        raws.append(reference(store, found).model_dump_json())
    return Adopted(raws)


class Taken(NamedTuple):
    """The dataset's last version; None if it has none yet."""

    dataset: StageRecord | None


def take_in(store: Store, config: IntakeConfig, seed: int, raws: list[str]) -> Taken:
    """Join every drop to the dataset that it does not hold yet, one after another.

    A drop that is refused as a whole keeps nothing from the others: it is told, and tried again by the next run.
    """
    for text in raws:
        raw = read_reference(store, text)
        try:
            planned = plan(store, config, seed, raw)
            if planned.shards == [NOTHING]:
                continue
            examined = [examine(store, config, seed, raw, planned.parent, shard) for shard in planned.shards]
            parts = [reference(store, part).model_dump_json() for part in examined]
            join(store, config, seed, raw, parts)
        except OrreryError as error:
            if error.exit_code != 1:  # the store, or the configuration: not the drop's fault
                raise
            print(f"warning: {raw.prefix} was refused: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return Taken(read_head(store, config.name)[0])


def decide(store: Store, config: DecideConfig, seed: int, dataset: StageRecord | None) -> tuple[Mode]:
    """Whether the dataset holds enough that the last judged policy did not learn from; and what to train then."""
    found = {"dataset": dataset, "base": _released(store, config.policy), "judged": _judged(store, config.policy)}

    def build(ws: Workspace) -> dict[str, Metric]:
        from components.retrain.decide import run

        return run(ws, config)

    record = run_stage(
        store=store, stage=DECIDE_STAGE, kind="evaluations", name=f"{config.policy}-retrain",
        inputs={name: r for name, r in found.items() if r is not None}, config=config, seed=seed, sources=DECIDE,
        build=build,
    )  # fmt: skip
    mode = record.metrics["mode"]
    print(f"{mode}: {record.metrics['reason']}", file=sys.stderr, flush=True)
    return ("adapt" if mode == "adapt" else "full" if mode == "full" else "skip",)


def base(store: Store, config: DecideConfig, seed: int) -> Base:
    """The released policy's model and codec. Raises ConfigurationError if none is released any more."""
    record = registry.resolve(store, config.policy)
    return Base(read_input(store, record.inputs["model"]), read_input(store, record.inputs["codec"]))


def notify(store: Store, config: NotifyConfig, seed: int, state: str) -> tuple[str]:
    """Write the run's notice and send it to the webhook, if one is named. Whatever fails here is only told."""
    from components.retrain.notify import tell

    return (tell(store, config, state),)


def _released(store: Store, policy: str) -> StageRecord | None:
    """The version in production, else the canary, else the candidate."""
    try:
        return registry.resolve(store, policy)
    except ConfigurationError:
        return None


def _judged(store: Store, policy: str) -> StageRecord | None:
    """The dataset that the last policy before the gate learned from, whether it was refused or released.

    One that passed and got no further, since the run was killed or an engine was away, is not done with.
    """
    released = {
        entry.target.prefix
        for channel in CHANNELS
        if (pointer := registry.read_pointer(store, policy, channel)) is not None
        for entry in pointer.history
    }
    made = {r.inputs["gate"].prefix for r in find_records(store, "models", policy) if r.prefix in released}
    gates = [r for r in find_records(store, "evaluations", f"{policy}-gate") if r.stage == registry.GATE_STAGE]
    for gate in sorted(gates, key=lambda r: r.started_at, reverse=True):
        model, decision = read_input(store, gate.inputs["model"]), gate.object("decision.json")
        passed = Decision.model_validate_json(store.read(gate.key_of(decision), decision.sha256)).passed
        if passed and gate.prefix not in made:
            continue
        if "dataset" in model.inputs:
            return read_input(store, model.inputs["dataset"])
    return None
