"""The answer: what won, by how much, and what to do next."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ma2ml_agents.after.per_class import wilson
from ma2ml_agents.reports.page.cells import Picture, picture
from ma2ml_agents.reports.page.charts import STRONG, Chart, quantity, tips
from ma2ml_agents.reports.page.facts import Facts
from ma2ml_agents.reports.page.finals import Retraining
from ma2ml_agents.reports.page.steps import next_steps
from ma2ml_agents.reports.tables import amount, mark
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.metrics import metric, value
from ma2ml_env.recipe import Recipe
from ma2ml_env.training.rate import rate
from ma2ml_env.trial import Outcome, Trial

Z = 1.96
"""standard errors of a 95 % interval"""
POINTS = 200
"""of the schedule's curve"""


@dataclass(frozen=True)
class Answer:
    """The section's content."""

    sentence: str
    """what won"""
    margin: str
    """by how much, over what needs no search"""
    chosen: str
    """how it was chosen, and what makes its figure optimistic"""
    figures: Sequence[tuple[str, str]]
    """name and value, for people"""
    next: Sequence[tuple[str, str]]
    """command, and what it does"""
    picture: Picture | None
    """of the network"""
    policy: Sequence[Sequence[str]]
    """sub-policies of the augmentation, each as operations"""
    around: Sequence[str]
    """what else changes images"""
    charts: Sequence[Chart]
    floors: Sequence[tuple[str, str, str]]
    """(what, test accuracy, difference of the winner)"""


def answer(facts: Facts, rising: bool) -> Answer:
    """The section of a run.

    Args:
        facts: of the run.
        rising: whether its search was still rising at its end.
    """
    winner = facts.winner
    if winner is None:
        return Answer(_nothing(facts), "", "", (), next_steps(facts, rising), None, (), (), (), ())
    recipe = facts.recipes[winner.number]
    trained = facts.config.evaluator != "surrogate"
    figures = _figures(facts, winner, recipe)
    floors: list[tuple[str, str, str]] = []
    if facts.retraining is None:
        sentence, margin, chosen = _searched(facts, winner)
    else:
        sentence, margin, chosen, floors = _retrained(facts, winner)
    real = recipe if trained and facts.game.modules else None
    charts = [] if real is None else [schedule(real)]
    around = _around(recipe)
    policy = [[_operation(*op) for op in sub] or ["nothing"] for sub in recipe.augment]
    return Answer(
        sentence,
        margin,
        chosen,
        figures,
        next_steps(facts, rising),
        picture(recipe.network),
        policy,
        around,
        charts,
        floors,
    )


def schedule(recipe: Recipe) -> Chart:
    """The learning rate over the epochs, as the training sets it for each step."""
    steps = POINTS * 5
    rows = [
        {"epoch": round(recipe.epochs * step / steps, 4), "rate": float(f"{rate(recipe, step, steps):.6g}")}
        for step in range(0, steps, 5)
    ]
    spec = {
        "mark": {"type": "line", "color": STRONG, "strokeWidth": 2},
        "encoding": {
            "x": quantity("epoch", "epoch", nice=False),
            "y": quantity("rate", "learning rate", zero=True),
            "tooltip": tips({"epoch": "epoch", "rate": "learning rate"}),
        },
    }
    title = f"Learning rate: up to {recipe.learning_rate:.4g}, then down by a cosine"
    return Chart("schedule", title, rows, spec, height=160)


def _nothing(facts: Facts) -> str:
    if not facts.trials:
        return f"Nothing has won yet: no trial of {facts.config.game} has an outcome."
    return f"Nothing has won: none of the {len(facts.trials)} trials has succeeded. Section 4 says why they failed."


