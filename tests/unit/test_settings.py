"""Settings are compared with the annotations of their dataclass."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest

from ma2ml_agents.registry import learner_names, make_learner
from ma2ml_env import GameSpec, make_game
from ma2ml_env.io.settings import check_ranges, check_settings
from ma2ml_env.recipe import Spec


@dataclass
class Home:
    switch: bool = True
    count: int = 1
    share: float = 0.5
    name: str = "a"
    limit: int | None = None
    widths: tuple[int, ...] = (1,)
    pair: tuple[str, float] = ("a", 1.0)
    mode: Literal["x", "y"] = "x"
    spec: Spec = field(default_factory=lambda: Spec("sgd"))
    anything: Any = None


GOOD = [
    {"switch": False, "count": 3, "share": 1, "name": "b", "limit": None},
    {"limit": 4, "widths": [1, 2], "pair": ("b", 2), "mode": "y", "spec": Spec("adam"), "anything": object()},
    {"count": np.int64(3), "share": np.float32(0.5), "widths": ()},
    {"unknown": 1},
]
BAD = [
    ({"switch": "False"}, "setting 'switch' is true or false, not 'False'"),
    ({"switch": 1}, "true or false, not '1'"),
    ({"count": 32.0}, "setting 'count' is a whole number, not '32.0'"),
    ({"count": True}, "a whole number, not 'True'"),
    ({"share": "0.5"}, "a number, not '0.5'"),
    ({"limit": 1.5}, "a whole number or none, not '1.5'"),
    ({"widths": 3}, "a list, not '3'"),
    ({"widths": (1, 2.5)}, "a list, not"),
    ({"mode": "z"}, "'x' or 'y', not 'z'"),
    ({"spec": "adam"}, "a Spec, not 'adam'"),
]


@pytest.mark.parametrize("given", GOOD)
def test_what_fits_is_taken(given):
    check_settings(Home, given, "setting")


@pytest.mark.parametrize(("given", "message"), BAD, ids=lambda value: str(value)[:40])
def test_what_does_not_is_named(given, message):
    with pytest.raises(ValueError, match="setting") as error:
        check_settings(Home, given, "setting")
    assert message in str(error.value)


@pytest.mark.parametrize("name", learner_names())
def test_every_learner_refuses_a_text_for_any_setting(name):
    spec = GameSpec({"a": (2, 3), "b": (2,)})
    learner = make_learner(name, spec)
    for setting, value in vars(learner.config).items():
        if not isinstance(value, str):
            with pytest.raises(ValueError, match=f"{name}'s setting '{setting}' is "):
                make_learner(name, spec, **{setting: "much"})


def test_a_game_refuses_a_text_for_a_switch_or_a_number():
    with pytest.raises(ValueError, match="option 'flip' is true or false"):
        make_game("digits-v0", "surrogate", flip="False")
    with pytest.raises(ValueError, match="option 'cells' is a whole number"):
        make_game("digits-v0", "surrogate", cells=2.0)
    with pytest.raises(ValueError, match="option 'main' is a number"):
        make_game("digits-v0", "surrogate", main="0.5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "count is at least 1, not 0"),
        ({"share": -0.1}, r"share lies in \[0, 1\], not -0.1"),
        ({"share": 1.1}, r"share lies in \[0, 1\], not 1.1"),
        ({"share": float("nan")}, r"share lies in \[0, 1\], not nan"),
        ({"limit": 0}, "limit is above 0, not 0"),
        ({"anything": -1}, "anything is at least 0, not -1"),
        ({"name": "c"}, "name is one of a, b, not 'c'"),
    ],
)
def test_settings_out_of_their_range_are_refused_by_name(changes, message):
    def check(**given):
        ranges = {"at_least_one": ["count"], "positive": ["limit"], "not_negative": ["anything"], "shares": ["share"]}
        check_ranges(Home(**{"limit": 1, "anything": 0, **given}), **ranges, choices={"name": ("a", "b")})

    check()
    check(share=0, count=5, name="b")
    with pytest.raises(ValueError, match=message):
        check(**changes)


@pytest.mark.parametrize(
    ("learner", "setting"),
    [("tpe", {"others": -1}), ("tpe", {"startup": 0}), ("ppo", {"learning_rate": 0.0}), ("ppo", {"vf_coef": -1.0}),
     ("ippo", {"epochs": 0}), ("ippo", {"clip": 0.0}), ("predictor", {"rounds": 0}), ("predictor", {"targets": "x"}),
     ("evolution", {"sample": 0})],
)  # fmt: skip
def test_learners_refuse_settings_that_are_out_of_range(learner, setting):
    ((name, _),) = setting.items()
    with pytest.raises(ValueError, match=f"^{name} is "):
        make_learner(learner, GameSpec({"a": (2,)}), **setting)
