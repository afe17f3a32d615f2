"""The registry: every named part of the environment, as lazy `"package.module:attr"` strings.

Nothing is imported before it is asked for. Third parties add rows with `register`, in a file of their own that is named as a
plugin (`plugins.py`), or without a line of code by entry points of the groups `ma2ml.modules`, `.evaluators`, `.rewards`,
`.metrics`, `.tables`, `.games`, `.learners`, `.networks`, `.losses` and `.optimizers`; worker processes find both. Conformance
tests run over all rows.
"""

import difflib
import importlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from ma2ml_env.plugins import loaded

TABLE: dict[str, dict[str, str]] = {
    "modules": {
        "aug": "ma2ml_env.modules.aug:Aug",
        "nas_cell": "ma2ml_env.modules.nas_cell:NasCell",
        "hpo_sgd": "ma2ml_env.modules.hpo_sgd:HpoSgd",
        "hpo_recipe": "ma2ml_env.modules.hpo_recipe:HpoRecipe",
        "loss": "ma2ml_env.modules.loss:Loss",
        "precision": "ma2ml_env.modules.precision:Precision",
        "hpo_continuous": "ma2ml_env.modules.hpo_continuous:HpoContinuous",
        "aug_trivial": "ma2ml_env.modules.jahs:AugTrivial",
        "nas_jahs": "ma2ml_env.modules.jahs:NasJahs",
        "hpo_jahs": "ma2ml_env.modules.jahs:HpoJahs",
        "nas_mlp": "ma2ml_env.modules.mlp:NasMlp",
        "hpo_mlp": "ma2ml_env.modules.mlp:HpoMlp",
        "nas_mobile": "ma2ml_env.modules.nas_mobile:NasMobile",
        "nas_edges": "ma2ml_env.modules.nas_edges:NasEdges",
        "aug_small": "ma2ml_env.modules.small:AugSmall",
        "nas_small": "ma2ml_env.modules.small:NasSmall",
        "hpo_small": "ma2ml_env.modules.small:HpoSmall",
        "aug_trio": "ma2ml_env.modules.trio:AugTrio",
        "nas_trio": "ma2ml_env.modules.trio:NasTrio",
        "hpo_trio": "ma2ml_env.modules.trio:HpoTrio",
        "nas_trio_large": "ma2ml_env.modules.trio_large:NasTrioLarge",
        "hpo_trio_large": "ma2ml_env.modules.trio_large:HpoTrioLarge",
    },
    "evaluators": {
        "surrogate": "ma2ml_env.evaluators.surrogate:Surrogate",
        "train": "ma2ml_env.evaluators.train:Train",
        "pool": "ma2ml_env.evaluators.workers.pool:Pool",
        "ray_pool": "ma2ml_env.evaluators.workers.ray_pool:RayPool",
        "table": "ma2ml_env.evaluators.table:Table",
    },
    "rewards": {
        "accuracy": "ma2ml_env.reward:Accuracy",
        "flops": "ma2ml_env.reward:FlopsReward",
    },
    "metrics": {
        "accuracy": "ma2ml_env.metrics:ACCURACY",
        "balanced_accuracy": "ma2ml_env.metrics:BALANCED_ACCURACY",
        "macro_f1": "ma2ml_env.metrics:MACRO_F1",
        "top5_accuracy": "ma2ml_env.metrics:TOP5_ACCURACY",
        "log_loss": "ma2ml_env.metrics:LOG_LOSS",
    },
    "tables": {
        "jahs_early": "ma2ml_env.tables.jahs_early:JahsEarly",
        "hpobench": "ma2ml_env.tables.hpobench:hpobench",
        "nasbench201": "ma2ml_env.tables.nasbench201:nasbench201",
    },
    "games": {
        "digits-v0": "ma2ml_env.games.image:DIGITS",
        "digits-continuous-v0": "ma2ml_env.games.image:DIGITS_CONTINUOUS",
        "fashion-mnist-v0": "ma2ml_env.games.image:FASHION_MNIST",
        "fashion-mnist-small-v0": "ma2ml_env.games.image:FASHION_MNIST_SMALL",
        "cifar10-v0": "ma2ml_env.games.image:CIFAR10",
        "cifar10-v1": "ma2ml_env.games.image:CIFAR10_V1",
        "cifar10-600m-v1": "ma2ml_env.games.image:CIFAR10_600M_V1",
        "cifar10-small-v0": "ma2ml_env.games.image:CIFAR10_SMALL",
        "cifar10-600m-v0": "ma2ml_env.games.image:CIFAR10_600M",
        "cifar10-600m-small-v0": "ma2ml_env.games.image:CIFAR10_600M_SMALL",
        "cifar100-v0": "ma2ml_env.games.image:CIFAR100",
        "cifar100-small-v0": "ma2ml_env.games.image:CIFAR100_SMALL",
        "cifar100-resnet56-hpo-v0": "ma2ml_env.games.paper:CIFAR100_RESNET56_HPO",
        "cifar100-resnet56-aug-hpo-v0": "ma2ml_env.games.paper:CIFAR100_RESNET56_AUG_HPO",
        "imagenet200-v0": "ma2ml_env.games.paper:IMAGENET200",
        "imagenet200-600m-v0": "ma2ml_env.games.paper:IMAGENET200_600M",
        "imagenet200-900m-v0": "ma2ml_env.games.paper:IMAGENET200_900M",
        "imagenet200-600m-small-v0": "ma2ml_env.games.paper:IMAGENET200_600M_SMALL",
        "own-v0": "ma2ml_env.games.image:OWN",
        "own-small-v0": "ma2ml_env.games.image:OWN_SMALL",
        "own-small-v1": "ma2ml_env.games.image:OWN_SMALL_PLAIN",
        "trio-digits-v0": "ma2ml_env.games.trio:TRIO_DIGITS",
        "trio-fashion-v0": "ma2ml_env.games.trio:TRIO_FASHION",
        "trio-digits-macs-v0": "ma2ml_env.games.trio:TRIO_DIGITS_MACS",
        "trio-fashion-macs-v0": "ma2ml_env.games.trio:TRIO_FASHION_MACS",
        "trio-digits-large-v0": "ma2ml_env.games.trio:TRIO_DIGITS_LARGE",
        "jahs-early-v0": "ma2ml_env.games.table:JAHS_EARLY",
        "jahs-early-60m-v0": "ma2ml_env.games.table:JAHS_EARLY_60M",
        "hpobench-australian-v0": "ma2ml_env.games.table:HPOBENCH_AUSTRALIAN",
        "hpobench-car-v0": "ma2ml_env.games.table:HPOBENCH_CAR",
        "hpobench-phoneme-v0": "ma2ml_env.games.table:HPOBENCH_PHONEME",
        "hpobench-credit-g-v0": "ma2ml_env.games.table:HPOBENCH_CREDIT_G",
        "nasbench201-cifar10-v0": "ma2ml_env.games.table:NASBENCH201_CIFAR10",
    },
    # The project's own stand in ma2ml_agents/registry.py and in training/parts.py; these are for those of third parties.
    "learners": {},
    "networks": {},
    "losses": {},
    "optimizers": {},
}


