"""What a named game is: data, modules, base recipe and protocol under one versioned id.

The games stand in `image.py`, `paper.py`, `table.py` and `trio.py`. A change of a reward, a space or a split bumps the version,
so that a result always says what it was measured on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ma2ml_env.game import Protocol
from ma2ml_env.recipe import Recipe


@dataclass(frozen=True)
class NamedGame:
    """The definition of a named game: data, modules, base recipe and protocol."""

    id: str
    title: str
    """one line for `ma2ml list`"""
    data: str
    """data set, a name of `training/data/source.py`, or of a table in the registry"""
    base: Recipe
    protocol: Protocol
    modules: tuple[tuple[str, Mapping[str, Any]], ...] = (("aug", {}), ("nas_cell", {}), ("hpo_sgd", {}))
    """registry name and settings of each module"""
    flops_limit: float | None = None
    """MACs; with it the reward is accuracy x (MACs / limit)^-0.07, without it the accuracy"""
    size: int | None = None
    """side in pixels that images are brought to; None leaves them as they come"""
    source: Mapping[str, Any] = field(default_factory=dict)
    """further options of the data source, or of the table"""
    final_source: Mapping[str, Any] = field(default_factory=dict)
    """what the full training has instead of these options: ImageNet's winner is trained on all classes"""
    evaluator: str = "train"
    """`train`, or `table` where there is nothing to train"""
    digest: str | None = None
    """of the identity of its data, split as it says: trainings on others are not of this game. None where they may differ"""
    measured: str | None = None
    """file below `tables/data/` with trainings of all of its pipelines; with it a game that trains is looked up unless told"""

    landscape: Mapping[str, Any] = field(default_factory=dict)
    """settings of the synthetic landscape over its spaces, where they are not the usual ones"""

    @property
    def usual(self) -> str:
        """The evaluator that plays it unless told otherwise."""
        return self.evaluator if self.measured is None else "table"
