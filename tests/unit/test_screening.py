"""Screening: candidates, shares, and what `Hybrid.ask` makes of them."""

import numpy as np
import pytest
import torch

from ma2ml_agents import make_learner
from ma2ml_agents.hybrid.screening import best_by_member, descendants, elite, mutants
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial

SPEC = GameSpec({"a": (4, 3, 1), "b": (5, 2)})
NVEC = torch.tensor([4, 3, 1, 5, 2])


def trial(number, codes, reward, origin="policy"):
    return Trial(number, number, Proposal(codes, {}, None, origin), Outcome(accuracy=reward), reward)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_elite_is_of_distinct_codes_best_first():
    codes = np.array([[0, 1], [0, 1], [2, 2], [3, 3]])
    assert elite(codes, np.array([0.5, 0.9, 0.7, 0.1]), 2).tolist() == [1, 2]
    assert elite(codes, np.array([0.5, 0.9, 0.7, 0.1]), 9).tolist() == [1, 2, 3]
    assert elite(codes, np.array([0.5, 0.9, 0.7, 0.1]), 0).tolist() == []


def test_mutants_are_codes_of_the_space_and_differ_from_a_single_parent():
    parent = torch.tensor([[3, 2, 0, 4, 1]])
    children = mutants(parent, 500, NVEC, generator())
    assert ((children >= 0) & (children < NVEC)).all()
    changed = (children != parent).sum(1)
    # Each of the four that can change does so with probability 1 - (4/5)^2: as the one that has to, or by itself.
    assert changed.float().mean() == pytest.approx(1.44, abs=0.1)
    assert (changed > 0).float().mean() > 0.75  # the decision that has to change may be the one with a single choice
    assert (children[:, 2] == 0).all()
    for decision, size in ((0, 4), (1, 3), (3, 5), (4, 2)):
        assert set(children[:, decision].tolist()) == set(range(size))


def test_half_of_the_mutants_mix_two_parents():
    nvec = torch.full((40,), 10)
    parents = torch.stack([torch.zeros(40, dtype=torch.int64), torch.full((40,), 9)])
    children = mutants(parents, 400, nvec, generator())
    mixed = ((children == 0).sum(1) >= 5) & ((children == 9).sum(1) >= 5)
    assert 0.15 < mixed.float().mean() < 0.45  # half of them, half of those with two different parents


def test_members_take_turns_and_nothing_comes_twice():
    pool = torch.tensor([[0], [1], [2], [1], [3]])
    values = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    assert best_by_member(pool, values, 4, set()) == [0, 4, 1, 2]
    known = {np.array([0]).tobytes(), np.array([3]).tobytes()}
    assert best_by_member(pool, values, 4, known) == [1, 2]  # candidates ran out


def played(learner, batches=3, batch=12):
    for number in range(batches):
        proposals = learner.ask(batch)
        rewards = [sum(c == 1 for code in p.codes.values() for c in code) / 5 for p in proposals]
        learner.tell(
            [
                Trial(number * batch + i, i, p, Outcome(accuracy=r), r)
                for i, (p, r) in enumerate(zip(proposals, rewards, strict=True))
            ]
        )
    return learner


def test_a_batch_has_no_repeat_and_the_policies_their_share():
    learner = played(make_learner("hybrid", SPEC, seed=1, response_share=0.0))
    proposals = learner.ask(12)
    origins = [p.origin for p in proposals]
    assert sum(origin in ("screened", "mutant") for origin in origins) in (10, 11)  # nine tenths
    assert sum(origin in ("policy", "redraw") for origin in origins) in (1, 2)
    codes = [tuple(p.codes.values()) for p in proposals]
    known = {tuple(map(tuple, (row[:3], row[3:]))) for row in learner.inner.replay.codes.tolist()}
    assert len(set(codes)) == 12
    assert not known & set(codes)


def test_descendants_of_more_rounds_are_better_by_the_opinions_that_chose_them():
    nvec = torch.tensor([5] * 8)

    def opinions(pool):
        return torch.stack([pool.sum(1).float(), -pool[:, :4].sum(1).float()])

    def best(rounds):
        parents = torch.zeros(8, 8, dtype=torch.int64)
        pool = descendants(parents, parents[:1], 40, nvec, opinions, rounds=rounds, generator=generator())
        return opinions(pool)[0].max().item()

    # A round changes two decisions of eight on average, by up to four each.
    assert best(rounds=6) >= best(rounds=1) + 4


def test_the_whole_space_tried_asks_go_on():
    spec = GameSpec({"a": (2,), "b": (2,)})
    learner = make_learner("hybrid", spec)
    for number in range(4):
        proposals = learner.ask(6)
        assert len(proposals) == 6
        learner.tell([trial(number * 6 + i, p.codes, 0.5) for i, p in enumerate(proposals)])


def test_without_responses_and_candidates_the_policies_draw_everything():
    proposals = played(make_learner("hybrid", SPEC, seed=1, response_share=0.0, candidates=1)).ask(12)
    assert {p.origin for p in proposals} <= {"policy", "redraw"}


def test_screened_candidates_are_better_by_the_critic_than_draws():
    learner = played(make_learner("hybrid", SPEC, seed=1, response_share=0.0, mutant_share=0.0), batches=2)
    proposals = learner.ask(24)

    def value(origins):
        rows = [[c for code in p.codes.values() for c in code] for p in proposals if p.origin in origins]
        with torch.no_grad():
            return learner.inner.q(torch.tensor(rows), torch.zeros(len(rows), 2, 8)).mean().item()

    assert value({"screened"}) > value({"policy", "redraw"})


@pytest.mark.parametrize(
    "bad",
    [
        {"candidates": 0},
        {"policy_share": 1.5},
        {"parents": 0},
        {"rounds": 0},
        {"mutant_share": 1.1},
        {"response_share": 1.1},
        {"response_spread": -0.1},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        make_learner("hybrid", SPEC, **bad)
