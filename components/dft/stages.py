"""The DFT stages: problems, base, validate, train (its stage bears the loss's name), evaluate, analyse.

`arms` and `table` stand for the last two where many trainings are compared.

`adopt_model` and `adopt_chats` take the places of `base` and `problems` for what comes from outside. In the offline
setting `sample` writes the chats that are trained on, and `dpo` is one more arm; `online` needs none but questions.

Importing this file is cheap: what needs torch or vLLM is imported when a stage really has to work.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.dft.config import (
    AnalyseStageConfig,
    ArmsStageConfig,
    BaseStageConfig,
    ChatsAdoptConfig,
    DpoConfig,
    EvaluateStageConfig,
    FurtherStageConfig,
    ModelAdoptConfig,
    OnlineConfig,
    ProblemsStageConfig,
    SampleStageConfig,
    Source,
    TableStageConfig,
    TuneConfig,
    ValidateStageConfig,
)
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord

if TYPE_CHECKING:
    from components.agibot.adopt import Upload

TRAINING_SOURCES = (
    "components/training",
    *(f"components/dft/{name}.py" for name in ("train", "head", "losses", "loss_config", "reading")),
    *(f"components/language/{name}.py" for name in ("fused", "tokenise", "model", "tokenizer", "config")),
)  # fmt: skip
GENERATOR_SOURCES = tuple(
    f"components/language/{name}.py"
    for name in ("problems", "word_problems", "expressions", "levels", "solutions", "config")
)
SAMPLING_SOURCES = ("components/dft/reading.py", "components/language", "data_contracts")
ADOPTING_SOURCES = ("components/dft/adopt.py", "components/dft/validate.py", "components/dft/reading.py",
                    "components/agibot/adopt.py", "components/language/model.py", "data_contracts/chat.py")  # fmt: skip
CHECKING_SOURCES = (*(f"components/dft/{name}.py" for name in ("validate", "checks", "copies", "reading")),
                    "components/language/tokenise.py", "data_contracts")  # fmt: skip
NOT_JUDGED = ("base", "train", "quarantine")
SAMPLE_STAGE = "dft.sample"


def problems(store: Store, config: ProblemsStageConfig, seed: int) -> StageRecord:
    """The embedded data: `base`, `train`, `test` and `harder`, JSON lines of generated problems; no two share one."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.generate import write_files

        return write_files(config, seed, ws.out)

    return run_stage(
        store=store, stage="dft.problems", kind="datasets", name=config.name, inputs={}, config=config, seed=seed,
        sources=(*GENERATOR_SOURCES, "components/dft/generate.py"), build=build,
    )  # fmt: skip


def base(store: Store, config: BaseStageConfig, seed: int, problems: StageRecord) -> StageRecord:
    """The embedded default model: an own tokenizer and a small network, pretrained on generated problems."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.language import model, tokenizer

        folder = ws.scratch / "start"
        model.create(config.model, tokenizer.create(config.tokenizer, config.problems, seed, folder), seed, folder)
        return _tune(ws, config.tune, seed, folder, ws.fetch("problems", "base.jsonl"))

    return run_stage(
        store=store, stage="dft.base", kind="models", name=config.name, inputs={"problems": problems}, config=config,
        seed=seed, sources=(*TRAINING_SOURCES, *GENERATOR_SOURCES), build=build,
    )  # fmt: skip


def adopt_model(store: Store, config: ModelAdoptConfig, seed: int) -> StageRecord:
    """Take a Hugging Face model that lies somewhere already into the store, as an immutable version."""
    upload = _upload(store, config.source, "model.uri")
    source = config.source.model_copy(update={"fingerprint": upload.fingerprint})

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.adopt import adopt_model

        return adopt_model(config, upload, ws.out)

    return run_stage(
        store=store, stage="dft.adopt-model", kind="models", name=config.name, inputs={},
        config=config.model_copy(update={"source": source}), seed=seed, sources=ADOPTING_SOURCES, build=build,
    )  # fmt: skip


def adopt_chats(store: Store, config: ChatsAdoptConfig, seed: int) -> StageRecord:
    """Take chats to train on and sets of problems to judge by into the store: what `problems` is for generated ones."""
    if not config.sets:
        raise ConfigurationError("no set of problems is named to judge by; say --set sets.NAME=URI")
    uploads = {"train": _upload(store, config.train, "data.uri")} if config.train else {}
    uploads |= {name: _upload(store, source, f"sets.{name}") for name, source in config.sets.items()}
    found = {name: {"fingerprint": upload.fingerprint} for name, upload in uploads.items()}
    effective = config.model_copy(
        update={
            "train": config.train and config.train.model_copy(update=found["train"]),
            "sets": {name: source.model_copy(update=found[name]) for name, source in config.sets.items()},
        }
    )

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.adopt import adopt_chats

        return adopt_chats(config, uploads, seed, ws.scratch, ws.out)

    return run_stage(
        store=store, stage="dft.adopt-chats", kind="datasets", name=config.name, inputs={}, config=effective, seed=seed,
        sources=ADOPTING_SOURCES, build=build,
    )  # fmt: skip


def validate(
    store: Store, config: ValidateStageConfig, seed: int, problems: StageRecord, model: StageRecord
) -> StageRecord:
    """Check the training chats with the tokenizer of the model they are for; what fails is quarantined with reasons."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.validate import validate_file

        held_out = list(_sets(ws).values())
        train = ws.fetch("problems", "train.jsonl")
        return validate_file(config.checks, train, held_out, ws.fetch_tree("model"), ws.out)

    return run_stage(
        store=store, stage="dft.validate", kind="datasets", name=config.name,
        inputs={"problems": problems, "model": model}, config=config, seed=seed, build=build,
        sources=CHECKING_SOURCES,
    )  # fmt: skip