def _searched(facts: Facts, winner: Trial) -> tuple[str, str, str]:
    """Of a run that was not retrained: the sentence, the margin over the base recipe, how much it is worth."""
    chosen, images = facts.config.metric, facts.images("validation")
    title, found = metric(chosen).title, value(chosen, winner.outcome)
    who = f"Trial {mark(winner.number, facts.open)} is the best of {len(facts.trials)} trials"
    seen = f"{title} {found:.4f}" if found is not None else f"reward {winner.reward:.4f}"
    on = "of the surrogate, a formula" if facts.config.evaluator == "surrogate" else "in a table of trainings"
    if facts.trained:
        on = f"on {images:,} validation images" if images else "on validation images"
        on += f" after {_epochs(winner.outcome, facts)}"
    sentence = f"{who}: {seen} {on}{_interval(winner, chosen, images if facts.trained else 0)}."
    if facts.limit is not None:
        size = f"{amount(winner.outcome.flops)} MACs" if winner.outcome.flops else "unknown MACs"
        sentence += (
            f" Its reward is {winner.reward:.4f}: the accuracy, times a factor for its {size} beside the limit of "
            f"{amount(facts.limit)}, which is above 1 for a smaller network."
        )
    worth = ""
    if facts.trained:
        worth = (
            f"It was not trained to its end yet. The best of {len(facts.ok)} is flattered by chance: trained to the end, and "
            "measured on test images, its lead is usually smaller."
        )
    return sentence, _over_base(facts, winner), worth


def _over_base(facts: Facts, winner: Trial) -> str:
    base = facts.base
    if base is None:
        if not facts.trained:
            begun = [trial.reward for trial in facts.trials[: facts.config.batch]]
            first = f"The best of the first batch, of {len(begun)} trials, has a reward of {max(begun):.4f}"
            return f"{first}, the winner {winner.reward:.4f}.{_by_noise(facts, winner.reward - max(begun))}"
        return "It is not compared with the base recipe: the search did not begin with it (--start base)."
    if base.number == winner.number:
        return "That is the game's base recipe itself: the search has found nothing better."
    chosen = facts.config.metric
    mine, its = value(chosen, winner.outcome), value(chosen, base.outcome)
    if mine is None or its is None:
        return f"Its reward is {winner.reward - base.reward:+.4f} against the base recipe, trial {base.number}."
    told = f"The base recipe, trial {base.number}, has {its:.4f}: the difference is {mine - its:+.4f}"
    images = facts.images("validation")
    if chosen != "accuracy" or not facts.trained or not images:
        return f"{told}, in reward {winner.reward - base.reward:+.4f}."
    half = Z * math.sqrt(sum(each * (1 - each) for each in (mine, its)) / images)
    sure = "more than" if mine - its > half else "not more than"
    return f"{told} +- {half:.4f} (95 %, of {images:,} images), {sure} chance would give two equal pipelines."


def _by_noise(facts: Facts, difference: float) -> str:
    """Whether a difference of two rewards is more than the noise of a synthetic landscape; "" where it has none or is none."""
    player = facts.game.evaluator  # of a run on a table, a stand-in
    if facts.config.evaluator != "surrogate" or not isinstance(player, Surrogate) or not player.landscape.noise:
        return ""
    noise = player.landscape.noise
    half = Z * noise * math.sqrt(2)
    sure = "more" if difference > half else "not more"
    return f" Each reward has noise of deviation {noise:g}: the difference is {sure} than that makes between equal pipelines."


def _retrained(facts: Facts, winner: Trial) -> tuple[str, str, str, list[tuple[str, str, str]]]:
    """The sentence, the margin over the floors, how it was chosen, and the floors as rows."""
    made = facts.retraining
    assert made is not None
    spread = "" if made.deviation is None else f" +- {made.deviation:.4f} (deviation of {made.times} trainings)"
    images = made.classes.images if made.classes else 0
    interval = ""
    if images and 0.0 <= made.mean <= 1.0:
        low, high = wilson(made.mean, images)
        interval = f"; 95 % interval by its {images:,} test images {low:.4f} to {high:.4f}"
    sentence = f"Trial {winner.number} won: its test accuracy is {made.mean:.4f}{spread}{interval}."
    if made.verdict is not None and not made.verdict["better"]:
        against = made.mean - made.verdict["difference"]
        sentence = (
            f"No gain: the winner, trial {winner.number}, has a test accuracy of {made.mean:.4f}{spread}{interval}; "
            f"{made.verdict['against']}, which needs no search, has {against:.4f}{_deviation_of(made, against)}."
        )
    title = metric(made.metric).title
    chosen = f"validation {title}" if made.select == "validation" else f"test {title}, which is optimistic"
    many = f"The {len(made.top)} trials" if len(made.top) > 1 else "The trial"
    how = (
        f"{many} with the best {title} in the search, whatever the reward, {'were' if len(made.top) > 1 else 'was'} trained to "
        f"the end. The winner was chosen by {chosen}; its figure is of it trained {made.trained}.{_beyond(facts, winner)}"
    )
    rows = [
        (
            floor.name,
            f"{floor.mean:.4f}" + ("" if floor.deviation is None else f"\u00a0±\u00a0{floor.deviation:.4f}"),
            f"{made.mean - floor.mean:+.4f}",
        )
        for floor in sorted(made.floors, key=lambda floor: -floor.mean)
    ]
    if made.verdict is None:
        margin = "It is not compared with what needs no search: the retraining has trained no floors."
        return sentence, f"{margin} {_over_base(facts, winner)}", how, rows
    said = str(made.verdict["sentence"]).removeprefix("THE SEARCH DID NOT PAY: ")  # the first sentence says so
    return sentence, f"{said[:1].upper()}{said[1:]}.", how, rows


