"""Which classes the winner gets right, and which it takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass

from ma2ml_agents.after.per_class import ClassRow, PerClass
from ma2ml_agents.reports.page.charts import Chart, matrix
from ma2ml_agents.reports.page.facts import Facts

DRAWN = 60
"""most classes whose matrix is drawn"""
LISTED = 200
"""most classes that are all listed; of more those of lowest F1"""
PAIRS = 10
"""confusions that are told"""


@dataclass(frozen=True)
class Classes:
    """The section's content."""

    sentence: str
    rows: Sequence[ClassRow]
    pairs: Sequence[tuple[str, str, int, float]]
    """(right class, predicted, images, share of the class)"""
    charts: Sequence[Chart]
    missing: Sequence[str]
    trainings: int = 1
    """of the winner, whose predictions are counted together"""


def classes(facts: Facts) -> Classes:
    """The section of a run."""
    made = facts.retraining
    if made is None:
        hint = " until `ma2ml retrain` has trained it to its end" if facts.trained else ": nothing was trained"
        return Classes("", (), (), (), [f"Classes of the winner are not known{hint}."])
    told = made.classes
    if told is None:
        return Classes("", (), (), (), ["The retraining has kept no predictions, as earlier versions did."])
    worst = sorted((row for row in told.rows if row.images), key=lambda row: row.f1)
    sentence = (
        f"{len(told.rows)} classes, {told.images:,} test images, {told.trainings} trainings of the winner together."
    )
    if worst:
        sentence += (
            f" The hardest class is {worst[0].name} (recall {worst[0].recall:.4f}), the easiest {worst[-1].name} "
            f"(recall {worst[-1].recall:.4f})."
        )
    rows, missing = list(told.rows), []
    if len(rows) > LISTED:
        rows = worst[:LISTED]
        missing.append(f"Listed are the {LISTED} classes of lowest F1, of {len(told.rows)}.")
    charts, pairs = _confusion(told)
    if not charts:
        missing.append(
            "No matrix is drawn: "
            + (
                "it is not kept of so many classes."
                if told.confusion is None
                else f"{len(told.rows)} classes are too many."
            )
        )
    return Classes(sentence, rows, pairs, charts, missing, told.trainings)


def _confusion(told: PerClass) -> tuple[list[Chart], list[tuple[str, str, int, float]]]:
    if told.confusion is None:
        return [], []
    names = _different([row.name for row in told.rows])
    sums = [max(1, sum(row)) for row in told.confusion]
    cells = [
        (names[i], names[j], count, count / sums[i])
        for i, row in enumerate(told.confusion)
        for j, count in enumerate(row)
    ]
    wrong = sorted((cell for cell in cells if cell[0] != cell[1] and cell[2]), key=lambda cell: -cell[2])[:PAIRS]
    if len(names) > DRAWN:
        return [], wrong
    rows = [{"right": r, "predicted": p, "images": n, "share": round(s, 4)} for r, p, n, s in cells]
    side = max(140, min(560, 30 * len(names)))
    return [
        Chart("confusion", "Right class (rows) and predicted class (columns)", rows, matrix(len(names)), height=side)
    ], wrong


def _different(names: Sequence[str]) -> list[str]:
    """Names of which none stands twice."""
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names)]
