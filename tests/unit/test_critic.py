"""Which parts of the critic's members speak in which value."""

import pytest
import torch

from ma2ml_agents.ma2ml.critic import Critic
from ma2ml_agents.registry import make_learner
from ma2ml_env.trial import GameSpec

CODES = torch.tensor([[0, 1, 2], [1, 3, 4], [2, 0, 0]])


def critic(*hidden: int, members: int = 4, shallow: int = 2) -> Critic:
    generator = torch.Generator().manual_seed(0)
    made = Critic(
        [3, 4, 5], hidden=hidden, members=members, shallow=shallow, linear=True, state_size=0, generator=generator
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator)
    return made


def moved(made: Critic, parameter: torch.Tensor) -> list[bool]:
    """Whether each member's values change with a parameter."""
    before = made(CODES)
    with torch.no_grad():
        parameter += 1.0
    return [not torch.equal(a, b) for a, b in zip(before, made(CODES), strict=True)]


def test_a_shallow_member_ends_after_the_first_hidden_layer() -> None:
    made = critic(8, 6)
    assert made(CODES).shape == (4, 3)
    assert moved(made, made.weights[1]) == moved(made, made.weights[2]) == [False, False, True, True]
    assert made.early is not None
    assert moved(made, made.early) == [True, True, False, False]
    assert moved(made, made.weights[0]) == [True] * 4


def test_a_shallow_member_is_a_perceptron_of_one_hidden_layer() -> None:
    made = critic(8, 6)
    alone = critic(8, members=1, shallow=0)
    assert made.early is not None
    assert made.early_bias is not None
    assert made.linear is not None
    assert alone.linear is not None
    with torch.no_grad():
        for mine, theirs in (
            (alone.weights[0], made.weights[0]),
            (alone.biases[0], made.biases[0]),
            (alone.weights[1], made.early),
            (alone.biases[1], made.early_bias),
            (alone.linear, made.linear),
        ):
            mine.copy_(theirs[1:2])
    torch.testing.assert_close(made(CODES)[1], alone(CODES)[0])


@pytest.mark.parametrize(("hidden", "shallow"), [((), 2), ((8,), 2), ((8, 6), 0), ((8, 6), 4)])
def test_shapes(hidden: tuple[int, ...], shallow: int) -> None:
    assert critic(*hidden, shallow=shallow)(CODES).shape == (4, 3)


@pytest.mark.parametrize(("ensemble", "shallow", "members"), [(4, 0.5, 2), (1, 0.5, 0), (4, 0.0, 0), (5, 0.5, 2)])
def test_the_share_is_rounded_down(ensemble: int, shallow: float, members: int) -> None:
    learner = make_learner("ma2ml", GameSpec({"a": (3,), "b": (4, 5)}), ensemble=ensemble, shallow=shallow)
    assert learner.critic.shallow == members  # type: ignore[attr-defined]


@pytest.mark.parametrize("shallow", [-0.1, 1.1])
def test_a_share_out_of_range(shallow: float) -> None:
    with pytest.raises(ValueError, match="shallow"):
        make_learner("ma2ml", GameSpec({"a": (3,), "b": (4, 5)}), shallow=shallow)
