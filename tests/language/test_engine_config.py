"""What a vLLM engine is told. If these fail, a recipe for GPUs ends hours later in vLLM's own refusal, or two engines
share a GPU whose memory each believes to be its own.

There is no GPU here: what is shown is that vLLM understands what it would be told there.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.language import model as language_model
from components.language import vllm_command
from components.language.engine_config import EngineConfig
from components.language.online import trainers_gpus
from components.language.sampling import open_engine
from components.language.vllm_command import arguments, environment, require_build, rollout_python
from components.store.errors import ConfigurationError
from pipelines.placement import engine_gpus, training_ranks
from pipelines.recipes import RECIPES, recipe
from tests.engines import qwen

GPU = EngineConfig(device="gpu", dtype="bfloat16", enforce_eager=False, tensor_parallel_size=2, max_model_len=8192)
PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
for told in json.load(sys.stdin):
    found = parser.parse_args(told)
    validate_parsed_serve_args(found)
    print("PARSED", json.dumps({name: getattr(found, name) for name in sys.argv[1:]}))
"""
"""vLLM's own reading of its arguments, as its server does it."""
READ = (
    "dtype", "tensor_parallel_size", "enforce_eager", "gpu_memory_utilization", "kv_cache_memory_bytes",
    "max_model_len", "max_num_seqs", "enable_chunked_prefill", "seed", "generation_config",
)  # fmt: skip


def engines() -> dict[str, EngineConfig]:
    """Of every recipe that samples."""
    return {
        f"{track}/{name}": found
        for track, of_track in RECIPES.items()
        for name in of_track
        if isinstance(found := getattr(recipe(track, name), "engine", None), EngineConfig)
    }


def test_vllm_understands_what_every_recipe_tells_it() -> None:
    """Breaks if vLLM renamed an argument, or a value of a recipe were none of those that it takes."""
    found = engines()
    assert {"dft/tiny", "dft_adopted/qwen2_5_math_1_5b", "r_zero/bench", "r_zero_adopted/qwen3_8b"} <= found.keys()
    configs = [config.model_copy(update={"max_model_len": config.max_model_len or 512}) for config in found.values()]
    told = [arguments(config, Path("/model"), Path("/socket")) for config in configs]
    command = [str(rollout_python()), "-I", "-c", PARSE, *READ]
    done = subprocess.run(command, input=json.dumps(told), capture_output=True, text=True, timeout=240, cwd="/tmp")
    assert done.returncode == 0, done.stderr[-2000:]
    read = [json.loads(line.split(" ", 1)[1]) for line in done.stdout.splitlines() if line.startswith("PARSED ")]
    for config, one in zip(configs, read, strict=True):
        for name in ("dtype", "tensor_parallel_size", "enforce_eager", "max_model_len", "max_num_seqs"):
            assert one[name] == getattr(config, name)
        assert (one["seed"], one["generation_config"]) == (0, "vllm")
        if config.device == "gpu":
            assert (one["gpu_memory_utilization"], one["kv_cache_memory_bytes"]) == (0.9, None)
            assert one["enable_chunked_prefill"] is None, "vLLM's to decide"
        else:
            assert (one["kv_cache_memory_bytes"], one["enable_chunked_prefill"]) == (1 << 30, False)


def test_a_cpu_is_told_what_it_always_was(tmp_path: Path) -> None:
    """Breaks if the settings for GPUs changed those of the small networks, with which every figure was measured."""
    config = EngineConfig(max_model_len=512)
    assert set(arguments(config, Path("/m"), Path("/s"))) == {
        "--model=/m", "--served-model-name=model", "--uds=/s", "--dtype=float32", "--enforce-eager",
        "--tensor-parallel-size=1", "--no-enable-chunked-prefill", "--max-num-batched-tokens=4096",
        "--max-model-len=512", "--max-num-seqs=256", "--kv-cache-memory-bytes=1073741824", "--generation-config=vllm",
        "--seed=0", "--disable-uvicorn-access-log",
    }  # fmt: skip
    told = environment(config, Path("/e/bin/python"), tmp_path, first_gpu=2)
    assert (told["TORCH_COMPILE_DISABLE"], told["VLLM_ENABLE_V1_MULTIPROCESSING"]) == ("1", "0")


def test_secrets_stay_out_of_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for config in (EngineConfig(max_model_len=512), GPU):
        assert "hidden" not in environment(config, Path("/e/bin/python"), tmp_path, first_gpu=0).values()


