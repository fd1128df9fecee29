"""The action expert: shared features, the state token, sampling."""

import torch

from components.envisioner import flow
from components.envisioner.ge_act import GEAct


def features_of(network: GEAct, batch: int):
    memory, future = torch.randn(batch, 3, 8, 4, 2, 3), torch.randn(batch, 3, 8, 2, 2, 3)
    return network.features(memory, future, torch.randn(batch, 6, 12), torch.ones(batch, 6))


def test_k_draws_over_one_context_equal_k_separate_passes(network_config):
    """Breaks if noise draws that share a video pass were matched with another sample's features."""
    network = GEAct(network_config).eval()
    with torch.no_grad():
        features = features_of(network, 2)
        actions, times, state = torch.randn(6, 10, 6), torch.rand(6) * 1000, torch.randn(6, 6)
        together = network.action(actions, times, network.action.context(features), state)
        for draw in range(3):
            part = slice(2 * draw, 2 * draw + 2)
            alone = network.action(actions[part], times[part], network.action.context(features), state[part])
            torch.testing.assert_close(together[part], alone, atol=1e-5, rtol=1e-5)


def test_actions_depend_on_features_state_and_time(network_config):
    """Breaks if a condition is wired to nothing."""
    network = GEAct(network_config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        context = network.action.context(features_of(network, 1))
        other = network.action.context(features_of(network, 1))
        actions, time, state = torch.randn(1, 10, 6), torch.tensor([300.0]), torch.randn(1, 6)
        base = network.action(actions, time, context, state)
        for changed in (
            network.action(actions, time, other, state),
            network.action(actions, time + 200, context, state),
            network.action(actions, time, context, state + 1),
        ):
            assert (base - changed).abs().max() > 1e-4


def test_euler_recovers_the_data_of_a_perfect_velocity():
    """Breaks if the sampler walks the wrong way or with the wrong step."""
    data, noise = torch.randn(3, 4), torch.randn(3, 4)
    for steps in (1, 7):
        torch.testing.assert_close(flow.euler(lambda x, t: noise - data, noise, steps), data)
    sigma = torch.tensor([0.0, 0.5, 1.0])
    assert torch.equal(flow.noised(data, noise, sigma)[0], data[0])
    assert torch.equal(flow.noised(data, noise, sigma)[2], noise[2])