def _deviation_of(made: Retraining, mean: float) -> str:
    """Of the floor with this mean."""
    known = [floor.deviation for floor in made.floors if abs(floor.mean - mean) < 1e-9 and floor.deviation is not None]
    return f" +- {known[0]:.4f}" if known else ""


def _beyond(facts: Facts, winner: Trial) -> str:
    """That a retraining does not keep the limit of the reward, where the winner is above it."""
    macs = winner.outcome.flops
    if facts.limit is None or not macs or macs <= facts.limit:
        return ""
    return (
        f" Its {amount(macs)} MACs are {macs / facts.limit:.1f} times the limit of {amount(facts.limit)}: the reward weighs "
        f"that, accuracy does not. ma2ml retrain --max-flops {facts.limit:g} keeps the limit."
    )


def _interval(trial: Trial, chosen: str, images: int) -> str:
    if chosen != "accuracy" or not images:
        return ""
    low, high = wilson(trial.outcome.accuracy, images)
    return f" (95 % interval {low:.4f} to {high:.4f})"


def _epochs(outcome: Outcome, facts: Facts) -> str:
    whole = facts.game.protocol.final_epochs
    done = max(1, round(outcome.fidelity * whole))
    return f"{done} of {whole} epochs"


def _figures(facts: Facts, winner: Trial, recipe: Recipe) -> list[tuple[str, str]]:
    outcome = winner.outcome
    figures = [
        ("MACs of one image", amount(outcome.flops) if outcome.flops else "not known"),
        ("parameters", amount(outcome.params) if outcome.params else "not known"),
        ("learning rate", f"{recipe.learning_rate:.4g}"),
        ("weight decay", f"{recipe.weight_decay:.4g}"),
        ("batch", str(recipe.batch_size)),
        ("epochs", str(recipe.epochs)),
        ("optimizer", _spec(recipe.optimizer.kind, recipe.optimizer.args)),
        ("loss", _spec(recipe.loss.kind, recipe.loss.args)),
    ]
    for name in ("mixup", "dropout", "stochastic_depth", "drop_path", "auxiliary", "ema"):
        if vars(recipe)[name]:
            figures.append((name.replace("_", " "), f"{vars(recipe)[name]:g}"))
    return figures if facts.config.evaluator != "surrogate" else figures[:4]


def _spec(kind: str, args: object) -> str:
    told = ", ".join(f"{name} {each}" for name, each in dict(args).items()) if isinstance(args, dict) else ""
    return f"{kind.replace('_', ' ')} ({told})" if told else kind.replace("_", " ")


def _operation(name: str, probability: float, level: int | None) -> str:
    strength = "" if level is None else f", level {level} of 9"
    return f"{name.replace('_', ' ')}: {probability:.0%} of images{strength}"


def _around(recipe: Recipe) -> list[str]:
    made = []
    if recipe.crop_area:
        made.append(f"a random crop of at least {recipe.crop_area:.0%} of the area")
    if recipe.crop_padding:
        made.append(f"a random shift by up to {recipe.crop_padding} pixels")
    if recipe.flip:
        made.append("half of them mirrored")
    if recipe.cutout:
        made.append(f"an erased square of {recipe.cutout} pixels")
    if recipe.mixup:
        made.append(f"mixup of pairs (alpha {recipe.mixup:g}, not shown)")
    return made
