"""The paper's tables and pictures, made from runs, with its published numbers beside them.

Tables 1 and 2 and Fig. 3 read retrainings by levels of MACs, Table 3 the winners' repeats, Table 4 those and the baseline,
Figs. 4 and 5 the trials of the searches.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ma2ml_agents.after.results import tested
from ma2ml_agents.reports import published
from ma2ml_agents.reports.chart import Point, panels
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.standing import curve, recipe_key
from ma2ml_agents.run.stored import build_without_evaluator, stored_config
from ma2ml_env.game import Game
from ma2ml_env.io.reading import expected, read_json
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome

Row = tuple[str, ...]
_MAY_DIFFER = {"learner", "learner_set", "seed", *RunConfig.names(safe=True)} - {"time_limit"}
"""of the configs of runs whose curves stand in one picture"""
_USUAL = RunConfig.usual()
_TOLD = [name for name in RunConfig.names("game", "source", "trainer", safe=False) if name != "modules"]
"""of a run's config: what makes a named game another one, where it is given; the agents have a column of their own"""


@dataclass(frozen=True)
class Table:
    """Columns, and rows of as many cells."""

    title: str
    columns: Row
    rows: Sequence[Row]

    def markdown(self) -> str:
        """As GitHub reads it."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True)
class Stored:
    """A run: what it was told, and what its retraining came to."""

    folder: Path
    config: RunConfig
    retrained: dict[str, Any]
    game: Game

    @property
    def agents(self) -> tuple[str, ...]:
        """Who searched, by the names that they have in the game."""
        return tuple(self.game.modules)

    @property
    def accuracy(self) -> str:
        """The winner's, on test images, in percent."""
        return _percent(self.retrained, len(self.retrained["repeats"]))

    def name(self, papers: Sequence[str]) -> str:
        """Of its rows: the learner, marked as ours, and what is not the paper's setting, whose games are named."""
        return _with_settings(f"{self.config.learner} (ours, {self.folder.name})", self.unlike(papers))

    def unlike(self, papers: Sequence[str]) -> list[str]:
        """What differs from the paper: another game than these, and whatever was told beside it."""
        game = [] if self.config.game in papers else [self.config.game]
        own = {"budget": self.game.protocol.budget, "batch": self.game.protocol.batch}
        config = self.config.to_json()
        told = {name: config[name] for name, usual in own.items() if config[name] != usual}
        told |= {name: config[name] for name in _TOLD if config[name] != _USUAL[name]}
        told |= {**self.config.set, **self.config.learner_set}
        return [*game, *(f"{name}={json.dumps(value)}" for name, value in told.items())]

    def levels(self) -> list[tuple[str, float, float]]:
        """(letter, test accuracy in percent, millions of MACs) of the best under each limit.

        Raises:
            ValueError: if the run was not retrained by levels.
        """
        if not self.retrained["levels"]:
            raise ValueError(
                f"{self.folder} was not retrained by levels: ma2ml retrain {self.folder} --levels 500m,600m,700m"
            )
        outcomes = {row["trial"]: Outcome.from_json(row["outcome"]) for row in self.retrained["top"]}
        return [
            (published.level_name(level["limit"]), *_measured(outcomes[level["trial"]]))
            for level in self.retrained["levels"]
            if level["trial"] is not None
        ]


def read(folder: Path) -> Stored:
    """A run that has been retrained.

    Raises:
        ValueError: if it has not.
        FileNotFoundError: if there is no run.
    """
    with TrialStore(folder, create=False) as store:
        config = stored_config(store)
    summary = folder / "retrain" / "summary.json"
    if not summary.exists():
        raise ValueError(f"{folder} has not been retrained: ma2ml retrain {folder}")
    with expected(summary, f"run `ma2ml retrain {folder}` again"):
        retrained = {"levels": [], "baseline": None, **read_json(summary.read_bytes())}
    return Stored(folder, config, retrained, build_without_evaluator(config))


