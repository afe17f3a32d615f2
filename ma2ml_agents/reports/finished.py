"""Tables of what was trained to the end: by all metrics, and by class."""

from rich.markup import escape
from rich.table import Table

from ma2ml_agents.after.per_class import PerClass
from ma2ml_agents.after.retrained import Retrained, mean_and_deviation, measured_on_test
from ma2ml_agents.reports.tables import table
from ma2ml_env.metrics import metric, value
from ma2ml_env.registry import names
from ma2ml_env.trial import Outcome


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
