"""Where known pipelines come from: the game's base recipe, a file, another run. `known.py` says what a search does with them.

A search reads them once. They are stored with the run, which needs neither the file nor the other run from then on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.informed import beginning, check_batch, check_room, scores
from ma2ml_agents.run.known import Scored, check_known, codes_from_json, pipeline_key
from ma2ml_agents.run.options import BASE
from ma2ml_agents.run.standing import by_reward, first_of_each, recipe_key
from ma2ml_agents.run.stored import build_without_evaluator, known_trials, stored_config
from ma2ml_env.game import Game
from ma2ml_env.io.reading import read_json
from ma2ml_env.space import Decision, Interval
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Code, Trial

TOP = 5
"""pipelines of a run that a search starts from, unless told"""


@dataclass(frozen=True)
class Beginning:
    """What a search starts from and learns from, and what is to be said of it."""

    start: Sequence[Mapping[str, Code]] = ()
    learned: Sequence[Scored] = ()
    notes: Sequence[str] = ()
    """lines for people"""


def beginning_of(config: RunConfig, game: Game, store: TrialStore) -> Beginning:
    """What the config says, read where it stands; or as the run has it, once it has begun.

    Raises:
        ValueError: if a file or run cannot be used; it is named.
        OSError: if it cannot be read.
    """
    begun = store.section("search")
    if not begun:
        found = read(config, game)
        check_known(game, found.start, found.learned, config.budget)
        return found
    try:
        rows, learned = begun.get("start", []), begun.get("learned", [])
        if not isinstance(rows, list) or not isinstance(learned, list):
            raise ValueError("it is no list")
        found = Beginning([codes_from_json(row) for row in rows], [Scored.from_json(each) for each in learned])
        check_known(game, found.start, found.learned, config.budget)
    except ValueError as error:
        raise ValueError(f"{store.folder}: its search cannot start from what is stored: {error}") from None
    return found


def read(config: RunConfig, game: Game) -> Beginning:
    """What the config says, read where it stands; see `known`."""
    start: dict[str, Mapping[str, Code]] = {}
    learned: list[Scored] = []
    notes: list[str] = []
    for word in config.start or ():
        if word == BASE:
            found, told = _base(game)
        elif Path(word).is_file():
            found, told = _of_file(Path(word), game), ""
        else:
            found, told = _of_run(word, game)
        notes += [told] if told else []
        again = 0
        for codes in found:
            key = pipeline_key(game, codes)
            again += key in start
            start.setdefault(key, codes)
        if again:
            notes.append(
                f"{word}: {again} of {len(found)} pipelines are among the known ones already, and are trained once"
            )
    for word in config.learn_from or ():
        told_trials, told = _learned(Path(word), game)
        learned += told_trials
        notes.append(told)
    if learned:
        check_batch(config.batch)
        check_room(config.budget, config.batch, len(start))
    return Beginning(list(start.values()), learned, notes)


def _base(game: Game) -> tuple[list[Mapping[str, Code]], str]:
    """The base recipe, or what comes closest, and in what it differs. None where an agent cannot say."""
    try:
        codes = game.codes()
    except ValueError as error:
        return [], f"the search does not start from the game's base recipe: {error}"
    base, found = game.base.to_json(), game.recipe(codes).to_json()
    apart = [slot for slot in base if base[slot] != found[slot]]
    if not apart:
        return [codes], "trial 0 is the game's base recipe"
    return [
        codes
    ], f"trial 0 comes closest to the game's base recipe, which these agents cannot say: {', '.join(apart)}"


def _of_file(path: Path, game: Game) -> list[Mapping[str, Code]]:
    """The pipelines of a JSON file: a list of agent -> decision -> value."""
    try:
        rows = read_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} holds no list of pipelines, as in " + '[{"hpo": {"learning_rate.0": 0.1}}]')
    found: list[Mapping[str, Code]] = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not all(isinstance(values, dict) for values in row.values()):
            raise ValueError(f"{path}: pipeline {number} is no object of agents with their decisions: {str(row)[:50]}")
        try:
            found.append(game.codes(row))
        except ValueError as error:
            raise ValueError(f"{path}: pipeline {number}: {error}") from None
    return found


def _of_run(word: str, game: Game) -> tuple[list[Mapping[str, Code]], str]:
    """The best pipelines of a run, `RUN` or `RUN:k`, and what is to be said of them."""
    run, colon, count = word.rpartition(":")
    if Path(word).is_dir() or not colon or not count.isdecimal():
        run, count = word, str(TOP)
    if not Path(run).is_dir():
        raise ValueError(
            f"--start: there is no file and no run {run}; `base` is the game's own recipe, `none` is nothing"
        )
    other = _Other(Path(run), game)
    best = first_of_each(sorted(other.trials, key=by_reward), recipe_key(other.game))[: int(count)]
    if not best:
        raise ValueError(f"--start {word}: there is no pipeline to start from")
    fewer = f"; it has {len(best)}, not {count}" if len(best) < int(count) else ""
    return [other.codes(trial) for trial in best], (
        f"starts from trials {', '.join(str(trial.number) for trial in best)} of {run}{fewer}{other.apart()}"
    )


def _learned(run: Path, game: Game) -> tuple[list[Scored], str]:
    """The trials of a run with their scores, and what is to be said of them."""
    other = _Other(run, game)
    trials = [trial for trial in other.trials if trial.outcome.status == "ok"]
    codes = [other.codes(trial) for trial in trials]
    if len({pipeline_key(game, each) for each in codes}) < 2:
        raise ValueError(f"--learn-from {run}: it has no two trials that are different pipelines in this game")
    try:
        rewards, own = np.array([game.reward(trial.outcome) for trial in trials]), ""
    except ValueError:  # what this game goes by was not measured there
        rewards, own = np.array([trial.reward for trial in trials]), "; by its own rewards"
    scored = scores(trials, rewards, beginning(other.trials, other.batch))
    failed = len(other.trials) - len(trials)
    left = f"; {failed} that failed there are left out" if failed else ""
    told = f"learns from {len(trials)} trials of {run}{left}{own}{other.apart()}"
    return [Scored(row, float(score)) for row, score in zip(codes, scored, strict=True)], told


class _Other:
    """Another run, and how its pipelines are said in this game.

    An agent whose decisions all have the values of an agent of the same name there takes these. Any other takes what comes
    closest to the pipeline's recipe, so the name of a decision or the size of a space may differ.
    """

    def __init__(self, run: Path, ours: Game) -> None:
        with TrialStore(run, create=False) as store:
            config, self.trials = stored_config(store), known_trials(store).trials
        self.game = build_without_evaluator(config)
        self.ours = ours
        self.batch = config.batch
        self._closest: dict[str, int] = {}

    def codes(self, trial: Trial) -> dict[str, Code]:
        """A trial's pipeline as this game says it."""
        values = self.game.values(trial.proposal.codes)
        told: dict[str, Mapping[str, Any]] = {}
        for agent, module in self.ours.modules.items():
            parts: list[Decision | Interval] = [*module.space.decisions, *module.space.intervals]
            names = [part.name for part in parts]
            same = {name: values.get(agent, {})[name] for name in names if name in values.get(agent, {})}
            try:
                module.space.encode(same)
            except ValueError:  # a decision or a value is missing
                self._closest[agent] = self._closest.get(agent, 0) + 1
            else:
                told[agent] = same
        return self.ours.codes(told, like=self.game.recipe(trial.proposal.codes))

    def apart(self) -> str:
        """What did not map, for people; "" where all did."""
        closest = [f"{agent} in {count} trials" for agent, count in self._closest.items()]
        gone = [agent for agent in self.game.modules if agent not in self.ours.modules]
        told = f"; not by name but by what comes closest to the recipe: {', '.join(closest)}" if closest else ""
        return told + (f"; not said here: {', '.join(gone)}" if gone else "")