def _measured(outcome: Outcome) -> tuple[float, float]:
    return 100 * tested(outcome), outcome.flops / 1e6


def _percent(measured: Mapping[str, Any], trainings: int) -> str:
    """A mean with its deviation; one training has none."""
    deviation = f"+-{100 * measured['deviation']:.2f}" if trainings > 1 else ""
    return f"{100 * measured['mean']:.2f}{deviation}"


def _with_settings(name: str, settings: Sequence[str]) -> str:
    return f"{name}: {', '.join(settings)}" if settings else name


def _millions(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"


def table_1(runs: Sequence[Stored]) -> Table:
    """ImageNet, accuracy and MACs of methods near 600M."""
    rows: list[Row] = [
        (r.model, f"{r.accuracy:.1f}", "-" if r.flops is None else f"{r.flops:.0f}", r.method, r.modules)
        for r in published.TABLE_1
    ]
    for run in runs:
        modules, name = "+".join(run.agents).upper(), run.name(published.IMAGENET)
        for level, accuracy, flops in run.levels():
            rows.append((f"{name}-{level}", f"{accuracy:.1f}", f"{flops:.0f}", "MARL", modules))
    return Table("Table 1: ImageNet", ("model", "accuracy (%)", "MACs (M)", "method", "modules"), rows)


def table_2(runs: Sequence[Stored]) -> Table:
    """ImageNet, MA2ML against MA2ML-Lite at three levels."""
    models = [(name, [(level, *found) for level, found in rows.items()]) for name, rows in published.TABLE_2.items()]
    models += [(run.name(published.IMAGENET), run.levels()) for run in runs]
    rows: list[Row] = [
        (
            model,
            " / ".join(f"{accuracy:.1f}" for _, accuracy, _ in levels),
            " / ".join(f"{flops:.0f}" for _, _, flops in levels),
            " / ".join(level for level, _, _ in levels),
        )
        for model, levels in models
    ]
    return Table("Table 2: ImageNet by levels", ("model", "accuracy (%)", "MACs (M)", "levels"), rows)


def table_3(runs: Sequence[Stored]) -> Table:
    """CIFAR-10 and CIFAR-100, the winner's repeats."""
    rows: list[Row] = [
        (r.model, r.cifar10, _millions(r.cifar10_params), r.cifar100, _millions(r.cifar100_params), r.method)
        for r in published.TABLE_3
    ]
    for run in runs:
        kept = run.retrained
        finals = kept["repeats"] or [row for row in kept["top"] if row["trial"] == kept["winner"]]  # `--repeats 0`
        params = _millions(finals[0]["outcome"]["params"] / 1e6)
        measured, none = (run.accuracy, params), ("-", "-")
        cells = (*none, *measured) if run.config.game.startswith("cifar100") else (*measured, *none)
        rows.append((run.name(published.CIFAR), *cells, "MARL"))
    columns = ("model", "CIFAR-10 (%)", "params (M)", "CIFAR-100 (%)", "params (M)", "method")
    return Table("Table 3: CIFAR-10 and CIFAR-100", columns, rows)


def table_4(runs: Sequence[Stored]) -> Table:
    """CIFAR-100 by the modules that are searched; the baseline comes from `ma2ml retrain RUN --baseline`."""
    ours: dict[str, dict[str, str]] = {}
    for run in runs:
        order = ("nas", "aug", "hpo")
        column = "+".join(sorted(run.agents, key=lambda name: order.index(name) if name in order else 3)).upper()
        if column not in published.TABLE_4:
            raise ValueError(
                f"{run.folder} searches {column}, which is no column of Table 4: {', '.join(published.TABLE_4)}"
            )
        unlike, network = run.unlike(published.CIFAR100), run.game.base.network.kind
        if "nas" not in run.agents and network != "resnet_cifar":
            unlike.append(f"network {network}")
        name = _with_settings(f"{run.config.learner} (ours)", unlike)
        if column in ours.get(name, {}):  # another run of the same
            name += f", {run.folder.name}"
        row = ours.setdefault(name, {})
        row[column] = run.accuracy
        baseline = run.retrained["baseline"]
        if baseline and baseline["mean"] is not None and "nas" not in run.agents:
            row["baseline"] = _percent(baseline, len(baseline["trainings"]))
    rows: list[Row] = [("paper", *(f"{accuracy:.2f}" for accuracy in published.TABLE_4.values()))]
    for name, row in (ours or {"ours": {}}).items():
        rows.append((name, *(row.get(column, "-") for column in published.TABLE_4)))
    return Table("Table 4: CIFAR-100, modules searched (%)", ("", *published.TABLE_4), rows)


def figure_3(runs: Sequence[Stored]) -> str:
    """Accuracy against MACs on ImageNet, as SVG; MA2ML-D to F, whose MACs are not printed, are dots at their limits."""
    limits = {letter: limit / 1e6 for limit, letter in published.LEVELS.items()}
    series: dict[str, list[Point]] = {
        "others (Table 1)": [
            (r.flops, r.accuracy) for r in published.TABLE_1 if r.flops and not r.model.startswith("MA2ML")
        ],
        "MA2ML (paper)": [(flops, accuracy) for accuracy, flops in published.FIGURE_3.values() if flops],
        "MA2ML (paper), at most": [
            (limits[letter], accuracy) for letter, (accuracy, flops) in published.FIGURE_3.items() if not flops
        ],
    }
    for run in runs:
        name = run.name(published.IMAGENET)
        if name in series:  # two folders of one name
            name += f" ({run.folder})"
        series[name] = [(flops, accuracy) for _, accuracy, flops in run.levels()]
    scattered = ("others (Table 1)", "MA2ML (paper), at most")
    return panels([(series, "MACs (M)", "accuracy (%)", scattered)])


def learning_curves(folders: Sequence[Path], top_k: int | None) -> str:
    """Figs. 4 and 5 as SVG: mean of the top k so far, and mean of each batch, against batches; seeds of a learner are averaged.

    Args:
        folders: of the runs.
        top_k: 20 in Fig. 4, 30 in Fig. 5; None is the game's own.

    Raises:
        ValueError: a run has no trials, or the runs differ in what is searched or how it is measured; it is named.
    """
    found: dict[str, list[list[tuple[float, float]]]] = {}
    first: dict[str, Any] = {}
    for folder in folders:
        with TrialStore(folder, create=False) as store:
            config, trials = stored_config(store), list(store.trials())
        if not trials:
            raise ValueError(f"{folder} has no trials yet")
        game = build_without_evaluator(config)
        points = curve(trials, config.batch, top_k or game.protocol.top_k, recipe_key(game))
        told = [f"{name}={json.dumps(value)}" for name, value in config.learner_set.items()]
        found.setdefault(" ".join([config.learner, *told]), []).append([(batch, top) for _, batch, top in points])
        measured = {name: value for name, value in config.to_json().items() if name not in _MAY_DIFFER}
        first = first or measured
        if measured != first:
            name = next(name for name in sorted({*measured, *first}) if measured.get(name) != first.get(name))
            raise ValueError(
                f"{folders[0]} and {folder} do not compare: {name} is {json.dumps(first.get(name))} there and "
                f"{json.dumps(measured.get(name))} here"
            )
    tops: dict[str, list[Point]] = {}
    means: dict[str, list[Point]] = {}
    for learner, runs in found.items():
        name = learner if len(runs) == 1 else f"{learner} (mean of {len(runs)})"
        batches = list(zip(*runs, strict=False))  # as far as the shortest
        tops[name] = [(i, fmean(top for _, top in at)) for i, at in enumerate(batches, 1)]
        means[name] = [(i, fmean(batch for batch, _ in at)) for i, at in enumerate(batches, 1)]
    return panels(
        [
            (tops, "batch", "mean reward of the top so far", ()),
            (means, "batch", "mean reward of the batch", tuple(means)),
        ]
    )
