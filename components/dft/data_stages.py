"""The stages that make data: `problems` and `validate`, or what is adopted from outside, and a model's own answers.

`adopt_model` and `adopt_chats` take the places of `base` and `problems` for what lies somewhere already. In the offline
setting `sample` writes the chats that are trained on.

Importing this file is cheap, as the other stages' files are: what needs torch or vLLM is imported when a stage really
has to work.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.dft.config import (
    ChatsAdoptConfig,
    ModelAdoptConfig,
    ProblemsStageConfig,
    SampleStageConfig,
    Source,
    ValidateStageConfig,
)
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord

if TYPE_CHECKING:
    from components.agibot.adopt import Upload

GENERATOR_SOURCES = tuple(
    f"components/language/{name}.py"
    for name in ("problems", "word_problems", "expressions", "levels", "solutions", "config")
)
SAMPLING_SOURCES = (*(f"components/dft/{name}.py" for name in ("reading", "benchmarks", "answers")),
                    "components/language", "data_contracts")  # fmt: skip
ADOPTING_SOURCES = (*(f"components/dft/{name}.py" for name in ("adopt", "validate", "reading", "benchmarks")),
                    "components/agibot/adopt.py", "components/language/model.py", "data_contracts/chat.py")  # fmt: skip
CHECKING_SOURCES = (
    *(f"components/dft/{name}.py" for name in ("validate", "checks", "copies", "languages", "reading", "benchmarks")),
    "components/language/tokenise.py", "components/language/boxed.py", "data_contracts",
)  # fmt: skip
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


def adopt_model(store: Store, config: ModelAdoptConfig, seed: int) -> StageRecord:
    """Take a Hugging Face model that lies somewhere already into the store, as an immutable version."""
    if config.role == "auditor" and not config.source.uri:
        return _no_auditor(store, config, seed)
    upload = _upload(store, config.source, f"{config.role}.uri")
    source = config.source.model_copy(update={"fingerprint": upload.fingerprint})

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.adopt import adopt_model

        return adopt_model(config, upload, ws.out)

    return run_stage(
        store=store, stage=_adopting(config), kind="models", name=config.name, inputs={},
        config=config.model_copy(update={"source": source}), seed=seed, sources=ADOPTING_SOURCES, build=build,
    )  # fmt: skip


def _adopting(config: ModelAdoptConfig) -> str:
    return "dft.adopt-model" if config.role == "model" else f"dft.adopt-model-{config.role}"


def _no_auditor(store: Store, config: ModelAdoptConfig, seed: int) -> StageRecord:
    """A version without a model: a pipeline's steps are fixed before anybody says whether there is a judge."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        (ws.out / "none.txt").write_text("No judge was named (auditor.uri); nobody audits what has no known answer.\n")
        return {"files": 0}

    return run_stage(
        store=store, stage=_adopting(config), kind="models", name=config.name, inputs={}, config=config, seed=seed,
        sources=ADOPTING_SOURCES, build=build,
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

        held_out = list(judged_sets(ws).values())
        train = ws.fetch("problems", "train.jsonl")
        return validate_file(config.checks, train, held_out, ws.fetch_tree("model"), ws.out)

    return run_stage(
        store=store, stage="dft.validate", kind="datasets", name=config.name,
        inputs={"problems": problems, "model": model}, config=config, seed=seed, build=build,
        sources=CHECKING_SOURCES,
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
        store=store, stage=f"{SAMPLE_STAGE}{repeated(repetition)}", kind="datasets", name=config.name,
        inputs={"model": model, "chats": chats}, config=config, seed=seed,
        sources=("components/dft/offline.py", *SAMPLING_SOURCES), build=build,
    )  # fmt: skip


def judged_sets(ws: Workspace) -> dict[str, Path]:
    """The files of problems that models are judged by: all but what is trained on; `test` leads."""
    names = [o.path.removesuffix(".jsonl") for o in ws.inputs["problems"].objects]
    judged = sorted((name for name in names if name not in NOT_JUDGED), key=lambda name: name != "test")
    return {name: ws.fetch("problems", f"{name}.jsonl") for name in judged}


def repeated(repetition: str) -> str:
    return f"-{repetition}" if repetition else ""


def _upload(store: Store, source: Source, setting: str) -> Upload:
    from components.agibot.adopt import find_upload
    from components.agibot.config import AdoptConfig

    if not source.uri:
        raise ConfigurationError(
            f"{setting} names nothing yet; say --set {setting}=URI: a folder, a prefix or a store's URL"
        )
    return find_upload(store, AdoptConfig(source=source.uri, fingerprint=source.fingerprint))
