"""An engine of two processes that compute in bfloat16, as a policy's is on GPUs: new weights reach both.

It lies here because it takes a minute of processor time: four processes load vLLM.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.language import model as language_model
from components.language.engine_config import EngineConfig
from components.language.samples import SamplingConfig
from components.language.sampling import open_engine, sample
from tests.engines import qwen


@pytest.mark.timeout(900)
def test_new_weights_reach_an_engine_in_bfloat16_that_two_processes_share(tmp_path: Path) -> None:
    """As a policy on GPUs is sampled. Breaks if new weights reached one part of the network only, or another number
    format than the engine's were left in the folder."""
    qwen.write_model(tmp_path / "from")
    network, tokenizer = (of.from_pretrained(tmp_path / "from") for of in (AutoModelForCausalLM, AutoTokenizer))
    served, prompts = tmp_path / "served", [list(text.encode("ascii")) for text in ("2+3=", "How many apples?")]
    config = EngineConfig(dtype="bfloat16", tensor_parallel_size=2, kv_cache_mib=64, max_num_seqs=8, threads=1)
    drawn = SamplingConfig(temperature=0, max_tokens=12, logprobs=True)
    written = []
    language_model.save_for_engine(network, tokenizer, served, config.dtype)
    with open_engine(served, tmp_path / "vllm.log", config) as server:
        for turn in range(2):
            if turn:
                random = torch.Generator().manual_seed(1)
                with torch.no_grad():
                    for parameter in network.parameters():
                        parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
                language_model.save_for_engine(network, tokenizer, served, config.dtype)
                server.reload()
            rounded = AutoModelForCausalLM.from_pretrained(served, dtype="auto")
            assert rounded.dtype == torch.bfloat16
            for sampled in sample(server, prompts, drawn):
                prompt, [completion] = prompts[sampled.index], sampled.completions
                ids = torch.tensor([[*prompt, *completion.token_ids]])
                with torch.inference_mode():
                    logprobs = rounded.float()(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                expected = logprobs.gather(1, ids[0, len(prompt) :, None])[:, 0].tolist()
                assert completion.logprobs == pytest.approx(expected, abs=0.25), "within bfloat16's rounding"
                written.append(completion.token_ids)
    assert len(set(written)) == 4, "other weights write other words"
