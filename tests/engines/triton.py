"""A small but whole policy, published by hand, for tests that need the real network or the real Triton server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from components.envisioner import checkpoints
from components.envisioner.codec import BlockCodec
from components.envisioner.config import ActionConfig, CodecConfig, NetworkConfig, TextConfig, VideoConfig
from components.envisioner.ge_act import GEAct
from components.release.triton_repository import write_repository
from data_contracts.action import ActionSchema, Normalisation, action_names
from data_contracts.bundle import MemoryPolicy, PolicyBundle
from data_contracts.lineage import InputRef, ObjectRef

VERSION = "0123456789abcdef"
POLICY = "press-test"
CAMERAS = ("head_color", "hand_left_color")


def network_config() -> NetworkConfig:
    """The same classes as everywhere, as small as they get: 16x24 pixels, two blocks."""
    return NetworkConfig(
        video=VideoConfig(
            latent_channels=8, layers=2, heads=2, head_dim=16, text_width=16, max_views=2, memory_frames=3,
            spatial_stride=8, temporal_stride=8,
        ),
        action=ActionConfig(action_width=16, heads=2, head_dim=8),
        codec=CodecConfig(kind="block-pca", channels=8, spatial_stride=8, temporal_stride=8),
        text=TextConfig(kind="hashed-words", width=16, tokens=8),
        image_height=16,
        image_width=24,
    )  # fmt: skip


def action_schema() -> ActionSchema:
    width = 16
    normal = Normalisation(mean=tuple(0.01 * i for i in range(width)), std=(0.5,) * width)
    return ActionSchema(
        space="joint", form="relative", width=width, names=action_names("joint", 7), action=normal, state=normal
    )


def write_networks(folder: Path, seed: int = 0) -> None:
    """`model.safetensors`, `codec.safetensors`, `network.json` and `action.json`, as the training stages leave them.

    Weights are drawn, not trained; every one of them is non-zero, so that memory, text and state all reach the actions.
    """
    config = network_config()
    generator = torch.Generator().manual_seed(seed)
    network, codec = GEAct(config), BlockCodec(config.codec)
    with torch.no_grad():
        for module in (network, codec):
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.is_floating_point():
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
        codec.still_scale.fill_(1.0)
        codec.group_scale.fill_(1.0)
    checkpoints.save(network, folder / "model.safetensors")
    save_file(codec.state_dict(), str(folder / "codec.safetensors"))
    (folder / "network.json").write_text(config.model_dump_json())
    (folder / "action.json").write_text(action_schema().model_dump_json())


def object_ref(file: Path) -> ObjectRef:
    data = file.read_bytes()
    return ObjectRef(path=file.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def write_version(folder: Path, version: str = VERSION) -> PolicyBundle:
    """A whole published version: bundle, weights, codec and Triton repository."""
    write_networks(folder)
    config = network_config()
    bundle = PolicyBundle(
        policy=POLICY,
        embodiment="agibot_g1",
        network=config.model_dump(mode="json"),
        weights=object_ref(folder / "model.safetensors"),
        codec=object_ref(folder / "codec.safetensors"),
        cameras=CAMERAS,
        image_height=config.image_height,
        image_width=config.image_width,
        action=action_schema(),
        memory=MemoryPolicy(frames=config.video.memory_frames, stride_steps=30),
        control_rate_hz=30.0,
        execute_steps=18,
        sampling_steps=4,
        instructions=("press the red button", "press the blue button"),
        lineage={
            "model": InputRef(stage="ge_act.specialize", prefix="models/x/0", version=VERSION, fingerprint="0" * 64)
        },
        evaluation={"policy/press/success": 0.5},
    )
    (folder / "bundle.json").write_text(bundle.model_dump_json())
    write_repository(folder, bundle, version)
    return bundle
