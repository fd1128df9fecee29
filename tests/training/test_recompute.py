"""If these fail, a large network either does not fit where it should, or learns something else when it does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from components.envisioner.config import VideoConfig
from components.envisioner.video import GEBase
from components.language.model import hidden_states
from components.store.errors import ConfigurationError
from components.training.recompute import recompute_activations


def language() -> tuple[nn.Module, list[nn.Module]]:
    torch.manual_seed(0)
    network = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8,
        )
    )  # fmt: skip
    return network.train(), [layer.get_submodule("self_attn") for layer in network.model.layers]


def language_loss(network: nn.Module) -> Tensor:
    ids = torch.arange(12).view(2, 6)
    return hidden_states(network, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).square().sum()


def video() -> tuple[nn.Module, list[nn.Module]]:
    torch.manual_seed(0)
    network = GEBase(
        VideoConfig(latent_channels=8, layers=3, heads=2, head_dim=16, text_width=12, spatial_stride=32)
    ).train()
    return network, [block.get_submodule("attn1") for block in network.transformer_blocks]


def video_loss(network: nn.Module) -> Tensor:
    torch.manual_seed(1)
    velocity, _ = network(
        torch.randn(1, 2, 8, 2, 2, 2), torch.full((1, 2), 500.0), torch.randn(1, 3, 12), torch.ones(1, 3)
    )
    return velocity.square().sum()


@pytest.mark.parametrize(("make", "loss"), [(language, language_loss), (video, video_loss)], ids=["language", "video"])
def test_blocks_run_twice_and_gradients_stay_the_same(make, loss) -> None:  # type: ignore[no-untyped-def]
    gradients, runs = [], []
    for recompute in (False, True):
        network, attentions = make()
        count = [0]
        for attention in attentions:
            attention.register_forward_pre_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        if recompute:
            recompute_activations(nn.ModuleList([network]))  # the loop's trainees hold their networks in others
        loss(network).backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
        runs.append(count[0])
    assert runs == [3, 6]
    assert len(gradients[0]) > 20
    for kept, again in zip(*gradients, strict=True):
        assert torch.equal(kept, again)


def test_a_network_that_cannot_is_refused() -> None:
    """A setting without an effect would be found out by a GPU that runs out of memory, hours later."""
    with pytest.raises(ConfigurationError, match="recompute=false"):
        recompute_activations(nn.Sequential(nn.Linear(2, 2)))
