"""GE-Base against stock LTX, and the properties that views, memory and text promise."""

import pytest
import torch
from diffusers import LTXVideoTransformer3DModel

from components.envisioner.config import VideoConfig
from components.envisioner.video import FRAMES_PER_SECOND, GEBase

CONFIG = VideoConfig(latent_channels=8, layers=4, heads=2, head_dim=16, text_width=12, spatial_stride=32)


def inputs(views: int, batch: int = 2):
    latents = torch.randn(batch, views, 8, 6, 2, 3)
    timestep = torch.tensor([[0.0] * 4 + [500.0] * 2] * batch)
    return latents, timestep, torch.randn(batch, 5, 12), torch.tensor([[1.0, 1, 1, 0, 0]] * batch)


def randomised(config: VideoConfig = CONFIG) -> GEBase:
    network = GEBase(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_one_view_without_view_parameters_equals_stock_ltx():
    """Breaks if released LTX weights would compute something else here: the regression anchor."""
    network = randomised()
    for tensor in (network.view_embed, network.view_ada[1].weight, network.view_ada[1].bias):
        torch.nn.init.zeros_(tensor)
    stock = LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        num_layers=4, caption_channels=12,
    ).eval()  # fmt: skip
    own = {name: t for name, t in network.state_dict().items() if not name.startswith("view_")}
    stock.load_state_dict(own)  # strict: names and shapes are stock's
    latents, timestep, text, mask = inputs(views=1)
    tokens = latents[:, 0].permute(0, 2, 3, 4, 1).reshape(2, 36, 8)
    with torch.no_grad():
        want = stock(
            tokens, text, timestep.repeat_interleave(6, dim=1), mask, num_frames=6, height=2, width=3,
            rope_interpolation_scale=(8 / FRAMES_PER_SECOND, 32, 32), return_dict=False,
        )[0]  # fmt: skip
        got, _ = network(latents, timestep, text, mask)
    got = got[:, 0].permute(0, 2, 3, 4, 1).reshape(2, 36, 8)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_views_see_each_other_only_through_every_third_block():
    """Breaks if cross-view attention is missing, or happens in the other blocks."""
    latents, timestep, text, mask = inputs(views=3, batch=1)
    other = latents.clone()
    other[:, 2] += 1.0
    with torch.no_grad():
        joint, joint_features = randomised()(latents, timestep, text, mask, with_features=True)
    network = randomised()
    with torch.no_grad():
        a, _ = network(latents, timestep, text, mask)
        b, _ = network(other, timestep, text, mask)
        assert (a[:, 0] - b[:, 0]).abs().max() > 1e-4, "view 0 must see a change in view 2"
        network.settings = CONFIG.model_copy(update={"cross_view_every": 100})
        network.transformer_blocks[0].attn1.to_out[0].weight.zero_()
        network.transformer_blocks[0].attn1.to_out[0].bias.zero_()
        a, _ = network(latents, timestep, text, mask)
        b, _ = network(other, timestep, text, mask)
    torch.testing.assert_close(a[:, 0], b[:, 0])
    assert joint.shape == latents.shape
    assert [tuple(f.shape) for f in joint_features] == [(1, 3 * 36, 32)] * 4


def test_padding_of_text_changes_nothing():
    """Breaks if padded text tokens leak into cross-attention."""
    network = randomised()
    latents, timestep, text, mask = inputs(views=2)
    changed = text.clone()
    changed[:, 3:] += 5
    with torch.no_grad():
        torch.testing.assert_close(
            network(latents, timestep, text, mask)[0], network(latents, timestep, changed, mask)[0]
        )


def test_memory_has_its_own_timestep():
    """Breaks if the future's noise level were applied to clean memory frames."""
    network = randomised()
    latents, timestep, text, mask = inputs(views=1)
    uniform = torch.full_like(timestep, 500.0)
    with torch.no_grad():
        difference = network(latents, timestep, text, mask)[0] - network(latents, uniform, text, mask)[0]
    assert difference.abs().max() > 1e-3


def test_more_views_than_embeddings_is_refused():
    latents, timestep, text, mask = inputs(views=4)
    with pytest.raises(ValueError, match="4 views"):
        GEBase(CONFIG)(latents, timestep, text, mask)
