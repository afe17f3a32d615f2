"""Learners for MA2ML's games, and what drives them: search, retrain, export and the command line.

    learner = ma2ml_agents.make_learner("ma2ml", game.spec, seed=0)
    best = ma2ml_agents.search(game, learner, budget=240)

Importing this package loads nothing else; torch comes with the first learner.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"
__all__ = ["__version__", "make_learner", "search"]

_HOME = {"make_learner": "ma2ml_agents.registry", "search": "ma2ml_agents.run.loop"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ma2ml_agents' has no attribute {name!r}")
