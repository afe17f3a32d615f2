"""The learners, as lazy `"package.module:attr"` strings; those of third parties are found through `ma2ml_env.registry`."""

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ma2ml_agents.learner import Learner
from ma2ml_env.io.settings import check_settings
from ma2ml_env.registry import closest, names, resolve, target
from ma2ml_env.trial import GameSpec

Config = TypeVar("Config", bound=Any)

LEARNERS: dict[str, str] = {
    "ma2ml_exact": "ma2ml_agents.ma2ml_exact:MA2MLExact",
    "hybrid": "ma2ml_agents.hybrid:Hybrid",
    "ma2ml": "ma2ml_agents.ma2ml:MA2ML",
    "ma2ml_paper": "ma2ml_agents.variants.ma2ml_paper:MA2MLPaper",
    "on_policy": "ma2ml_agents.variants.on_policy:OnPolicy",
    "ma2ml_lite": "ma2ml_agents.variants.ma2ml_lite:MA2MLLite",
    "entropy": "ma2ml_agents.variants.entropy:Entropy",
    "single_agent": "ma2ml_agents.variants.single_agent:SingleAgent",
    "random": "ma2ml_agents.baselines.random_search:RandomSearch",
    "evolution": "ma2ml_agents.baselines.evolution:Evolution",
    "local_search": "ma2ml_agents.baselines.local_search:LocalSearch",
    "tpe": "ma2ml_agents.baselines.tpe:TPE",
    "predictor": "ma2ml_agents.baselines.predictor:Predictor",
    "trust_region": "ma2ml_agents.baselines.trust_region:TrustRegion",
    "catcma": "ma2ml_agents.baselines.catcma:CatCMA",
    "gp_sampler": "ma2ml_agents.baselines.gp_sampler:GPSampler",
    "smac": "ma2ml_agents.baselines.smac:SMAC",
    "ppo": "ma2ml_agents.baselines.ppo:PPO",
    "ippo": "ma2ml_agents.baselines.ippo:IPPO",
    "mappo": "ma2ml_agents.baselines.mappo:MAPPO",
}


EARLIER: dict[str, str] = {
    "ma2ml_agents.baselines.lite.MA2MLLite": "ma2ml_lite",
    "ma2ml_agents.baselines.random_search.RandomSearch": "random",
    "ma2ml_agents.baselines.evolution.Evolution": "evolution",
    "ma2ml_agents.baselines.local_search.LocalSearch": "local_search",
    "ma2ml_agents.baselines.tpe.TPE": "tpe",
    "ma2ml_agents.baselines.predictor.Predictor": "predictor",
    "ma2ml_agents.baselines.ppo.PPO": "ppo",
    "ma2ml_agents.baselines.ippo.IPPO": "ippo",
    "ma2ml_agents.baselines.mappo.MAPPO": "mappo",
}
"""learners that propose what they did in version 0.1.0, whose runs name a learner by its class"""


def learner_names() -> list[str]:
    """List every name that `make_learner` knows, the project's own first.

    Raises:
        ValueError: if somebody else's learner has the name of one of them.
    """
    others = names("learners")
    for name in others:
        if name in LEARNERS:
            raise ValueError(
                f"{target('learners', name)} is registered as the learner {name!r}, which ma2ml has itself"
            )
    return [*LEARNERS, *others]


def learner_class(name: str) -> Any:
    """Return the class behind a name; its attribute `Config` is the dataclass of its settings.

    Raises:
        ValueError: if there is no such learner; the closest name is offered.
    """
    if name not in learner_names():
        raise ValueError(f"unknown learner {name!r}{closest(name, learner_names())}")
    if name not in LEARNERS:
        return resolve("learners", name)
    module, _, attribute = LEARNERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def learner_title(name: str) -> str:
    """Say what a learner is in one line: the first of its class's docstring; "" if it has none."""
    return (learner_class(name).__doc__ or "").strip().partition("\n")[0].rstrip(".")


def registry_name(kind: type) -> str:
    """Return the name under which a learner's class is registered; its module and class if it is not."""
    for name in learner_names():
        row = LEARNERS.get(name) or target("learners", name)
        if row.endswith(f":{kind.__qualname__}") and learner_class(name) is kind:
            return name
    return f"{kind.__module__}.{kind.__qualname__}"


def make_learner(name: str, spec: GameSpec, *, seed: int = 0, device: str = "cpu", **config: Any) -> Learner:
    """Make a learner by its name.

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
    learner: Learner = cls(spec, make_config(cls.Config, config, name), seed=seed, device=device)
    return learner


def make_config(kind: type[Config], settings: Mapping[str, Any], learner: str) -> Config:
    """Make a learner's settings, as its dataclass.

    Raises:
        ValueError: if there is no such setting, with the closest name, or a value is of another kind or out of its range.
    """
    known = [field.name for field in fields(kind)]
    for key in settings:
        if key not in known:
            raise ValueError(f"learner {learner!r} has no setting {key!r}{closest(key, known) if known else ''}")
    check_settings(kind, settings, f"{learner}'s setting")
    config: Config = kind(**settings)
    return config