@pytest.mark.parametrize(
    ("visible", "first", "own"), [("4,5,6,7", 0, "4,5"), ("4,5,6,7", 2, "6,7"), ("GPU-a,GPU-b,GPU-c", 1, "GPU-b,GPU-c")]
)
def test_an_engine_sees_its_own_gpus(
    visible: str, first: int, own: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Breaks if an engine took nine tenths of the GPU that a trainer's weights lie in: both would end out of memory."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    told = environment(GPU, Path("/e/bin/python"), tmp_path, first)
    assert told["CUDA_VISIBLE_DEVICES"] == own
    assert "TORCH_COMPILE_DISABLE" not in told, "graphs are compiled"
    assert told["VLLM_USE_FLASHINFER_SAMPLER"] == "0", "nothing is there to compile it with"


@pytest.mark.parametrize("visible", ["4,5,6,7", ""])
def test_too_few_gpus_are_named(visible: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ConfigurationError, match=r"wants GPUs 3 to 4, and [0-9] are here; lower engine\.tensor_par"):
        environment(GPU, Path("/e/bin/python"), tmp_path, first_gpu=3)


def test_an_engine_for_gpus_needs_vllms_build_for_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Breaks if the CPU build were started with a GPU's settings: it would compute 8 billion weights on the CPU."""
    qwen.write_model(tmp_path)
    mend = r"engine\.device is gpu, but .* holds vLLM's cpu build; build .* ENGINE=cuda`, .*engine-cuda\.lock in ORR"
    with pytest.raises(ConfigurationError, match=mend):
        open_engine(tmp_path, tmp_path / "log", GPU)
    assert not (tmp_path / "log").exists(), "nothing was started"
    packages = tmp_path / "lib/python3.11/site-packages"
    (packages / "vllm-0.32.0.dist-info").mkdir(parents=True)
    require_build(tmp_path / "bin/python", GPU)
    with pytest.raises(ConfigurationError, match=r"engine\.device is cpu.*holds vLLM's gpu build.* ENGINE=cpu`"):
        require_build(tmp_path / "bin/python", EngineConfig())
    assert vllm_command.rollout_python()


@pytest.mark.parametrize(
    ("track", "settings", "message"),
    [
        ("r_zero", ["engine.enforce_eager=false"], r"engine\.enforce_eager=false records graphs of a GPU; set"),
        ("r_zero", ["engine.device=gpu"], r"engine\.device is gpu, with 1 .*set cluster\.accelerator"),
        ("dft", ["engine.device=gpu", "engine.tensor_parallel_size=4"], r"engine\.device is gpu, with 4 "),
        ("dft", ["engine.dtype=float8"], r"engine\.dtype"),
        ("dft", ["engine.max_model_len=64"], r"engine\.max_model_len 64 leaves no room .* raise it, or set 0"),
        ("r_zero", ["engine.max_model_len=192"], r"engine\.max_model_len 192 leaves no room .* beside 192 tokens"),
        ("dft", ["engine.gpu_memory_utilization=1"], r"engine\.gpu_memory_utilization"),
    ],
)
def test_settings_that_can_not_run_are_refused_with_the_mend(track: str, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        recipe(track, "tiny", settings)


def test_trainers_and_engines_share_out_a_node_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a step asked its cluster for fewer GPUs than its trainer and engines take, or a node had too few."""
    for name in RECIPES["r_zero_adopted"]:
        stages = recipe("r_zero_adopted", name).stages()
        asked = {stage: training_ranks(config) + engine_gpus(config) for stage, config in stages.items()}
        assert asked["challenger"] == 8 == 4 + 2 + 2, "trainer, policy, frozen solver"
        assert asked["solver"] == 4 + 2
        assert asked["questions"] == asked["labels"] == asked["evaluate"] == 2
        assert max(asked.values()) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # torchrun's, of this node's trainers
    assert trainers_gpus() == 4


def test_weights_are_written_in_the_engines_number_format(tmp_path: Path) -> None:
    """Breaks if a policy of 8 billion weights were written in twice its bytes at each rollout, or another's head."""
    qwen.write_model(tmp_path / "from")
    network, tokenizer = (of.from_pretrained(tmp_path / "from") for of in (AutoModelForCausalLM, AutoTokenizer))
    language_model.save_for_engine(network, tokenizer, tmp_path / "served", GPU.dtype)
    served = AutoModelForCausalLM.from_pretrained(tmp_path / "served", dtype="auto")
    assert (served.dtype, served.config.tie_word_embeddings) == (torch.bfloat16, False)
    assert network.dtype == torch.float32, "the policy itself is left as it was"
    for name, value in network.state_dict().items():
        torch.testing.assert_close(served.state_dict()[name], value.bfloat16(), atol=0, rtol=0)