def register(kind: str, name: str, target: str) -> None:
    """Add a row.

    Args:
        kind: `modules`, `evaluators`, `rewards`, `metrics`, `tables`, `games`, `learners`, `networks`, `losses` or
            `optimizers` (the singular will do).
        name: what users will type.
        target: `"package.module:attr"`, imported when it is first used.

    Raises:
        ValueError: if the kind is unknown, the name is taken by another target, or the target has another form.
    """
    rows = TABLE[_kind(kind)]
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise ValueError(f'a target has the form "package.module:attr", not {target!r}')
    if rows.get(name, target) != target:
        raise ValueError(f"{singular(_kind(kind))} {name!r} is already registered as {rows[name]}")
    rows[name] = target


def names(kind: str) -> list[str]:
    """Every registered name of a kind, the project's own first."""
    loaded()
    return [*TABLE[_kind(kind)], *(name for name in _entry_points(_kind(kind)) if name not in TABLE[_kind(kind)])]


def resolve(kind: str, name: str) -> Any:
    """Import what a name stands for.

    Raises:
        ValueError: if there is no such name; the closest one is offered.
        ImportError: if its module cannot be imported.
    """
    module, _, attribute = target(kind, name).partition(":")
    return getattr(importlib.import_module(module), attribute)


def target(kind: str, name: str) -> str:
    """The `"package.module:attr"` behind a name, which is not imported.

    Raises:
        ValueError: if there is no such name; the closest one is offered.
    """
    kind = _kind(kind)
    loaded()
    found = TABLE[kind].get(name) or _entry_points(kind).get(name)
    if found is None:
        raise ValueError(f"unknown {singular(kind)} {name!r}{closest(name, names(kind))}")
    return found


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: `; did you mean 'x'?`, or all that is known."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(known)}"


def singular(kind: str) -> str:
    """`game` of `games`."""
    return "loss" if kind == "losses" else kind.removesuffix("s")


def _kind(kind: str) -> str:
    plural = kind if kind in TABLE else f"{kind}es" if kind.endswith("s") else f"{kind}s"
    if plural not in TABLE:
        raise ValueError(f"unknown kind {kind!r}{closest(kind, TABLE)}")
    return plural


@cache
def _entry_points(kind: str) -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group=f"ma2ml.{kind}")}
