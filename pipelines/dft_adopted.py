"""DFT on models and data from outside, adopted from where they lie (Wu et al., arXiv 2508.05629, Table 1)."""

from kfp import dsl

from components.dft.component import dft_adopt_chats, dft_adopt_model
from pipelines.dag import titled
from pipelines.dft import Tuned, compared


@dsl.pipeline(name="dft-adopted", display_name="DFT on outside models and data", description=__doc__)
def dft_adopted(
    store: str,
    seed: int,
    adopt_model_config: str,
    adopt_chats_config: str,
    validate_config: str,
    sft_config: str,
    dft_config: str,
    iw_sft_config: str,
    evaluate_config: str,
    analyse_config: str,
    gate_config: str,
    publish_config: str,
) -> Tuned:
    model = titled("Adopt the model", dft_adopt_model(store=store, seed=seed, config=adopt_model_config))
    chats = titled("Adopt the data", dft_adopt_chats(store=store, seed=seed, config=adopt_chats_config))
    arms = {"SFT": sft_config, "DFT": dft_config, "iw-SFT": iw_sft_config}
    return compared(
        store, seed, chats, model, arms, validate_config, evaluate_config, analyse_config, gate_config, publish_config
    )
