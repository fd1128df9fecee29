"""The release stages. Of a policy: gate, publish, check, candidate; of a language model: gate, publish.

Cheap to import; the work sits in the modules beside.
"""

from __future__ import annotations

from components.release import registry
from components.release.config import CandidateConfig, CheckConfig, GateConfig, LanguageGateConfig, PublishConfig
from components.store.api import Store
from components.store.records import read_input
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord

SHARED = ("components/envisioner", "components/release/config.py", "data_contracts")
JUDGE = (
    *SHARED,
    "components/release/gate.py",
    "components/release/decision.py",
    "components/release/rules.py",
    "components/release/bundle.py",
)
SERVED = ("components/release/serving_model.py", "components/release/sessions.py", "components/release/triton_model.py")
REPOSITORY = (*SERVED, "components/release/triton_repository.py")
PUBLISH = (*JUDGE, *REPOSITORY, "components/release/publish.py")
CHECK = (*SHARED, *REPOSITORY, "components/release/check.py")
LANGUAGE_JUDGE = tuple(f"components/release/{name}.py" for name in ("config", "decision", "language_gate"))
LANGUAGE_PUBLISH = (*LANGUAGE_JUDGE, "components/release/language_publish.py", "data_contracts/bundle.py")
CHANNELS = ("components/release/registry.py",)
"""Each stage names the files that decide its output, so that a change of another one repeats nothing."""


def gate(
    store: Store,
    config: GateConfig,
    seed: int,
    *,
    model: StageRecord,
    codec: StageRecord,
    frames: StageRecord,
    evaluation: StageRecord,
    mean_action: StageRecord,
) -> StageRecord:
    """Decide on a trained policy, given its evaluation and the mean action's on the same scenes.

    What is in production, if it was made from another model, is looked up and compared with. A
    refusal is a result, not an error: the record's metric `passed` is False, `report.md` says why.
    """

    def build(ws: Workspace) -> dict[str, Metric]:
        from components.release.gate import run

        return run(ws, config, seed)

    inputs = {"model": model, "codec": codec, "frames": frames, "evaluation": evaluation, "mean_action": mean_action}
    inputs |= _production(store, config.policy, model)
    return run_stage(
        store=store, stage=registry.GATE_STAGE, kind="evaluations", name=f"{config.policy}-gate", inputs=inputs,
        config=config, seed=seed, sources=JUDGE, build=build,
    )  # fmt: skip


def publish(
    store: Store,
    config: PublishConfig,
    seed: int,
    *,
    model: StageRecord,
    codec: StageRecord,
    frames: StageRecord,
    evaluation: StageRecord,
    gate: StageRecord,
) -> StageRecord:
    """Publish a policy whose gate passed, as `models/<policy>/<version>/`. Raises GateRefused (exit 1) otherwise."""

    def build(ws: Workspace) -> dict[str, Metric]:
        from components.release.publish import run

        return run(ws, config)

    inputs = {"model": model, "codec": codec, "frames": frames, "evaluation": evaluation, "gate": gate}
    return run_stage(
        store=store, stage=registry.PUBLISH_STAGE, kind="models", name=config.policy, inputs=inputs,
        config=config, seed=seed, sources=PUBLISH, build=build,
    )  # fmt: skip


def check(store: Store, config: CheckConfig, seed: int, *, published: StageRecord) -> StageRecord:
    """Serve a published policy with a real Triton server and compare its answers with the policy in process."""

    def build(ws: Workspace) -> dict[str, Metric]:
        from components.release.check import run

        return run(ws, config, seed)

    return run_stage(
        store=store, stage=registry.CHECK_STAGE, kind="evaluations", name=f"{config.policy}-check",
        inputs={"published": published}, config=config, seed=seed, sources=CHECK, build=build,
    )  # fmt: skip


def candidate(
    store: Store, config: CandidateConfig, seed: int, *, published: StageRecord, check: StageRecord
) -> StageRecord:
    """Let the channel `candidate` name a published version that was checked. Safe to repeat.

    The pointer is set on every run, not only on the first: asking for a candidate again after another one took the
    channel makes it the candidate again.
    """

    def build(ws: Workspace) -> dict[str, Metric]:
        pointer = registry.make_candidate(ws.store, config.policy, published, check)
        (ws.out / "target.json").write_text(pointer.target.model_dump_json(indent=2))
        return {"policy": config.policy, "candidate": pointer.target.version}

    record = run_stage(
        store=store, stage="release.candidate", kind="evaluations", name=f"{config.policy}-candidate",
        inputs={"published": published, "check": check}, config=config, seed=seed, sources=CHANNELS, build=build,
    )  # fmt: skip
    registry.make_candidate(store, config.policy, published, check)
    return record


def language_gate(
    store: Store,
    config: LanguageGateConfig,
    seed: int,
    *,
    model: StageRecord,
    evaluation: StageRecord,
    base: StageRecord,
) -> StageRecord:
    """Decide on a language model, given how it and the model it was made from (`base`, an evaluation) were judged.

    What is in production is compared with as for a policy, and a refusal is a result here too.
    """

    def build(ws: Workspace) -> dict[str, Metric]:
        from components.release.language_gate import run

        return run(ws, config)

    inputs = {"model": model, "evaluation": evaluation, "base": base} | _production(store, config.policy, model)
    return run_stage(
        store=store, stage=registry.GATE_STAGE, kind="evaluations", name=f"{config.policy}-gate", inputs=inputs,
        config=config, seed=seed, sources=(*LANGUAGE_JUDGE, "data_contracts"), build=build,
    )  # fmt: skip


def language_publish(
    store: Store, config: PublishConfig, seed: int, *, model: StageRecord, evaluation: StageRecord, gate: StageRecord
) -> StageRecord:
    """Publish a language model whose gate passed, and let the channel `candidate` name it. Raises GateRefused.

    The pointer is set on every run, as `candidate` sets it for a policy.
    """

    def build(ws: Workspace) -> dict[str, Metric]:
        from components.release.language_publish import run

        return run(ws, config)

    record = run_stage(
        store=store, stage=registry.PUBLISH_STAGE, kind="models", name=config.policy,
        inputs={"model": model, "evaluation": evaluation, "gate": gate}, config=config, seed=seed,
        sources=LANGUAGE_PUBLISH, build=build,
    )  # fmt: skip
    registry.promote(store, config.policy, record.version, "candidate", reason=f"gate passed: {gate.prefix}")
    return record


def _production(store: Store, policy: str, model: StageRecord) -> dict[str, StageRecord]:
    """The evaluation of the policy in production, as input `production`."""
    rival = registry.production_before(store, policy, model.fingerprint)
    if rival is None:
        return {}
    return {"production": read_input(store, rival.inputs["evaluation"])}
