"""The stages that judge: `evaluate` and `analyse` for one model; `arms`, `players` and `table` to compare trainings."""

from __future__ import annotations

from collections.abc import Mapping

from components.dft.config import AnalyseStageConfig, ArmsStageConfig, EvaluateStageConfig, TableStageConfig
from components.dft.data_stages import SAMPLING_SOURCES, judged_sets, repeated
from components.store.api import Store
from components.store.records import find_record
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord
from data_contracts.scores import Scores

BESIDE_WEIGHTS = ("losses.jsonl", "rollouts.jsonl", "selection.json")
"""What a model's folder also holds: of how it was made."""


def evaluate(
    store: Store, config: EvaluateStageConfig, seed: int, model: StageRecord, problems: StageRecord
) -> StageRecord:
    """Sample held-out problems with vLLM and grade every sample; a copy of a model that was judged so already has its
    scores."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.evaluate import evaluate

        if known := _known_scores(store, config, seed, model, problems):
            scores = _hand_on(ws, known, model.version)
        else:
            scores = evaluate(config, ws.fetch_tree("model"), model.version, judged_sets(ws), seed, ws.scratch, ws.out)
        metrics: dict[str, Metric] = {}
        for name, found in scores.sets.items():
            for kind, share in (("greedy", found.greedy), ("mean", found.mean)):
                metrics |= {f"{name}_{kind}": round(share.value, 4), f"{name}_{kind}_low": round(share.low, 4),
                            f"{name}_{kind}_high": round(share.high, 4)}  # fmt: skip
        return metrics

    return run_stage(
        store=store, stage=f"dft.evaluate-{_short(model)}", kind="evaluations", name=config.name,
        inputs={"model": model, "problems": problems}, config=config, seed=seed, build=build,
        sources=("components/dft/evaluate.py", *SAMPLING_SOURCES),
    )  # fmt: skip


def _known_scores(
    store: Store, config: EvaluateStageConfig, seed: int, model: StageRecord, problems: StageRecord
) -> StageRecord | None:
    """An evaluation among what the model was made from, that judged the same weights by the same problems in the same
    way: R-Zero's best iteration was judged to be chosen."""
    asked = (config.model_dump(mode="json"), seed, problems.fingerprint)
    for ref in model.inputs.values():
        if not ref.stage.startswith("dft.evaluate-"):
            continue
        found = find_record(store, ref.prefix)
        if found is None or asked != (found.config, found.seed, found.inputs["problems"].fingerprint):
            continue
        judged = find_record(store, found.inputs["model"].prefix)
        if judged is not None and _sampled_from(judged) == _sampled_from(model):
            return found
    return None


def _sampled_from(model: StageRecord) -> set[tuple[str, str]]:
    """What an engine reads of a model: weights, tokenizer, templates, each with its hash."""
    return {(o.path, o.sha256) for o in model.objects if o.path not in BESIDE_WEIGHTS}


def _hand_on(ws: Workspace, known: StageRecord, version: str) -> Scores:
    """The known scores under the copy's version, and the samples as they lie there."""
    for ref in known.objects:
        if ref.path != "scores.json":
            ws.refer(ref.path, known.key_of(ref), ref.size, ref.sha256)
    ref = known.object("scores.json")
    found = Scores.model_validate_json(ws.store.read(known.key_of(ref), ref.sha256))
    scores = found.model_copy(update={"model": version})
    (ws.out / "scores.json").write_text(scores.model_dump_json(indent=1))
    return scores