def train(
    store: Store, config: TuneConfig, seed: int, model: StageRecord, chats: StageRecord, repetition: str = ""
) -> StageRecord:
    """Fine-tune a model on validated chats, or on its own right answers, with one loss: an arm of the comparison.

    `repetition` tells stages apart that differ in their seed alone, here and below.
    """
    setting = "offline-" if chats.stage.startswith(SAMPLE_STAGE) else ""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        return _tune(ws, config, seed, ws.fetch_tree("model"), ws.fetch("chats", "accepted.jsonl"))

    return run_stage(
        store=store, stage=f"dft.{setting}{config.loss.variant}{_repeated(repetition)}", kind="models",
        name=config.name, inputs={"model": model, "chats": chats}, config=config, seed=seed,
        sources=TRAINING_SOURCES, build=build,
    )  # fmt: skip


def further(
    store: Store, config: FurtherStageConfig, seed: int, model: StageRecord, problems: StageRecord
) -> StageRecord:
    """Fine-tune a model that was trained otherwise on the training chats of `problems` that pass their checks; it is
    handed on as it is where nothing is to be trained."""
    if config.tune is None:
        return model
    tune = config.tune

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.validate import validate_file

        folder, sets = ws.fetch_tree("model"), list(_sets(ws).values())
        checked = validate_file(config.checks, ws.fetch("problems", "train.jsonl"), sets, folder, ws.scratch)
        return {**checked, **_tune(ws, tune, seed, folder, ws.scratch / "accepted.jsonl")}

    return run_stage(
        store=store, stage=f"dft.further-{tune.loss.variant}", kind="models", name=config.name,
        inputs={"model": model, "problems": problems}, config=config, seed=seed, build=build,
        sources=(*TRAINING_SOURCES, *CHECKING_SOURCES),
    )  # fmt: skip


def sample(
    store: Store, config: SampleStageConfig, seed: int, model: StageRecord, chats: StageRecord, repetition: str = ""
) -> StageRecord:
    """Sample the training questions with vLLM; the right answers as chats, right beside wrong ones as pairs."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.offline import sample_own

        chats = ws.fetch("chats", "accepted.jsonl")
        return sample_own(config, ws.fetch_tree("model"), chats, seed, ws.scratch, ws.out)

    return run_stage(
        store=store, stage=f"{SAMPLE_STAGE}{_repeated(repetition)}", kind="datasets", name=config.name,
        inputs={"model": model, "chats": chats}, config=config, seed=seed,
        sources=("components/dft/offline.py", *SAMPLING_SOURCES), build=build,
    )  # fmt: skip


def dpo(
    store: Store, config: DpoConfig, seed: int, model: StageRecord, pairs: StageRecord, repetition: str = ""
) -> StageRecord:
    """Train a model to prefer its right answers to its wrong ones: the offline setting's rival."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        inputs = {"model": ws.fetch_tree("model"), "pairs": ws.fetch("pairs", "pairs.jsonl")}
        return _trained(ws, "components.dft.dpo:trainee", config, seed, inputs)

    return run_stage(
        store=store, stage=f"dft.dpo{_repeated(repetition)}", kind="models", name=config.name,
        inputs={"model": model, "pairs": pairs}, config=config, seed=seed,
        sources=(*TRAINING_SOURCES, "components/dft/dpo.py"), build=build,
    )  # fmt: skip


