"""Tables for people: of trials, batches, settings."""

import math
from collections.abc import Collection, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from ma2ml_agents.run.standing import Key, Standing, batches, first_and_last, mean_reward
from ma2ml_env.game import Game
from ma2ml_env.metrics import metric as metric_of
from ma2ml_env.metrics import value
from ma2ml_env.trial import Trial

ROWS = 10
"""most rows of the table of batches"""
LONG = 300
"""most rows of the table of trials"""


def amount(number: float) -> str:
    """MACs or parameters with three digits: 1.23M."""
    if number == 0:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:  # it is rounded up
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def table(title: str, *columns: str) -> Table:
    """An empty table; the first column is to the left, numbers are to the right."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        made.add_column(column, justify="left" if position == 0 else "right", overflow="fold")  # never cut a number
    return made


def glossary(words: Mapping[str, str]) -> Table:
    """Each word, and what it is beside it."""
    made = Table.grid(padding=(0, 2, 0, 1))
    made.add_column(no_wrap=True)
    made.add_column()
    for word, meaning in words.items():
        made.add_row(word, meaning)
    return made


def metric_column(metric: str) -> tuple[str, ...]:
    """Beside the accuracy's: the title of the metric that a run goes by, if it is another."""
    return () if metric == "accuracy" else (metric_of(metric).title,)


def metric_cell(trial: Trial, metric: str) -> tuple[str, ...]:
    """Its value, of a loss the loss, in that column."""
    found = value(metric, trial.outcome)
    return () if metric == "accuracy" else ("-" if found is None else f"{found:.4f}",)


def top_table(trials: Sequence[Trial], game: Game, title: str, metric: str = "accuracy") -> Table:
    """Rank, trial, reward, accuracy, the metric, MACs, parameters, learning rate and weight decay of each."""
    more = metric_column(metric)
    made = table(title, "rank", "trial", "reward", "accuracy", *more, "MACs", "params", "rate", "decay")
    for rank, trial in enumerate(trials, 1):
        outcome, recipe = trial.outcome, game.recipe(trial.proposal.codes)
        made.add_row(
            str(rank),
            str(trial.number),
            f"{trial.reward:.4f}",
            f"{outcome.accuracy:.4f}",
            *metric_cell(trial, metric),
            amount(outcome.flops),
            amount(outcome.params),
            f"{recipe.learning_rate:.3g}",
            f"{recipe.weight_decay:.3g}",
        )
    return made


def batch_table(trials: Sequence[Trial], size: int, top_k: int, key: Key) -> Table:
    """Mean and best reward of successive pairs of batches; longer stretches in long searches."""
    parts = batches(trials, size)
    step = max(2, 2 * math.ceil(len(parts) / 2 / ROWS))
    standing = Standing(top_k, key)
    made = table(f"rewards, {step} batches of {size} a row", "batches", "mean", "best", f"top {top_k} so far", "failed")
    for start in range(0, len(parts), step):
        some = [trial for part in parts[start : start + step] for trial in part]
        standing.add(some)
        last = min(start + step, len(parts))
        made.add_row(
            f"{start + 1}-{last}" if last > start + 1 else str(last),
            f"{mean_reward(some):.4f}",
            f"{max(trial.reward for trial in some):.4f}",
            f"{standing.top_mean:.4f}",
            str(sum(trial.outcome.status == "failed" for trial in some)),
        )
    return made


def mark(number: int, unclosed: Collection[int]) -> str:
    """A trial's number, with a word where it is one of an open batch."""
    return f"{number} (open)" if number in unclosed else str(number)


def print_trials(
    console: Console, trials: Sequence[Trial], metric: str = "accuracy", unclosed: Collection[int] = ()
) -> None:
    """One row a trial; those of an open batch are marked. More than `LONG` are plain columns: a table takes 2 ms a row."""
    columns = ("trial", "status", "reward", "accuracy", *metric_column(metric), "MACs", "params", "seconds", "error")
    rows = [
        (
            mark(trial.number, unclosed),
            trial.outcome.status,
            f"{trial.reward:.4f}",
            f"{trial.outcome.accuracy:.4f}",
            *metric_cell(trial, metric),
            amount(trial.outcome.flops),
            amount(trial.outcome.params),
            f"{trial.outcome.seconds:.1f}",
            trial.outcome.error,
        )
        for trial in trials
    ]
    if len(rows) > LONG:
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            line = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            console.file.write(f"{line.rstrip()}\n")
        return
    made = table("trials", *columns)
    for row in rows:
        made.add_row(*row)
    console.print(made)


def print_summary(console: Console, standing: Standing, game: Game, batch: int, metric: str = "accuracy") -> None:
    """What a search came to: batches, top k, counts."""
    console.print(batch_table(standing.trials, batch, standing.top_k, standing.key))
    means = first_and_last(standing.trials, batch)
    if means is not None:
        console.print(
            f"mean reward: first two batches {means[0]:.4f}, last two batches {means[1]:.4f} ({means[1] - means[0]:+.4f})"
        )
    title = f"top {len(standing.top)} of {len(standing.distinct)} pipelines, by reward"
    if standing.top:
        console.print(top_table(standing.top, game, title, metric))
    counts = ", ".join(f"{count} {status}" for status, count in standing.counts.items())
    console.print(f"{len(standing.trials)} trials: {counts}")
