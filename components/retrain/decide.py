"""Skip, adapt or train in full: a pure comparison of two dataset versions."""

from __future__ import annotations

from components.retrain.config import DecideConfig
from components.store.stage import Workspace
from data_contracts.changes import drift
from data_contracts.dataset import DatasetManifest
from data_contracts.lineage import Metric, StageRecord
from data_contracts.retrain import Mode, RetrainDecision


def run(ws: Workspace, config: DecideConfig) -> dict[str, Metric]:
    """Write `decision.json`."""
    decision = _decision(ws, config)
    (ws.out / "decision.json").write_text(decision.model_dump_json(indent=2))
    return {
        "mode": decision.mode,
        "reason": decision.reason,
        "new_episodes": decision.new_episodes,
        "drift": decision.drift,
    }


def _decision(ws: Workspace, config: DecideConfig) -> RetrainDecision:
    dataset, judged, base = (ws.inputs.get(name) for name in ("dataset", "judged", "base"))
    found = {name: r.prefix for name, r in (("dataset", dataset), ("judged", judged), ("base", base)) if r}

    def made(mode: Mode, reason: str, **more: object) -> RetrainDecision:
        fields = {"policy": config.policy, "mode": mode, "reason": reason, **found, **more}
        return RetrainDecision.model_validate(fields)

    if dataset is None:
        return made("skip", "no drop with a usable episode has arrived yet")
    new = _manifest(ws, "dataset")
    if judged is None:
        return made("full", "no policy was trained yet", new_episodes=len(new.episodes))
    if judged.fingerprint == dataset.fingerprint:
        return made("skip", "nothing is new: the last judged policy learned from this dataset version")
    old = _manifest(ws, "judged")
    before = {(e.task_id, e.episode_id) for e in old.episodes}
    count = sum((e.task_id, e.episode_id) not in before for e in new.episodes)
    shift = max(drift(old, new).values(), default=None)
    facts = {"new_episodes": count, "drift": shift}
    if count < config.min_new_episodes:
        return made("skip", f"{count} new episodes, {config.min_new_episodes} are needed", **facts)
    if shift is not None and shift < config.min_drift:
        reason = f"actions shifted by {shift:.4f} deviations, {config.min_drift:g} are needed"
        return made("skip", reason, **facts)
    if config.track == "full":
        return made("full", f"{count} new episodes; the recipe asks for the full track", **facts)
    if not _adaptable(base):
        return made("full", f"{count} new episodes, and no released policy to adapt", **facts)
    return made("adapt", f"{count} new episodes; the released policy's weights are adapted", **facts)


def _adaptable(base: StageRecord | None) -> bool:
    return base is not None and {"model", "codec"} <= base.inputs.keys()


def _manifest(ws: Workspace, name: str) -> DatasetManifest:
    return DatasetManifest.model_validate_json(ws.fetch(name, "manifest.json").read_bytes())
