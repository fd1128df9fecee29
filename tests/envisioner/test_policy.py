"""Memory, text, checkpoints and the policy that ties them together."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from components.envisioner import checkpoints
from components.envisioner.codec import BlockCodec
from components.envisioner.config import NetworkConfig, TextConfig
from components.envisioner.ge_act import GEAct
from components.envisioner.memory import SessionMemory, memory_indices
from components.envisioner.policy import Policy, to_absolute
from components.envisioner.text import HashedWords
from data_contracts.action import ActionSchema, Normalisation, action_names


def schema(form: str = "absolute") -> ActionSchema:
    unit = Normalisation(mean=(0.5,) * 6, std=(2.0,) * 6)
    return ActionSchema(
        space="joint", form=form, width=6, names=action_names("joint", 2), chunk=10, action=unit, state=unit
    )


@given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 12))
def test_memory_of_a_session_is_what_training_sees(now, frames, stride):
    """Breaks if serving remembered other frames than the index arithmetic says."""
    memory = SessionMemory(frames, stride)
    for step in range(now + 1):
        seen = memory.observe(np.full((1, 1, 1, 3), step, np.uint8), executed_steps=1 if step else 0)
    assert seen[:, 0, 0, 0, 0].tolist() == memory_indices(now, frames, stride).tolist()


def test_text_is_the_same_everywhere_and_cut():
    """Breaks if the frozen text encoder changed: every trained model would misread its instructions."""
    text = HashedWords(TextConfig(kind="hashed-words", width=4, tokens=3))
    tokens, mask = text(["Press the red button", "press"])
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    torch.testing.assert_close(tokens[0, 0], tokens[1, 0])
    again, _ = HashedWords(TextConfig(kind="hashed-words", width=4, tokens=3))(["press"])
    assert torch.equal(again[0], tokens[1])
    torch.testing.assert_close(tokens[1, 0], torch.tensor([0.2851, -0.6891, -0.3166, -1.1509]), atol=1e-4, rtol=0)


def test_weights_round_trip_and_wrong_ones_are_named(network_config, tmp_path):
    """Breaks if weights could be left random in silence."""
    network, other = GEAct(network_config), GEAct(network_config)
    checkpoints.save(network, tmp_path / "w.safetensors")
    assert checkpoints.load(other, tmp_path / "w.safetensors").loaded == len(checkpoints.state_dict(network))
    for name, tensor in checkpoints.state_dict(other).items():
        assert torch.equal(tensor, checkpoints.state_dict(network)[name])

    tensors = checkpoints.state_dict(network)
    tensors.pop("action_proj_out.bias")
    tensors["proj_in.weight"] = torch.zeros(1, 1)
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=r"1 of another shape.*proj_in.weight"):
        checkpoints.load(other, tmp_path / "bad.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        checkpoints.load(other, tmp_path / "junk.safetensors")


def test_video_weights_load_without_the_expert(network_config, tmp_path):
    """Breaks if GE-Base could not start GE-Act, or its expert were overwritten."""
    base = GEAct(network_config.model_copy(update={"action": None}))
    checkpoints.save(base, tmp_path / "video.safetensors")
    network = GEAct(network_config)
    expert = network.action.proj_in.weight.clone()
    assert checkpoints.load_video(network, tmp_path / "video.safetensors").unread == ()
    assert torch.equal(network.video.proj_in.weight, base.video.proj_in.weight)
    assert torch.equal(network.action.proj_in.weight, expert)


def test_delta_and_relative_actions_come_back_absolute():
    """Breaks if a served policy moved the arm by what was meant as a place, or integrated the gripper."""
    state = torch.tensor([1.0, 2.0, 0.3, 4.0, 5.0, 0.6])
    moves = torch.tensor([[0.1, 0.2, 0.0, 0.3, 0.4, 1.0]] * 3)
    relative = to_absolute(moves, state, schema("relative"))
    torch.testing.assert_close(relative[2], torch.tensor([1.1, 2.2, 0.0, 4.3, 5.4, 1.0]))
    delta = to_absolute(moves, state, schema("delta"))
    torch.testing.assert_close(delta[2], torch.tensor([1.3, 2.6, 0.0, 4.9, 6.2, 1.0]))


def policy(config: NetworkConfig) -> Policy:
    codec = BlockCodec(config.codec)
    for name, buffer in codec.named_buffers():
        if name.endswith("basis"):
            buffer.normal_(std=0.02)
    return Policy(GEAct(config).eval(), codec, HashedWords(config.text), schema(), sampling_steps=4)


def test_acting_is_deterministic_by_seed_and_checks_its_input(network_config):
    """Breaks if a policy could not be replayed, or took a malformed request."""
    p = policy(network_config)
    memory = np.random.default_rng(0).integers(0, 255, (4, 3, 16, 24, 3), dtype=np.uint8)
    state = np.zeros(6)
    first = p.act(memory, state, "press", seed=3)
    assert first.shape == (10, 6)
    assert first.dtype == np.float32
    assert np.array_equal(first, p.act(memory, state, "press", seed=3))
    assert not np.array_equal(first, p.act(memory, state, "press", seed=4))
    with pytest.raises(ValueError, match="memory must be uint8"):
        p.act(memory.astype(np.float32), state, "press", seed=0)
    with pytest.raises(ValueError, match="finite"):
        p.act(memory, np.full(6, np.nan), "press", seed=0)


def test_configurations_that_contradict_each_other_name_the_field(network_config):
    """Breaks if a network of mismatched widths could start training."""
    fields = network_config.model_dump()
    fields["codec"]["channels"] = 9
    with pytest.raises(ValueError, match=r"set video\.latent_channels=9"):
        NetworkConfig.model_validate(fields)
    fields = network_config.model_dump() | {"image_height": 17}
    with pytest.raises(ValueError, match="use 16x24"):
        NetworkConfig.model_validate(fields)
