"""A run's report as one static HTML file: curves as inline SVG, tables, no script and nothing fetched."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ma2ml_agents.reports.chart import chart
from ma2ml_agents.reports.tables import amount, mark, metric_cell, metric_column
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.standing import Standing, curve, first_and_last, pareto, recipe_key
from ma2ml_agents.run.stored import build_without_evaluator, known_trials, stored_config
from ma2ml_env.game import Game
from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.reading import expected, read_json
from ma2ml_env.metrics import metric, score
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Trial

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
td:first-child, th:first-child { text-align: left; }
svg { width: 100%; height: auto; }
pre { overflow-x: auto; background: #f6f6f6; padding: .8rem; }
"""


def write_report(store: TrialStore, path: Path) -> None:
    """Write the report of what is stored.

    Raises:
        ValueError: if the run has no trials yet, or is damaged.
        OSError: if the file cannot be written.
    """
    config, found = stored_config(store), known_trials(store)
    if not found.trials:
        raise ValueError(f"{store.folder} has no trials yet")
    summary = store.folder / "retrain" / "summary.json"
    retrained = None
    if summary.exists():
        with expected(summary, f"run `ma2ml retrain {store.folder}` again"):
            retrained = read_json(summary.read_bytes())
            _retrained(retrained)  # is all there that the page needs?
    write_atomic(path, render(config, found.trials, build_without_evaluator(config), retrained, found.open).encode())


def render(
    config: RunConfig,
    trials: Sequence[Trial],
    game: Game,
    retrained: Mapping[str, Any] | None = None,
    unclosed: Collection[int] = (),
) -> str:
    """The page.

    Args:
        config: of the run.
        trials: at least one.
        game: for recipes and values; its evaluator is not used.
        retrained: content of `retrain/summary.json`.
        unclosed: numbers of the trials whose batch is open.
    """
    top_k, key = game.protocol.top_k, recipe_key(game)
    standing = Standing(top_k, key)
    standing.add(trials)
    best = standing.top[0]
    means = first_and_last(trials, config.batch)
    gain = (
        ""
        if means is None
        else f" Mean reward of the first two batches {means[0]:.4f}, of the last two {means[1]:.4f}."
    )
    counts = ", ".join(f"{count} {status}" for status, count in standing.counts.items())
    if unclosed:
        counts += f", {len(unclosed)} of them in the open batch, the curves' last point"
    ranked = (
        (str(rank), mark(trial.number, unclosed), *_cells(trial, config.metric))
        for rank, trial in enumerate(standing.top, 1)
    )
    scored = "accuracy" if config.metric == "accuracy" else f"score by {metric(config.metric).title}"
    body = [
        f"<h1>{escape(config.game)}, learner {escape(config.learner)}</h1>",
        f"<p>{len(trials)} of {config.budget} trials: {counts}. {len(standing.distinct)} distinct pipelines.{gain}</p>",
        "<h2>Rewards</h2>",
        _rewards(trials, config.batch, standing),
        f"<h2>{escape(scored.capitalize())} against MACs</h2>",
        _front(trials, config.metric, scored),
        f"<h2>Top {len(standing.top)} pipelines, by reward</h2>",
        _table(_columns(config.metric), ranked),
        "" if retrained is None else _retrained(retrained),
        f"<h2>The best pipeline, trial {mark(best.number, unclosed)}</h2>",
        f"<pre>{escape(json.dumps(game.values(best.proposal.codes), indent=1))}</pre>",
        "<h2>Settings</h2>",
        f"<pre>{escape(json.dumps(config.to_json(), indent=1))}</pre>",
    ]
    head = f'<meta charset="utf-8"><title>ma2ml: {escape(config.game)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _rewards(trials: Sequence[Trial], batch: int, standing: Standing) -> str:
    points = curve(trials, batch, standing.top_k, standing.key)
    batch_means, top_means = [(x, mean) for x, mean, _ in points], [(x, top) for x, _, top in points]
    return chart({"mean of the batch": batch_means, f"mean of the top {standing.top_k}": top_means}, "trials", "reward")


def _front(trials: Sequence[Trial], by: str, title: str) -> str:
    front = [(float(t.outcome.flops), score(by, t.outcome)) for t in pareto(trials, by)]
    if not front:
        return "<p>No MACs are known.</p>"
    known = [
        (float(t.outcome.flops), score(by, t.outcome)) for t in trials if t.outcome.status == "ok" and t.outcome.flops
    ]
    return chart({"trials": known, "front": front}, "MACs", title, dots=("trials",))


def _columns(by: str) -> tuple[str, ...]:
    return ("rank", "trial", "reward", "accuracy", *metric_column(by), "MACs", "params", "seconds", "seed")


def _cells(trial: Trial, by: str) -> tuple[str, ...]:
    outcome = trial.outcome
    known = (f"{trial.reward:.4f}", f"{outcome.accuracy:.4f}", *metric_cell(trial, by))
    size = (amount(outcome.flops), amount(outcome.params))
    return (*known, *size, f"{outcome.seconds:.1f}", str(trial.seed))


def _retrained(summary: Mapping[str, Any]) -> str:
    rows = []
    for row in summary["top"]:
        outcome = Outcome.from_json(row["outcome"])
        test = outcome.test_accuracy
        measured = (
            (f"{outcome.accuracy:.4f}", "-" if test is None else f"{test:.4f}")
            if outcome.status == "ok"
            else ("-", "-")
        )
        rows.append((str(row["trial"]), *measured, amount(outcome.flops), amount(outcome.params)))
    title = escape(metric(summary.get("metric", "accuracy")).title)
    chosen = f"validation {title}" if summary["select"] == "validation" else f"test {title}, which is optimistic"
    times, accuracy = len(summary["repeats"]), f"{summary['mean']:.4f}"
    if times > 1:
        accuracy += f" &plusmn; {summary['deviation']:.4f}"
    often = "once" if times == 1 else f"{times} times"
    trained = f"{often} on training and validation images" if times else "once, on training images"
    levels = [
        (amount(level["limit"]), "none fits" if level["trial"] is None else str(level["trial"]))
        for level in summary.get("levels", [])
    ]
    return (
        "<h2>Trained to the end</h2>"
        + _table(("trial", "validation", "test", "MACs", "params"), rows)
        + (_table(("MACs at most", "best trial"), levels) if levels else "")
        + f"<p>Trial {summary['winner']:d} was chosen by {chosen}. Trained {trained}, its test accuracy is {accuracy}.</p>"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
