import pytest

from ma2ml_env.modules.aug import Aug
from ma2ml_env.modules.hpo_sgd import HpoSgd
from ma2ml_env.modules.nas_cell import NasCell
from ma2ml_env.space import Decision, SearchSpace


@pytest.mark.parametrize(
    ("module", "decisions", "size"),
    [(Aug(), 30, 32.17), (Aug(sub_policies=25), 150, 160.87), (NasCell(), 50, 36.72), (HpoSgd(), 20, 12.04)],
)
def test_sizes_of_the_paper(module, decisions, size):
    assert len(module.space.decisions) == decisions
    assert round(module.space.log10_size, 2) == size


def space():
    return SearchSpace([Decision("a", (1, 2, 3)), Decision("b", ("x", "y"))])


def test_decode_and_encode():
    assert space().nvec == (3, 2)
    assert space().decode((2, 0)) == {"a": 3, "b": "x"}
    assert space().encode({"b": "x", "a": 3}) == (2, 0)


@pytest.mark.parametrize(
    ("code", "message"),
    [((0,), "has 2 entries, not 1"), ((3, 0), "'a' takes an index in 0..2, not 3"), ((0, -1), "'b' takes an index in 0..1"),
     ((0, 0, 0), "not 3"), ((0.5, 0), "'a' takes an index")],
)  # fmt: skip
def test_bad_codes(code, message):
    with pytest.raises(ValueError, match=message):
        space().decode(code)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"a": 1}, r"missing \['b'\]"), ({"a": 1, "b": "x", "c": 0}, r"unknown \['c'\]"),
     ({"a": 9, "b": "x"}, "9 is not a choice of 'a'")],
)  # fmt: skip
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        space().encode(values)


def test_bad_spaces():
    with pytest.raises(ValueError, match="no choices"):
        Decision("a", ())
    with pytest.raises(ValueError, match="same choice twice"):
        Decision("a", (1, 1))
    with pytest.raises(ValueError, match="at least one decision"):
        SearchSpace([])
    with pytest.raises(ValueError, match="unique"):
        SearchSpace([Decision("a", (1,)), Decision("a", (2,))])
    for make in (lambda: Aug(0), lambda: NasCell(0), lambda: HpoSgd(0)):
        with pytest.raises(ValueError, match="at least one"):
            make()
