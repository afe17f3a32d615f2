"""Intervals over their whole range: values in order and inside, codes back from values, and JSON without a lost bit."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ma2ml_env.games.make import make_game
from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, Interval, SearchSpace
from ma2ml_env.trial import Proposal

GAME = make_game("digits-continuous-v0", "surrogate")
positions = st.floats(0.0, 1.0)


@st.composite
def intervals(draw):
    log = draw(st.booleans())
    low = draw(st.floats(1e-8, 1e8) if log else st.floats(-1e8, 1e8))
    width = draw(st.floats(1e-3, 1e8))
    return Interval("x", low, low * (1 + width) if log else low + width * max(1.0, abs(low)), log)


@settings(max_examples=300, deadline=None)
@given(intervals(), positions, positions)
def test_values_are_inside_in_order_and_come_back(interval, u, v):
    assert interval.value(0.0) == interval.low
    assert interval.value(1.0) == interval.high
    value = interval.value(u)
    assert interval.low <= value <= interval.high
    if u <= v:
        assert value <= interval.value(v)
    assert abs(interval.position(value) - u) < 1e-8
    assert abs(interval.value(interval.position(value)) - value) <= 1e-10 * max(abs(interval.low), abs(interval.high))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2), positions, positions)
def test_decode_and_encode_invert_each_other(index, u, v):
    space = SearchSpace([Interval("x", -1.0, 3.0), Decision("d", (1, 2, 3)), Interval("y", 1e-5, 1e-1, log=True)])
    code = (index, u, v)
    again = space.encode(space.decode(code))
    assert again[0] == index
    assert max(abs(a - b) for a, b in zip(again[1:], (u, v), strict=True)) < 1e-9
    assert space.encode(space.decode(again))[0] == index


@settings(max_examples=200, deadline=None)
@given(positions, positions)
def test_codes_and_recipes_survive_json(u, v):
    codes = {agent: (0,) * len(nvec) for agent, nvec in GAME.spec.nvec.items()} | {"hpo": (u, v)}
    proposal = Proposal.from_json(json.loads(json.dumps(Proposal(codes).to_json())))
    assert proposal.codes == codes
    recipe = GAME.recipe(codes)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.key == recipe.key == GAME.recipe(proposal.codes).key
    other = GAME.recipe({**codes, "hpo": (0.5 * u, v)})
    assert (other.key == recipe.key) == (other.learning_rate == recipe.learning_rate)
