"""The critic's members share nothing, and each is a perceptron."""

import pytest
import torch

from ma2ml_agents.ma2ml.critic import Critic

CODES = torch.tensor([[0, 1, 2], [1, 3, 4], [2, 0, 0]])


def critic(*hidden: int, members: int = 4, linear: bool = True) -> Critic:
    generator = torch.Generator().manual_seed(0)
    made = Critic([3, 4, 5], hidden=hidden, members=members, linear=linear, state_size=0, generator=generator)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator)
    return made


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_a_parameter_of_one_member_moves_that_member_alone(hidden: tuple[int, ...]) -> None:
    made = critic(*hidden)
    for parameter in made.parameters():
        before = made(CODES)
        with torch.no_grad():
            parameter[1] += 1.0
        assert made(CODES).shape == (4, 3)
        assert [not torch.equal(a, b) for a, b in zip(before, made(CODES), strict=True)] == [False, True, False, False]


def test_a_member_is_a_perceptron_over_one_hot_decisions() -> None:
    made = critic(8, 6, linear=False)
    x = torch.cat([torch.nn.functional.one_hot(CODES[:, i], n) for i, n in enumerate((3, 4, 5))], dim=1).float()
    for member in range(4):
        value = x
        for depth, (weight, bias) in enumerate(zip(made.weights, made.biases, strict=True)):
            value = (torch.relu(value) if depth else value) @ weight[member] + bias[member]
        torch.testing.assert_close(made(CODES)[member], value[:, 0])
