"""Commands that only read: `trials`, `show`, `pareto`, `check`, `list`. They work while a search is running."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import Positional, arg

from ma2ml_agents.cli.keys import print_settings
from ma2ml_agents.run.options import Run
from ma2ml_env.metrics import metric, value
from ma2ml_env.registry import names, resolve
from ma2ml_env.store.check import check
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Trial


@dataclass(frozen=True)
class Trials:
    """List a run's trials in order, those of the open batch that have an outcome too."""

    run: Run
    """folder of the run"""
    json: bool = False
    """one JSON object a line: number, seed, proposal, outcome, reward; `open` is true in those of the open batch; `earlier` are
    the outcomes that a trial had before it was played again"""
    csv: bool = False
    """comma-separated, one row a trial: number, seed, origin, status, reward, accuracy, MACs, ... and what was decided"""

    def execute(self, console: Console) -> int:
        """Print them."""
        from ma2ml_agents.run.stored import build_without_evaluator, known_trials, run_metric, stored_config

        if self.json and self.csv:
            raise ValueError("give either --json or --csv")

        with TrialStore(self.run, create=False) as store:
            found, chosen = known_trials(store), run_metric(store)
            game = build_without_evaluator(stored_config(store)) if self.csv else None
        if game is not None:
            from ma2ml_agents.reports.sheet import write_sheet

            write_sheet(found.trials, game, sys.stdout, found.open)
        elif self.json:
            for trial in found.trials:
                print(json.dumps(found.to_json(trial)))
        else:
            from ma2ml_agents.reports.tables import print_trials

            print_trials(console, found.trials, chosen, found.open)
            for number in sorted(found.earlier):
                for line in found.played_again(number):
                    console.print(line, soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Show:
    """Show a trial: what was decided, the recipe, what came of it. Without a number, the run and its best trial."""

    run: Run
    """folder of the run"""
    number: Positional[Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="(default: the best one)")]] = (
        None
    )
    """of the trial"""
    json: bool = False
    """as one JSON object"""

    def execute(self, console: Console) -> int:
        """Print it."""
        from ma2ml_agents.after.retrained import retrained_classes
        from ma2ml_agents.reports.finished import class_table
        from ma2ml_agents.reports.tables import mark
        from ma2ml_agents.run.standing import by_reward
        from ma2ml_agents.run.stored import build_without_evaluator, known_trials, stored_config

        with TrialStore(self.run, create=False) as store:
            config, found = stored_config(store), known_trials(store)
        trials = found.trials
        if not trials:
            raise ValueError(f"{self.run} has no trials yet")
        trial = min(trials, key=by_reward) if self.number is None else _numbered(trials, self.number, self.run)
        game = build_without_evaluator(config)
        recipe, values = game.recipe(trial.proposal.codes), game.values(trial.proposal.codes)
        if self.json:
            print(
                json.dumps(
                    {**found.to_json(trial), "values": values, "recipe": recipe.to_json(), "recipe_key": recipe.key}
                )
            )
            return 0
        if self.number is None:
            told = {
                name: said
                for name, said in config.to_json().items()
                if said is not None and said is not False and said != {}
            }
            console.print(f"run of {', '.join(f'{name} {said}' for name, said in told.items())}")
            console.print(f"{found.count(config.budget)}; the best one:")
        outcome = trial.outcome
        console.print(
            f"trial {mark(trial.number, found.open)}: reward {trial.reward:.4f}, {outcome.status} {outcome.error}"
            f" accuracy {outcome.accuracy:.4f}, {outcome.flops:,} MACs, {outcome.params:,} parameters,"
            f" {outcome.seconds:.1f} s at fidelity {outcome.fidelity:.3g}, seed {trial.seed}"
        )
        if measured := {name: value(name, outcome) for name in names("metrics") if name in outcome.metrics}:
            console.print(", ".join(f"{metric(name).title} {each:.4f}" for name, each in measured.items()))
        if outcome.note:
            console.print(outcome.note)
        for line in found.played_again(trial.number):
            console.print(line, soft_wrap=True)
        for agent, chosen in values.items():
            console.print(f"{agent} code {list(trial.proposal.codes[agent])}", style="bold")
            for name, choice in chosen.items():
                console.print(f"  {name}: {choice}")
        console.print("recipe", style="bold")
        for name, slot in recipe.to_json().items():
            console.print(f"  {name}: {json.dumps(slot)}")
        if self.number is None and (classes := retrained_classes(self.run)) is not None:
            console.print(class_table(classes))
        return 0


