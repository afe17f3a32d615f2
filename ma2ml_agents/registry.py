"""The learners, as lazy `"package.module:attr"` strings; those of third parties are found through `ma2ml_env.registry`."""

import importlib
from dataclasses import fields
from typing import Any

from ma2ml_agents.learner import Learner
from ma2ml_env.registry import closest, names, resolve
from ma2ml_env.settings import check_settings
from ma2ml_env.trial import GameSpec

LEARNERS: dict[str, str] = {
    "ma2ml": "ma2ml_agents.ma2ml:MA2ML",
    "ma2ml_paper": "ma2ml_agents.ma2ml.paper:MA2MLPaper",
    "on_policy": "ma2ml_agents.baselines.on_policy:OnPolicy",
    "ma2ml_lite": "ma2ml_agents.baselines.lite:MA2MLLite",
    "entropy": "ma2ml_agents.baselines.entropy:Entropy",
    "single_agent": "ma2ml_agents.baselines.single_agent:SingleAgent",
    "random": "ma2ml_agents.baselines.random_search:RandomSearch",
    "evolution": "ma2ml_agents.baselines.evolution:Evolution",
    "local_search": "ma2ml_agents.baselines.local_search:LocalSearch",
    "tpe": "ma2ml_agents.baselines.tpe:TPE",
    "predictor": "ma2ml_agents.baselines.predictor:Predictor",
    "ppo": "ma2ml_agents.baselines.ppo:PPO",
    "ippo": "ma2ml_agents.baselines.ippo:IPPO",
    "mappo": "ma2ml_agents.baselines.mappo:MAPPO",
}


def learner_names() -> list[str]:
    """Every name that `make_learner` knows, the project's own first."""
    return [*LEARNERS, *(name for name in names("learners") if name not in LEARNERS)]


def learner_class(name: str) -> Any:
    """The class behind a name; its attribute `Config` is the dataclass of its settings.

    Raises:
        ValueError: if there is no such learner; the closest name is offered.
    """
    if name not in learner_names():
        raise ValueError(f"unknown learner {name!r}{closest(name, learner_names())}")
    if name not in LEARNERS:
        return resolve("learners", name)
    module, _, attribute = LEARNERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def make_learner(name: str, spec: GameSpec, *, seed: int = 0, device: str = "cpu", **config: Any) -> Learner:
    """A learner by name.

    Args:
        name: one of `learner_names()`.
        spec: the game's agents and their numbers of choices.
        seed: of everything random in it.
        device: where its networks live.
        **config: settings that differ from the defaults of the learner's `Config`.

    Raises:
        ValueError: if there is no such learner or setting, with the closest name, or the seed is out of range.
    """
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"a seed is an integer of 64 bits, not {seed}")
    cls = learner_class(name)
    known = [field.name for field in fields(cls.Config)]
    for key in config:
        if key not in known:
            raise ValueError(f"learner {name!r} has no setting {key!r}{closest(key, known) if known else ''}")
    check_settings(cls.Config, config, f"{name}'s setting")
    learner: Learner = cls(spec, cls.Config(**config), seed=seed, device=device)
    return learner
