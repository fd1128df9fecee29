"""DFT: dynamic fine-tuning beside the losses it claims to beat: one arm each, the same data, judged alike.

(Wu et al., arXiv 2508.05629: the loss -sg(p) log p; Table 1 and the ablations.)
"""

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
    problems = dft_problems(store=store, seed=seed, config=problems_config)
    base = dft_base(store=store, seed=seed, config=base_config, problems=problems.output)
    chats = dft_validate(store=store, seed=seed, config=validate_config, problems=problems.output, model=base.output)
    titled("Problems", problems)
    titled("Base model", base)
    titled("Validate", chats)

    def judged(title: str, model: PipelineTask) -> PipelineTask:
        task = dft_evaluate(
            store=store, seed=seed, config=evaluate_config, model=model.output, problems=problems.output
        )
        return titled(f"Judge: {title}", task)

    def arm(title: str, config: str) -> tuple[PipelineTask, PipelineTask]:
        """The trained model, and its scores."""
        model = dft_train(store=store, seed=seed, config=config, model=base.output, chats=chats.output)
        analysis = dft_analyse(
            store=store, seed=seed, config=analyse_config, before=base.output, after=model.output, chats=chats.output
        )
        titled(f"Arm: {title}", model)
        titled(f"Tokens: {title}", analysis)
        return model, judged(title, model)

    base_scores = judged("base", base)
    sft, sft_scores = arm("SFT", sft_config)
    tuned, scores = arm("DFT", dft_config)
    _, iw_sft_scores = arm("iw-SFT", iw_sft_config)
    _, asft_scores = arm("ASFT", asft_config)
    gate = release_language_gate(
        store=store, seed=seed, config=gate_config, model=tuned.output, evaluation=scores.output,
        base=base_scores.output,
    )  # fmt: skip
    gate.after(sft_scores, iw_sft_scores, asft_scores)  # a refusal ends the run, but never the comparison
    published = release_language_publish(
        store=store, seed=seed, config=publish_config, model=tuned.output, evaluation=scores.output, gate=gate.output
    )
    titled("Gate: DFT", gate)
    titled("Publish as candidate", published)
    return Tuned(base=base.output, sft=sft.output, dft=tuned.output, released=published.output)
