"""R-Zero from a model from outside, judged by problems from outside (Huang et al., arXiv 2508.05004, Table 1)."""

from kfp import dsl

from components.dft.component import dft_adopt_chats, dft_adopt_model
from pipelines.dag import titled
from pipelines.r_zero import Played, curriculum


@dsl.pipeline(name="r-zero-adopted", display_name="R-Zero on outside models", description=__doc__)
def r_zero_adopted(
    store: str,
    seed: int,
    adopt_model_config: str,
    adopt_chats_config: str,
    adopt_auditor_config: str,
    challenger_config: str,
    questions_config: str,
    labels_config: str,
    solver_config: str,
    evaluate_config: str,
    select_config: str,
    further_config: str,
    gate_config: str,
    publish_config: str,
) -> Played:
    model = titled("Adopt the model", dft_adopt_model(store=store, seed=seed, config=adopt_model_config))
    auditor = titled("Adopt the auditor", dft_adopt_model(store=store, seed=seed, config=adopt_auditor_config))
    sets = titled("Adopt the problems", dft_adopt_chats(store=store, seed=seed, config=adopt_chats_config))
    configs = {
        "challenger": challenger_config, "questions": questions_config, "labels": labels_config,
        "solver": solver_config, "evaluate": evaluate_config, "select": select_config, "further": further_config,
        "gate": gate_config, "publish": publish_config,
    }  # fmt: skip
    curriculum(store, seed, sets, model, configs, auditor.output)
    return Played(base=model.output)
