"""Closed-loop evaluation: every arm acts on the same scenes, and the result depends on nothing but their seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from components.envisioner import checkpoints
from components.envisioner.codec import BlockCodec
from components.envisioner.config import ActionConfig, CodecConfig, NetworkConfig, TextConfig, VideoConfig
from components.envisioner.ge_act import GEAct
from components.ge_act.config import EvaluateConfig
from components.ge_act.evaluate import ArmFiles, evaluate
from data_contracts.action import ActionSchema, Normalisation, action_names

NETWORK = NetworkConfig(
    video=VideoConfig(
        latent_channels=8, layers=1, heads=1, head_dim=16, text_width=4, max_views=1, spatial_stride=16, memory_frames=2
    ),
    action=ActionConfig(action_width=14, heads=1, head_dim=16),
    codec=CodecConfig(kind="block-pca", channels=8, spatial_stride=16),
    text=TextConfig(kind="hashed-words", width=4, tokens=4),
    image_height=48,
    image_width=64,
)


def config(arm: str, **changes: object) -> EvaluateConfig:
    return EvaluateConfig.model_validate(
        {"name": "test", "arm": arm, "tasks": [("press", 1)], "episodes": 2, "videos": 0, "processes": 1} | changes
    )


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> ArmFiles:
    """A policy as training publishes it, with a snapshot, but never trained."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    checkpoints.save(GEAct(NETWORK), folder / "model.safetensors")
    (folder / "snapshots").mkdir()
    checkpoints.save(GEAct(NETWORK), folder / "snapshots" / "step-0000030.safetensors")
    (folder / "network.json").write_text(NETWORK.model_dump_json())
    still = Normalisation(mean=(0.4, 0.2, 0.2, 2.6, 0.0, 1.6, 1.0) * 2, std=(0.01,) * 14)
    schema = ActionSchema(
        space="eef14", form="absolute", width=14, names=action_names("eef14", 7), action=still, state=still
    )
    (folder / "action.json").write_text(schema.model_dump_json())
    log = [{"step": step, "seconds": 2.0 * step, "loss": 1.0} for step in (10, 20, 30, 40, 60)]
    (folder / "losses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    codec = BlockCodec(NETWORK.codec)
    codec.fit("still", torch.randn(64, 768))
    codec.fit("group", torch.randn(64, 768 * 8))
    save_file(codec.state_dict(), str(folder / "codec.safetensors"))
    return ArmFiles(model=folder, codec=folder / "codec.safetensors")


@pytest.mark.slow
def test_the_expert_succeeds_however_many_processes_share_the_episodes(tmp_path: Path) -> None:
    """An evaluation that depended on its workers could not be repeated on another machine."""
    results = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        results.append(
            evaluate(config("expert", processes=processes, videos=1), ArmFiles(), 0, out, lambda n, success: None)
        )
    one, two = results
    assert one == two
    assert one.successes == 2
    film = tmp_path / "1" / one.episodes[0].video
    assert film.stat().st_size > 10_000
    assert {e.seed for e in one.episodes} == {1_000_000, 1_000_001}


@pytest.mark.slow
def test_a_curve_has_every_snapshot_and_the_end_by_minutes(untrained: ArmFiles, tmp_path: Path) -> None:
    """Breaks if the report's curve of success against training time showed other weights or other times."""
    asked = config("policy", episodes=1, curve_episodes=1, cameras=("hand_right_color",), execute_steps=54)
    seen: list[bool] = []
    result = evaluate(asked, untrained, 0, tmp_path, lambda n, success: seen.append(success))
    assert len(seen) == 2
    assert not result.episodes[0].success, "a network that was never trained stands still"
    lines = [json.loads(line) for line in (tmp_path / "success_curve.jsonl").read_text().splitlines()]
    assert [line["minutes"] for line in lines] == [1.0, 2.0]
    assert [line["success"] for line in lines] == [0.0, 0.0]
