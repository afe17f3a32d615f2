"""The behaviour policy: shares of a batch, and what each origin brings."""

import numpy as np
import pytest
import torch

from ma2ml_agents import make_learner
from ma2ml_agents.hybrid import HybridConfig, behaviour
from ma2ml_agents.hybrid.behaviour import Behaviour
from ma2ml_agents.joint import Joint
from ma2ml_env.trial import GameSpec, Outcome, Trial

SPEC = GameSpec({"a": (7,) * 6, "b": (5,) * 6})
NVEC = torch.tensor((7,) * 6 + (5,) * 6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(n: int, seed: int = 0) -> torch.Tensor:
    return (torch.rand(n, len(NVEC), generator=generator(seed)) * NVEC).long()


def value(codes: torch.Tensor) -> torch.Tensor:
    """Pairs of decisions that should be equal: an interaction, of which no sum over decisions knows."""
    return (codes[:, :6:2] == codes[:, 1:6:2]).double().sum(1) + (codes[:, 6::2] == codes[:, 7::2]).double().sum(1)


def proposed(seed: int = 0, n: int = 24, trials: int = 300, **config: float) -> tuple[torch.Tensor, list[str]]:
    """A batch after so many random trials that were learned from ten times."""
    made = Behaviour(HybridConfig(**config), Joint(SPEC), generator(seed))  # type: ignore[arg-type]
    known = uniform(trials, seed=1)
    for _ in range(10):
        made.learn(known, value(known))
    batch = uniform(n, seed=2)
    origins = made.propose(
        batch,
        known,
        value(known),
        lambda m: uniform(16 * m, seed=3),
        lambda pool: torch.stack([pool.sum(1).float(), -pool.sum(1).float()]),
    )
    return batch, origins


def test_shares_are_kept_and_what_is_left_is_the_policies() -> None:
    batch, origins = proposed(response_share=0.5, policy_share=0.5, mutant_share=0.5)
    assert [origins.count(o) for o in ("response", "mutant", "screened")] == [12, 3, 3]
    assert torch.equal(batch[18:], uniform(24, seed=2)[18:])
    assert len(batch.unique(dim=0)) == 24


@pytest.mark.parametrize(
    ("config", "only"),
    [
        ({"response_share": 1.0}, {"response"}),
        ({"response_share": 0.0, "policy_share": 1.0}, set()),
        ({"response_share": 0.0, "policy_share": 0.0, "mutant_share": 1.0}, {"mutant"}),
        ({"response_share": 0.0, "policy_share": 0.0, "mutant_share": 0.0}, {"screened"}),
        ({"response_share": 0.0, "candidates": 1}, set()),
    ],
)
def test_a_share_of_one_is_all_and_of_none_nothing(config: dict[str, float], only: set[str]) -> None:
    assert set(proposed(**config)[1]) == only


@pytest.mark.slow
def test_batches_of_one_have_every_origin_in_time() -> None:
    origins = [(proposed(seed, n=1, trials=30)[1] or ["policy"])[0] for seed in range(40)]
    assert set(origins) >= {"response", "mutant", "policy"}  # one in twenty is screened
    assert 20 <= origins.count("response") <= 38


def test_mutants_are_better_than_what_they_descend_from_and_than_mutants_that_nobody_judges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything = {"response_share": 0.0, "policy_share": 0.0, "mutant_share": 1.0}
    judged = value(proposed(**everything)[0]).mean()
    assert judged > value(uniform(300, seed=1)).mean() + 1.5
    monkeypatch.setattr(
        "ma2ml_agents.gaussian.Posterior.draws",
        lambda self, codes, spreads, g: torch.rand(len(spreads), len(codes), generator=g),
    )
    assert value(proposed(**everything)[0]).mean() < judged - 1.0


def test_parents_are_distinct_and_half_of_them_the_best_by_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, torch.Tensor] = {}

    def spy(parents: torch.Tensor, others: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        seen.update(parents=parents, others=others)
        return others

    monkeypatch.setattr(behaviour.screening, "descendants", spy)
    made = Behaviour(HybridConfig(response_share=0.0, policy_share=0.0), Joint(SPEC), generator())
    known = uniform(300, seed=1)
    true = -(known - 2).square().double().sum(1) / 10
    rewards = true + 2.0 * torch.randn(300, generator=generator(4), dtype=torch.float64)
    for _ in range(10):
        made.learn(known, rewards)
    made.propose(uniform(24), known, rewards, lambda m: uniform(16 * m, seed=3), lambda pool: pool.T.float())
    parents = seen["parents"]
    assert len(parents) == len(parents.unique(dim=0)) == 30
    assert torch.equal(seen["others"], uniform(len(seen["others"]), seed=3))
    by_reward = true[rewards.argsort(descending=True)[:15]].mean()
    assert (-(parents[:15] - 2).square().double().sum(1) / 10).mean() > by_reward + 0.3


def test_candidates_of_a_large_batch_are_no_more_than_can_be_factorised(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(self: object, codes: torch.Tensor, spreads: torch.Tensor, g: torch.Generator) -> torch.Tensor:
        sizes.append(len(codes))
        return torch.rand(len(spreads), len(codes), generator=g)

    monkeypatch.setattr("ma2ml_agents.gaussian.Posterior.draws", spy)
    proposed(n=1_000, response_share=0.0, policy_share=0.0, mutant_share=1.0)
    assert 500 < max(sizes) < 2_500


@pytest.mark.slow
def test_the_settings_of_both_exact_critics_are_learned_and_kept() -> None:
    def told(learner: object, number: int) -> list[dict[str, tuple[int, ...]]]:
        proposals = learner.ask(24)  # type: ignore[attr-defined]
        rewards = [len(set(p.codes["a"])) / 7 for p in proposals]
        learner.tell(  # type: ignore[attr-defined]
            [
                Trial(number * 24 + i, i, p, Outcome(accuracy=r), r)
                for i, (p, r) in enumerate(zip(proposals, rewards, strict=True))
            ]
        )
        return [dict(p.codes) for p in proposals]

    first = make_learner("hybrid", SPEC, seed=0)
    for number in range(2):
        told(first, number)
    process = first.behaviour.process
    assert not torch.equal(process.settings.detach(), process.about)
    second = make_learner("hybrid", SPEC, seed=5)
    second.load_state_dict(first.state_dict())
    assert second.behaviour.additive.log_ratio == first.behaviour.additive.log_ratio
    assert [told(first, n) for n in (2, 3)] == [told(second, n) for n in (2, 3)]
    assert np.array_equal(process.settings.detach().numpy(), second.behaviour.process.settings.detach().numpy())


def test_what_is_not_used_is_not_learned() -> None:
    learner = make_learner("hybrid", SPEC, candidates=1)
    proposals = learner.ask(6)
    learner.tell([Trial(i, i, p, Outcome(accuracy=i / 6), i / 6) for i, p in enumerate(proposals)])
    assert torch.equal(learner.behaviour.process.settings.detach(), learner.behaviour.process.about)
