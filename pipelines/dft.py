"""DFT: dynamic fine-tuning beside the losses it claims to beat: one arm each, the same data, judged alike.

(Wu et al., arXiv 2508.05629: the loss -sg(p) log p; Table 1 and the ablations.)
"""

from collections.abc import Mapping
from typing import NamedTuple

from kfp import dsl
from kfp.dsl import PipelineTask

from components.dft.component import dft_analyse, dft_base, dft_evaluate, dft_problems, dft_train, dft_validate
from components.release.component import release_language_gate, release_language_publish
from pipelines.dag import titled


class Tuned(NamedTuple):
    base: str
    sft: str
    dft: str
    released: str


def compared(
    store: str,
    seed: int,
    problems: PipelineTask,
    base: PipelineTask,
    arms: Mapping[str, str],
    validate_config: str,
    evaluate_config: str,
    analyse_config: str,
    gate_config: str,
    publish_config: str,
) -> Tuned:
    """The arms (title -> configuration) from `base` on the chats of `problems`, judged; the DFT arm to the gate."""
    chats = dft_validate(store=store, seed=seed, config=validate_config, problems=problems.output, model=base.output)
    titled("Validate", chats)

    def judged(title: str, model: PipelineTask) -> PipelineTask:
        task = dft_evaluate(
            store=store, seed=seed, config=evaluate_config, model=model.output, problems=problems.output
        )
        return titled(f"Judge: {title}", task)

    base_scores = judged("base", base)
    models, scores = {}, {}
    for title, config in arms.items():
        model = dft_train(store=store, seed=seed, config=config, model=base.output, chats=chats.output)
        analysis = dft_analyse(
            store=store, seed=seed, config=analyse_config, before=base.output, after=model.output, chats=chats.output
        )
        titled(f"Arm: {title}", model)
        titled(f"Tokens: {title}", analysis)
        models[title], scores[title] = model, judged(title, model)
    tuned, theirs = models["DFT"], scores["DFT"]
    gate = release_language_gate(
        store=store, seed=seed, config=gate_config, model=tuned.output, evaluation=theirs.output,
        base=base_scores.output,
    )  # fmt: skip
    gate.after(*scores.values())  # a refusal ends the run, but never the comparison
    published = release_language_publish(
        store=store, seed=seed, config=publish_config, model=tuned.output, evaluation=theirs.output, gate=gate.output
    )
    titled("Gate: DFT", gate)
    titled("Publish as candidate", published)
    return Tuned(base=base.output, sft=models["SFT"].output, dft=tuned.output, released=published.output)


@dsl.pipeline(name="dft", display_name="DFT", description=__doc__)
def dft(
    store: str,
    seed: int,
    problems_config: str,
    base_config: str,
    validate_config: str,
    sft_config: str,
    dft_config: str,
    iw_sft_config: str,
    asft_config: str,
    evaluate_config: str,
    analyse_config: str,
    gate_config: str,
    publish_config: str,
) -> Tuned:
    problems = titled("Problems", dft_problems(store=store, seed=seed, config=problems_config))
    base = dft_base(store=store, seed=seed, config=base_config, problems=problems.output)
    titled("Base model", base)
    arms = {"SFT": sft_config, "DFT": dft_config, "iw-SFT": iw_sft_config, "ASFT": asft_config}
    return compared(
        store, seed, problems, base, arms, validate_config, evaluate_config, analyse_config, gate_config, publish_config
    )
