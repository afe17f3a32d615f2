"""What to type next, by how far a run has come."""

import shlex

from ma2ml_agents.reports.page.facts import Facts
from ma2ml_env.games.named import NamedGame
from ma2ml_env.registry import resolve


def next_steps(facts: Facts, rising: bool) -> list[tuple[str, str]]:
    """Commands, the most useful first, each with what it does.

    Args:
        facts: of the run.
        rising: whether its search was still rising at its end.
    """
    run = shlex.quote(str(facts.folder))
    steps = []
    if len(facts.trials) < facts.config.budget or facts.open:
        steps.append((f"ma2ml resume {run}", f"goes on: {len(facts.trials)} of {facts.config.budget} trials are done"))
    if not facts.trials or not facts.ok:
        if facts.trials and facts.trained:
            steps.append(
                (f"ma2ml resume {run} --retry-failed failed", "plays what failed again, once its cause is gone")
            )
        return steps or [(f"ma2ml trials {run}", "lists the trials")]
    more = f"ma2ml resume {run} --budget {2 * facts.config.budget}"
    verdict = facts.retraining.verdict if facts.retraining is not None else None
    lost = verdict is not None and not verdict["better"]
    if verdict is not None and lost:
        again = (
            "searches as long again, as it was still rising"
            if rising
            else "searches as long again; it had levelled off, so this may bring little"
        )
        longer = 2 * facts.game.protocol.proxy_epochs
        search = f"ma2ml search {shlex.quote(facts.config.game)} --set proxy_epochs={longer}"
        steps += [
            (
                f"ma2ml fidelity {run}",
                "first: tells whether the search's short trainings rank pipelines as full ones do",
            ),
            (search, "if they do not: a new search whose trainings are twice as long"),
            (more, f"if they do: {again}"),
        ]
    if facts.retraining is not None:
        what = (
            "the model"
            if not lost or verdict is None
            else f"the winner, although {verdict['against']} is as good or better,"
        )
        steps.append((f"ma2ml export {run}", f"writes {what} as a folder that needs torch and torchvision alone"))
    elif facts.trained:
        steps.append((f"ma2ml retrain {run}", "trains the best to the end, and beside what needs no search"))
    elif facts.config.evaluator == "table":
        named: NamedGame = resolve("games", facts.config.game)
        if named.evaluator == "train":
            steps.append((f"ma2ml verify {run}", "trains the five best again, and compares them with the table"))
    else:
        game = shlex.quote(facts.config.game)
        steps.append(
            (f"ma2ml search {game} --evaluator train", "searches by real trainings; a surrogate's winner is no model")
        )
    if rising and not lost and len(facts.trials) >= facts.config.budget:
        steps.append((more, "searches as long again: it was still rising"))
    steps.append(
        (f"ma2ml show {run} {facts.winner.number if facts.winner else ''}".rstrip(), "the winner's recipe, complete")
    )
    return steps