@dataclass(frozen=True)
class Pareto:
    """The trials that no other one beats in accuracy, or by the run's own metric, with as many MACs or fewer."""

    run: Run
    """folder of the run"""
    json: bool = False
    """one JSON object a line: number, accuracy, flops (MACs), params, reward; the metric by its name, if it is another; `open`
    is true in those of the open batch"""

    def execute(self, console: Console) -> int:
        """Print the front, fewest MACs first."""
        from ma2ml_agents.reports.tables import amount, mark, metric_cell, metric_column, table
        from ma2ml_agents.run.standing import pareto
        from ma2ml_agents.run.stored import known_trials, run_metric

        with TrialStore(self.run, create=False) as store:
            found, chosen = known_trials(store), run_metric(store)
        front = pareto(found.trials, chosen)
        if self.json:
            for trial in front:
                outcome = trial.outcome
                kept: dict[str, float | None] = {
                    "accuracy": outcome.accuracy,
                    "flops": outcome.flops,
                    "params": outcome.params,
                }
                kept |= {} if chosen == "accuracy" else {chosen: value(chosen, outcome)}
                print(json.dumps({"number": trial.number, **kept, "reward": trial.reward, **found.said(trial)}))
            return 0
        more = metric_column(chosen)
        title = f"{more[0] if more else 'accuracy'} against MACs: the front"
        made = table(title, "trial", "MACs", "accuracy", *more, "params", "reward")
        for trial in front:
            outcome = trial.outcome
            measured = (f"{outcome.accuracy:.4f}", *metric_cell(trial, chosen))
            number = mark(trial.number, found.open)
            made.add_row(number, amount(outcome.flops), *measured, amount(outcome.params), f"{trial.reward:.4f}")
        console.print(made)
        return 0


@dataclass(frozen=True)
class Check:
    """Check a run's files against their digests. Exit code 1 if anything is wrong."""

    run: Run
    """folder of the run"""

    def execute(self, console: Console) -> int:
        """Print every problem, or that there is none."""
        if not self.run.is_dir():
            raise ValueError(f"there is no folder {self.run}")
        problems = check(self.run)
        for problem in problems:
            console.print(problem, markup=False, soft_wrap=True)
        if not problems:
            console.print(f"{self.run}: nothing is wrong", soft_wrap=True)
        return 1 if problems else 0


@dataclass(frozen=True)
class List:
    """List games with their protocol, agents, learners, evaluators, rewards and metrics, those of plug-ins included."""

    json: bool = False
    """as one JSON object"""
    set: Annotated[str | None, arg(metavar="GAME", help_behavior_hint="")] = None
    """list what `ma2ml search GAME --set` takes instead: each key with its kind, its value in this game and its meaning"""

    def execute(self, console: Console) -> int:
        """Print the tables."""
        if self.set is not None:
            print_settings(console, self.set, self.json)
            return 0
        from ma2ml_agents.registry import learner_names, learner_title
        from ma2ml_agents.reports.tables import amount, glossary, table

        games, modules = [_game(name) for name in names("games")], [_module(name) for name in names("modules")]
        if self.json:
            kinds = {"games": games, "modules": modules, "learners": learner_names()}
            print(json.dumps(kinds | {kind: names(kind) for kind in ("evaluators", "rewards", "metrics")}))
            return 0
        console.print("games", style="bold")
        console.print(glossary({game["id"]: _told(game) for game in games}))
        made = table("their protocols", "id", "budget", "batch", "top k", "epochs", "MACs limit")
        for game in games:
            epochs = f"{game['proxy_epochs']} of {game['final_epochs']}"
            limit = amount(game["flops_limit"] or 0)
            made.add_row(game["id"], str(game["budget"]), str(game["batch"]), str(game["top_k"]), epochs, limit)
        console.print(made)
        made = table("modules", "name", "agent", "decisions", "log10 of codes", "intervals")
        for module in modules:
            counts = str(module["decisions"]), f"{module['log10_size']:.2f}", str(module["intervals"])
            made.add_row(module["name"], module["agent"], *counts)
        console.print(made)
        # Pools are chosen by --workers and --engine; hard is flops with a hard limit.
        evaluators = [name for name in names("evaluators") if name not in ("pool", "ray_pool")]
        rewards = [*names("rewards"), "hard"]
        console.print("learners", style="bold")
        console.print(glossary({name: learner_title(name) for name in learner_names()}))
        for kind, rows in (("evaluators", evaluators), ("rewards", rewards), ("metrics", names("metrics"))):
            console.print(f"{kind}: {', '.join(rows)}")
        console.print("`ma2ml list --set GAME` has all settings of a game.")
        return 0


def _numbered(trials: list[Trial], number: int, run: Path) -> Trial:
    for trial in trials:
        if trial.number == number:
            return trial
    raise ValueError(f"{run} has no trial {number} with an outcome; it has {len(trials)}, up to {trials[-1].number}")


def _told(game: dict[str, Any]) -> str:
    return str(game["title"]) + ("" if game["evaluator"] == "train" else f" ({game['evaluator']})")


def _game(name: str) -> dict[str, Any]:
    game = resolve("games", name)
    agents = [module for module, _ in game.modules]
    return {
        "id": name,
        "title": game.title,
        "data": game.data,
        "evaluator": game.usual,
        "modules": agents,
        **game.protocol.__dict__,
        "flops_limit": game.flops_limit,
    }


def _module(name: str) -> dict[str, Any]:
    module = resolve("modules", name)()
    return {
        "name": name,
        "agent": module.name,
        "decisions": len(module.space.nvec),
        "intervals": len(module.space.intervals),
        "log10_size": module.space.log10_size,
    }
