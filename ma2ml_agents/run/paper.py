"""The paper's tables and pictures, made from runs, with its published numbers beside them.

Tables 1 and 2 and Fig. 3 read retrainings by levels of MACs, Table 3 the winners' repeats, Table 4 those and the baseline,
Figs. 4 and 5 the trials of the searches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ma2ml_agents.run import published
from ma2ml_agents.run.chart import Point, panels
from ma2ml_agents.run.standing import curve, recipe_key
from ma2ml_agents.run.stored import build_without_evaluator, stored_config
from ma2ml_env.reading import expected, read_json
from ma2ml_env.store import TrialStore
from ma2ml_env.trial import Outcome

Row = tuple[str, ...]


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
    config: dict[str, Any]
    retrained: dict[str, Any]

    @property
    def name(self) -> str:
        """Of its rows: the learner, marked as ours."""
        return f"{self.config['learner']} (ours, {self.folder.name})"

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
        return Stored(folder, config, {"levels": [], "baseline": None, **read_json(summary.read_bytes())})


def _measured(outcome: Outcome) -> tuple[float, float]:
    return 100 * outcome.metrics["test_accuracy"], outcome.flops / 1e6


def _repeated(retrained: dict[str, Any]) -> str:
    return f"{100 * retrained['mean']:.2f}+-{100 * retrained['deviation']:.2f}"


def _millions(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"


def table_1(runs: Sequence[Stored]) -> Table:
    """ImageNet, accuracy and MACs of methods near 600M."""
    rows: list[Row] = [
        (r.model, f"{r.accuracy:.1f}", "-" if r.flops is None else f"{r.flops:.0f}", r.method, r.modules)
        for r in published.TABLE_1
    ]
    for run in runs:
        modules = "+".join(run.config["modules"] or ("aug", "nas", "hpo")).upper()
        for letter, accuracy, flops in run.levels():
            rows.append((f"{run.name}-{letter}", f"{accuracy:.1f}", f"{flops:.0f}", "MARL", modules))
    return Table("Table 1: ImageNet", ("model", "accuracy (%)", "MACs (M)", "method", "modules"), rows)


def table_2(runs: Sequence[Stored]) -> Table:
    """ImageNet, MA2ML against MA2ML-Lite at three levels."""
    rows: list[Row] = []
    ours = {run.name: {letter: (accuracy, flops) for letter, accuracy, flops in run.levels()} for run in runs}
    for model, levels in {**published.TABLE_2, **ours}.items():
        rows.append(
            (
                model,
                " / ".join(f"{accuracy:.1f}" for accuracy, _ in levels.values()),
                " / ".join(f"{flops:.0f}" for _, flops in levels.values()),
                " / ".join(levels),
            )
        )
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
        measured, none = (_repeated(run.retrained), params), ("-", "-")
        if run.config["game"].startswith("cifar100"):
            rows.append((run.name, *none, *measured, "MARL"))
        else:
            name = run.name if run.config["game"].startswith("cifar10") else f"{run.name}: {run.config['game']}"
            rows.append((name, *measured, *none, "MARL"))
    columns = ("model", "CIFAR-10 (%)", "params (M)", "CIFAR-100 (%)", "params (M)", "method")
    return Table("Table 3: CIFAR-10 and CIFAR-100", columns, rows)


def table_4(runs: Sequence[Stored]) -> Table:
    """CIFAR-100 by the modules that are searched; the baseline comes from `ma2ml retrain RUN --baseline`."""
    ours: dict[str, str] = {}
    for run in runs:
        agents = set(run.config["modules"] or build_without_evaluator(run.config).modules)
        column = "+".join(name.upper() for name in ("nas", "aug", "hpo") if name in agents)
        if column not in published.TABLE_4:
            raise ValueError(
                f"{run.folder} searches {column}, which is no column of Table 4: {', '.join(published.TABLE_4)}"
            )
        ours[column] = _repeated(run.retrained)
        if run.retrained["baseline"] and run.retrained["baseline"]["mean"] is not None and "nas" not in agents:
            ours["baseline"] = _repeated(run.retrained["baseline"])
    rows: list[Row] = [
        ("paper", *(f"{accuracy:.2f}" for accuracy in published.TABLE_4.values())),
        ("ours", *(ours.get(column, "-") for column in published.TABLE_4)),
    ]
    return Table("Table 4: CIFAR-100, modules searched (%)", ("", *published.TABLE_4), rows)


def figure_3(runs: Sequence[Stored]) -> str:
    """Accuracy against MACs on ImageNet, as SVG."""
    series: dict[str, list[Point]] = {
        "others (Table 1)": [
            (r.flops, r.accuracy) for r in published.TABLE_1 if r.flops and not r.model.startswith("MA2ML")
        ],
        "MA2ML (paper)": [(flops, accuracy) for accuracy, flops in published.FIGURE_3.values()],
    }
    for run in runs:
        series[run.name] = [(flops, accuracy) for _, accuracy, flops in run.levels()]
    return panels([(series, "MACs (M)", "accuracy (%)", ("others (Table 1)",))])


def learning_curves(folders: Sequence[Path], top_k: int | None) -> str:
    """Figs. 4 and 5 as SVG: mean of the top k so far, and mean of each batch, against batches; runs of a learner are averaged.

    Args:
        folders: of the runs.
        top_k: 20 in Fig. 4, 30 in Fig. 5; None is the game's own.

    Raises:
        ValueError: a run has no trials, or the runs are not of one game and batch size.
    """
    found: dict[str, list[list[tuple[float, float]]]] = {}
    shared: set[tuple[str, int]] = set()
    for folder in folders:
        with TrialStore(folder, create=False) as store:
            config, trials = stored_config(store), list(store.trials())
        if not trials:
            raise ValueError(f"{folder} has no trials yet")
        game = build_without_evaluator(config)
        points = curve(trials, config["batch"], top_k or game.protocol.top_k, recipe_key(game))
        found.setdefault(config["learner"], []).append([(batch, top) for _, batch, top in points])
        shared.add((config["game"], config["batch"]))
    if len(shared) > 1:
        raise ValueError(
            f"curves of different games or batch sizes do not compare: {', '.join(map(str, sorted(shared)))}"
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
