"""Publishing a language model: the judged files, byte for byte, with a bundle and a card.

They were judged through vLLM, the engine that serves them, so nothing has to be asked again before the channel
`candidate` may name them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from components.release.bundle import BundleIncomplete
from components.release.config import PublishConfig
from components.release.decision import gate_and_lineage, passed
from components.release.language_gate import metrics, read_scores
from components.store.records import first_problem
from components.store.stage import Workspace
from data_contracts.bundle import LanguageBundle
from data_contracts.lineage import Metric, StageRecord
from data_contracts.release import Decision

NOT_NEEDED = ("losses.jsonl", "snapshots/")
"""What a training leaves beside its model."""


def run(ws: Workspace, config: PublishConfig) -> dict[str, Metric]:
    """Write the version. Raises GateRefused; ConfigurationError and BundleIncomplete when the model is not whole."""
    from components.language import model as language_model

    decision = passed(ws, config.policy, saw=("evaluation",))
    folder = ws.fetch_tree("model")
    language_model.load_tokenizer(folder)  # config, tokenizer and chat template are there, and fit
    scores = metrics(read_scores(ws, "evaluation"))
    bundle = _bundle(config.policy, folder, language_model.context(folder), ws.inputs, scores)
    for ref in bundle.files:
        target = ws.out / ref.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / ref.path, target)
    (ws.out / "bundle.json").write_text(bundle.model_dump_json(indent=2))
    (ws.out / "card.md").write_text(card(bundle, decision, ws.version))
    return scores | {"policy": config.policy, "gate": ws.inputs["gate"].version}


def _bundle(
    policy: str, folder: Path, context: int, inputs: Mapping[str, StageRecord], scores: dict[str, Metric]
) -> LanguageBundle:
    named = json.loads((folder / "config.json").read_bytes()).get("architectures") or [""]
    try:
        return LanguageBundle(
            policy=policy,
            architecture=named[0],
            context=context,
            files=tuple(ref for ref in inputs["model"].objects if not ref.path.startswith(NOT_NEEDED)),
            lineage={name: record.as_input() for name, record in inputs.items()} | inputs["model"].inputs,
            evaluation=scores,
        )
    except ValidationError as error:
        raise BundleIncomplete(f"{inputs['model'].prefix} can't be published: {first_problem(error)}") from error


def card(bundle: LanguageBundle, decision: Decision, version: str) -> str:
    """The model card, in Markdown."""
    e = bundle.evaluation
    lines = [
        f"# {bundle.policy} {version}",
        "",
        f"A language model ({bundle.architecture}, up to {bundle.context} tokens): this folder is a Hugging Face model "
        "with its tokenizer and chat template. `vllm serve` takes it as it is.",
        "",
        "## Judged on held-out problems (vLLM, temperature 1; an answer without a box is wrong)",
        "",
        "| set | problems | samples of each | right | 95 % interval |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {e[f'{name}/problems']} | {e[f'{name}/samples']} | {e[f'{name}/mean']} | "
            f"{e[f'{name}/low']} to {e[f'{name}/high']} |"
            for name in (key.removesuffix("/mean") for key in e if key.endswith("/mean"))
        ),
        "",
        *gate_and_lineage(decision, bundle.lineage),
        *(f"| {file.path} | | `{file.sha256}` |" for file in bundle.files),
        "",
    ]
    return "\n".join(lines)
