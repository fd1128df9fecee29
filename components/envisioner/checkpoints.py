"""Weights on disk: safetensors, loaded strictly, with a report of what came from where.

Names follow the released checkpoints: GE-Base's tensors as they are, the action expert's behind `action_`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.envisioner.ge_act import GEAct


@dataclass(frozen=True)
class Coverage:
    """What a load did: how many tensors it loaded, and which ones of the file the network has no place for."""

    loaded: int
    unread: tuple[str, ...]


def state_dict(network: GEAct) -> dict[str, Tensor]:
    """Tensors by their released names."""
    out = {name: tensor.detach().contiguous() for name, tensor in network.video.state_dict().items()}
    if network.action is not None:
        out |= {f"action_{name}": tensor.detach().contiguous() for name, tensor in network.action.state_dict().items()}
    return out


def save(network: GEAct, path: Path) -> None:
    save_file(state_dict(network), str(path))


def load(network: GEAct, path: Path) -> Coverage:
    """Load all of the network from `path`, strictly: every tensor must match by name and shape.

    Raises:
        ValueError: the file is not safetensors, or tensors are missing, unexpected or of another shape; each is named.
    """
    video, action = _read(path)
    _load_strict("GE-Base", network.video, video)
    if network.action is None:
        return Coverage(len(video), tuple(sorted(action)))
    _load_strict("action expert", network.action, action)
    return Coverage(len(video) + len(action), ())


def load_video(network: GEAct, path: Path) -> Coverage:
    """Load GE-Base alone, strictly; the expert stays as it is, and one in the file is left unread and reported."""
    video, action = _read(path)
    _load_strict("GE-Base", network.video, video)
    return Coverage(len(video), tuple(sorted(action)))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """GE-Base's tensors, and the action expert's without their prefix."""
    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is not a readable safetensors file: {error}") from error
    action = {name.removeprefix("action_"): t for name, t in tensors.items() if name.startswith("action_")}
    video = {name: t for name, t in tensors.items() if not name.startswith("action_")}
    return video, action


def _load_strict(part: str, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    want = module.state_dict()
    missing = sorted(want.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - want.keys())
    shapes = [
        f"{name}: file {tuple(tensors[name].shape)}, network {tuple(want[name].shape)}"
        for name in sorted(want.keys() & tensors.keys())
        if want[name].shape != tensors[name].shape
    ]
    if missing or unexpected or shapes:
        lines = [f"{len(names)} {what}, e.g. {names[:3]}" for what, names in
                 (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)) if names]  # fmt: skip
        raise ValueError(f"the weights do not fit the {part}: " + "; ".join(lines))
    module.load_state_dict(tensors)