def online(
    store: Store, config: OnlineConfig, seed: int, model: StageRecord, chats: StageRecord, repetition: str = ""
) -> StageRecord:
    """Train a model on what it answers as it learns, each answer graded: the online setting's rivals."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        inputs = {"model": ws.fetch_tree("model"), "chats": ws.fetch("chats", "accepted.jsonl")}
        return _trained(ws, "components.dft.online:trainee", config, seed, inputs)

    return run_stage(
        store=store, stage=f"dft.{config.method}{_repeated(repetition)}", kind="models", name=config.name,
        inputs={"model": model, "chats": chats}, config=config, seed=seed,
        sources=("components/training", "components/dft/online.py", "components/dft/offline.py", *SAMPLING_SOURCES),
        build=build,
    )  # fmt: skip


def evaluate(
    store: Store, config: EvaluateStageConfig, seed: int, model: StageRecord, problems: StageRecord
) -> StageRecord:
    """Sample held-out problems with vLLM and grade every sample."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.evaluate import evaluate

        scores = evaluate(config, ws.fetch_tree("model"), model.version, _sets(ws), seed, ws.scratch, ws.out)
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
                 "components/dft/token_classes.py", "components/language/tokenise.py", "components/language/model.py",
                 "data_contracts/scores.py"),
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
    dpo: StageRecord,
    grpo: StageRecord,
    ppo: StageRecord,
    problems: StageRecord,
    chats: StageRecord,
    repetition: str,
) -> StageRecord:
    """Judge the models of a repetition of `dft_paper`, and what each training did to its tokens."""
    models = {"base": base, "sft": sft, "dft": dft, "iw_sft": iw_sft, "asft": asft, "rft": rft, "own_dft": own_dft,
              "dpo": dpo, "grpo": grpo, "ppo": ppo}  # fmt: skip
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
        judged = judge_arms(config, folders, _sets(ws), chats, seed, ws.scratch, ws.out)
        return {f"{arm}/{name}": round(scores.mean.value, 4)
                for arm, trained in judged.arms.items() for name, scores in trained.sets.items()}  # fmt: skip

    return run_stage(
        store=store, stage=f"{stage}{_repeated(repetition)}", kind="evaluations", name=config.name,
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


def _repeated(repetition: str) -> str:
    return f"-{repetition}" if repetition else ""


def _sets(ws: Workspace) -> dict[str, Path]:
    """The files of problems that models are judged by: all but those that are trained on."""
    names = [o.path.removesuffix(".jsonl") for o in ws.inputs["problems"].objects]
    return {name: ws.fetch("problems", f"{name}.jsonl") for name in names if name not in NOT_JUDGED}


def _upload(store: Store, source: Source, setting: str) -> Upload:
    from components.agibot.adopt import find_upload
    from components.agibot.config import AdoptConfig

    if not source.uri:
        raise ConfigurationError(
            f"{setting} names nothing yet; say --set {setting}=URI: a folder, a prefix or a store's URL"
        )
    return find_upload(store, AdoptConfig(source=source.uri, fingerprint=source.fingerprint))


def _short(model: StageRecord) -> str:
    """`base`, or the arm."""
    return model.stage.removeprefix("dft.")


def _tune(ws: Workspace, config: TuneConfig, seed: int, model: Path, chats: Path) -> Mapping[str, Metric]:
    return _trained(ws, "components.dft.train:trainee", config, seed, {"model": model, "chats": chats})


def _trained(
    ws: Workspace, entry: str, config: TuneConfig | DpoConfig | OnlineConfig, seed: int, inputs: Mapping[str, Path]
) -> Mapping[str, Metric]:
    from components.launcher.train import train
    from components.training.job import Job

    job = Job(
        entry=entry, config=config.model_dump(mode="json"), train=config.train, seed=seed,
        inputs={name: str(path) for name, path in inputs.items()}, out=str(ws.out), scratch=str(ws.scratch),
    )  # fmt: skip
    return train(ws, job)
