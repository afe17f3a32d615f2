"""Tables of what was trained to the end: by accuracy, by all metrics, by class, and beside what needs no search."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ma2ml_agents.after.floors import ranked
from ma2ml_agents.after.per_class import PerClass
from ma2ml_agents.after.results import tested
from ma2ml_agents.after.retrained import Retrained, mean_and_deviation, measured_on_test, plus_minus
from ma2ml_agents.reports.published import level_name
from ma2ml_agents.reports.tables import amount, table
from ma2ml_env.metrics import metric, value
from ma2ml_env.registry import names
from ma2ml_env.trial import Outcome


def print_retrained(console: Console, result: Retrained) -> None:
    """All of it, the winner's test accuracy last."""
    console.print(top_table(result))
    optimistic = "" if result.select == "validation" else " (optimistic: chosen by what it reports)"
    console.print(f"* chosen by {result.select} {metric(result.metric).title}{optimistic}")
    console.print(metrics_table(result))
    if result.classes is not None:
        console.print(class_table(result.classes))
    if result.levels:
        console.print(levels_table(result))
    said = [(f"trial {result.winner.trial.number}", result.repeats), ("the base recipe", result.baseline)]
    for name, trainings in said[: 1 if result.floors else 2]:
        if trainings:
            times = "once" if len(trainings) == 1 else f"{len(trainings)} times"
            what = "" if len(trainings) == 1 else " (mean and standard deviation)"
            console.print(
                f"test accuracy of {name}, trained {times} on training and validation images: "
                f"{plus_minus(*mean_and_deviation(trainings))}{what}",
                soft_wrap=True,
            )
    if result.verdict is not None:
        console.print(floors_table(result))
        console.print(result.verdict.sentence(), soft_wrap=True)


def top_table(result: Retrained) -> Table:
    """The top of the search, trained on the training images; the winner has a star."""
    made = table("trained to the end", "trial", "accuracy in search", "validation", "test", "MACs", "params")
    for one in sorted(result.top, key=result.rank):
        done = one.outcome
        test = f"{tested(done):.4f}" if done.status == "ok" else done.error
        number = f"{one.trial.number}{' *' if one is result.winner else ''}"
        measured = (f"{one.trial.outcome.accuracy:.4f}", f"{done.accuracy:.4f}", test)
        made.add_row(number, *measured, amount(done.flops), amount(done.params))
    return made


def levels_table(result: Retrained) -> Table:
    """The best under each limit on MACs."""
    made = table("best under each limit", "model", "MACs at most", "trial", "validation", "test", "MACs", "params")
    for level in result.levels:
        limit = (level_name(level.limit), amount(level.limit))
        if level.best is None:
            made.add_row(*limit, "none fits", *4 * "-")
            continue
        done = level.best.outcome
        measured = (f"{done.accuracy:.4f}", f"{tested(done):.4f}")
        made.add_row(*limit, str(level.best.trial.number), *measured, amount(done.flops), amount(done.params))
    return made


def floors_table(result: Retrained) -> Table:
    """The winner beside what needs no search, the best first."""
    made = table("trained on training and validation images", "", "rate", "times", "test", "+-", "MACs")
    for name, rate, trainings in ranked(result):
        mean, deviation = mean_and_deviation(trainings)
        rate_told = "" if rate is None else f"{rate:g}"
        spread = "" if deviation is None else f"{deviation:.4f}"
        macs = amount(trainings[0].outcome.flops)
        made.add_row(name, rate_told, str(len(trainings)), f"{mean:.4f}", spread, macs)
    return made


def metrics_table(result: Retrained) -> Table:
    """All metrics of all that was trained to the end, those of losses as losses; the choice went by the one with a star."""
    done = [one for one in sorted(result.top, key=result.rank) if one.outcome.status == "ok"]
    shown = [name for name in names("metrics") if any(value(name, one.outcome) is not None for one in done)]
    titles = (f"{metric(name).title}{' *' if name == result.metric else ''}" for name in shown)
    made = table("by all metrics", "trial", "on", *titles)

    def cells(outcome: Outcome, test: bool) -> list[str]:
        return [_number(value(name, outcome, test=test)) for name in shown]

    for one in done:
        made.add_row(str(one.trial.number), "validation", *cells(one.outcome, test=False))
        made.add_row("", "test", *cells(one.outcome, test=True))
    if result.repeats:
        whole = measured_on_test(result.repeats)
        spread = [mean_and_deviation(result.repeats, name) if name in whole else (None, None) for name in shown]
        made.add_row("repeats", "test", *(_number(mean) for mean, _ in spread))
        if len(result.repeats) > 1:
            made.add_row("deviation", "", *(_number(deviation) for _, deviation in spread))
    return made


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def class_table(found: PerClass) -> Table:
    """A row a class, of the worst where there are many; images are those of all trainings together."""
    what, rows = found.shown()
    trainings = "of the winner" if found.trainings == 1 else f"of {found.trainings} trainings of the winner"
    made = table(f"{what}, on test images {trainings}", "class", "images", "precision", "recall", "F1")
    for row in rows:
        made.add_row(
            escape(row.name), str(row.images), *(f"{share:.4f}" for share in (row.precision, row.recall, row.f1))
        )
    return made