def analyse(
    store: Store, config: AnalyseStageConfig, seed: int, before: StageRecord, after: StageRecord, chats: StageRecord
) -> StageRecord:
    """The probabilities of the trained tokens before and after a training."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.analyse import analyse

        folders = ws.fetch_tree("before"), ws.fetch_tree("after")
        found = analyse(config, *folders, after.version, ws.fetch("chats", "accepted.jsonl"), ws.out)
        return {
            "bimodality_before": round(found.bimodality_before, 4),
            "bimodality_after": round(found.bimodality_after, 4),
            "low_after": round(found.low_after, 4),
            "entropy_after": round(found.entropy_after, 4),
            "distance": round(found.distance, 4),
        }

    return run_stage(
        store=store, stage=f"dft.analyse-{_short(after)}", kind="evaluations", name=config.name,
        inputs={"before": before, "after": after, "chats": chats}, config=config, seed=seed, build=build,
        sources=("components/dft/analyse.py", "components/language/fused.py", "components/dft/reading.py",
                 "components/dft/benchmarks.py", "components/dft/token_classes.py",
                 "components/language/tokenise.py", "components/language/model.py", "data_contracts/scores.py"),
    )  # fmt: skip


def arms(
    store: Store,
    config: ArmsStageConfig,
    seed: int,
    base: StageRecord,
    sft: StageRecord,
    dft: StageRecord,
    iw_sft: StageRecord,
    asft: StageRecord,
    rft: StageRecord,
    own_dft: StageRecord,
    own_iw_sft: StageRecord,
    dpo: StageRecord,
    grpo: StageRecord,
    ppo: StageRecord,
    problems: StageRecord,
    chats: StageRecord,
    repetition: str,
) -> StageRecord:
    """Judge the models of a repetition of `dft_paper`, and what each training did to its tokens."""
    models = {"base": base, "sft": sft, "dft": dft, "iw_sft": iw_sft, "asft": asft, "rft": rft, "own_dft": own_dft,
              "own_iw_sft": own_iw_sft, "dpo": dpo, "grpo": grpo, "ppo": ppo}  # fmt: skip
    return _judged(store, "dft.arms", config, seed, models, {"problems": problems, "chats": chats}, repetition)


def players(
    store: Store,
    config: ArmsStageConfig,
    seed: int,
    base: StageRecord,
    first: StageRecord,
    second: StageRecord,
    third: StageRecord,
    untrained: StageRecord,
    unpenalised: StageRecord,
    unfiltered: StageRecord,
    problems: StageRecord,
    repetition: str,
) -> StageRecord:
    """Judge the solvers of a repetition of `r_zero_paper`."""
    models = {"base": base, "first": first, "second": second, "third": third, "untrained": untrained,
              "unpenalised": unpenalised, "unfiltered": unfiltered}  # fmt: skip
    return _judged(store, "dft.players", config, seed, models, {"problems": problems}, repetition)


def _judged(
    store: Store,
    stage: str,
    config: ArmsStageConfig,
    seed: int,
    models: Mapping[str, StageRecord],
    data: Mapping[str, StageRecord],
    repetition: str,
) -> StageRecord:
    """Judge models with one engine."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.arms import judge_arms

        folders = {arm: (ws.fetch_tree(arm), record.version) for arm, record in models.items()}
        chats = ws.fetch("chats", "accepted.jsonl") if "chats" in data else None
        judged = judge_arms(config, folders, judged_sets(ws), chats, seed, ws.scratch, ws.out)
        return {f"{arm}/{name}": round(scores.mean.value, 4)
                for arm, trained in judged.arms.items() for name, scores in trained.sets.items()}  # fmt: skip

    return run_stage(
        store=store, stage=f"{stage}{repeated(repetition)}", kind="evaluations", name=config.name,
        inputs={**models, **data}, config=config, seed=seed, build=build,
        sources=("components/dft/arms.py", "components/dft/evaluate.py", "components/dft/analyse.py",
                 "components/dft/token_classes.py", *SAMPLING_SOURCES),
    )  # fmt: skip


def table(
    store: Store, config: TableStageConfig, seed: int, first: StageRecord, second: StageRecord, third: StageRecord
) -> StageRecord:
    """The table over three repetitions, a row per arm."""
    repetitions = {"first": first, "second": second, "third": third}

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.arms import table
        from data_contracts.arms import Judged

        judged = [Judged.model_validate_json(ws.fetch(name, "arms.json").read_bytes()) for name in repetitions]
        found = table(judged, config.against)
        (ws.out / "table.json").write_text(found.model_dump_json(indent=1))
        return {f"{arm}/{name}": round(on_set.mean.value, 4)
                for arm, row in found.rows.items() for name, on_set in row.sets.items()}  # fmt: skip

    return run_stage(
        store=store, stage="dft.table", kind="evaluations", name=config.name, inputs=repetitions, config=config,
        seed=seed, sources=("components/dft/arms.py", "components/dft/token_classes.py", "data_contracts"), build=build,
    )  # fmt: skip


def _short(model: StageRecord) -> str:
    """`base`, or the arm."""
    return model.stage.removeprefix("dft.")
