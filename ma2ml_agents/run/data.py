"""The data of a run: their identity stands in its config, and whoever goes on has to have the same data.

Runs that began before there was one have none. It is taken at the next command and told as unverified: nobody knows whether the
data have changed since the search.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.stored import game_trains, training_options
from ma2ml_env.games.fitted import table_digest
from ma2ml_env.games.measured import table_file
from ma2ml_env.games.named import NamedGame
from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.reading import check_fields, expected
from ma2ml_env.registry import resolve
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training.data.identity import Identity
from ma2ml_env.training.data.raw import PARTS

MOST_PAIRS = 1e8
"""of images in different parts, that are compared before a search: a second or two"""
FEWER = {"own-small-v0": (("limit", "train", 4000), ("validation_limit", "validation", 2000))}
"""game -> (option, part, number) of limits that it had not in runs without an identity"""
TRAININGS = "a table of trainings"
"""name of the data of a search that looks trainings up"""
KEY = "data_identity"
"""in the config of a run"""


@dataclass(frozen=True)
class KnownData:
    """What a run knows of its data."""

    identity: Identity = field(default_factory=Identity)
    verified: bool = True
    """False: it was taken after the search had begun, by a later version"""
    changed: tuple[str, ...] = ()
    """changes that somebody has accepted, in order: `after 24 trials: train 20 -> 10`"""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return {"identity": self.identity.to_json(), "verified": self.verified, "changed": list(self.changed)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`.

        Raises:
            ValueError: if a field is unknown or of another kind.
        """
        check_fields(cls(), data, "a run's data")
        with expected("what is known of a run's data", "it was not written by ma2ml"):
            return cls(Identity.from_json(data["identity"]), data["verified"], tuple(map(str, data["changed"])))

    def checkpoints(self, folder: Path) -> Path:
        """Where trainings leave them: a training that was begun on other data does not go on on these."""
        place = folder / "checkpoints"
        return place / self.identity.digest[:8] if self.changed else place

    @property
    def holds_earlier(self) -> bool:
        """Whether what an earlier version trained, which kept no digest, is taken to be of these data."""
        return not self.verified and not self.changed

    def told(self) -> str:
        """In a line, for people."""
        counts = ", ".join(
            f"{part} {sum(self.identity.counts[part]):,}" for part in PARTS if part in self.identity.counts
        )
        doubt = "" if self.verified else "; unverified: an earlier version began this run, and did not look at its data"
        changed = "".join(f"; CHANGED {line}" for line in self.changed)
        if self.identity.name == TRAININGS:
            return f"{TRAININGS}, digest {self.identity.digest[:8]}{doubt}{changed}"
        name, digest = self.identity.name, self.identity.digest[:8]
        return f"{name}, {len(self.identity.class_names)} classes, {counts}, digest {digest}{doubt}{changed}"


def identify(config: RunConfig) -> Identity | None:
    """What the data are now, or the table of trainings; None where nothing is trained, and nothing was.

    Raises:
        FileNotFoundError, ValueError: the data are not there, or an option cannot be used.
    """
    if looked_up(config):
        named: NamedGame = resolve("games", config.game)
        if config.data is None and named.measured is None:
            return None  # the game is refused when it is made
        return Identity(TRAININGS, table_digest(table_file(named, config.data)))
    if config.evaluator != "train":
        return None
    identity: Identity = training_options(config)[0].identity()
    return identity


def looked_up(config: RunConfig) -> bool:
    """Whether the run's data are a table of trainings of its game, which are others when the table is."""
    return config.evaluator == "table" and game_trains(config.game)


def known_data(store: TrialStore) -> KnownData | None:
    """What the run has stored; None if it has nothing."""
    stored = store.config.get(KEY)
    return None if stored is None else KnownData.from_json(stored)


def same_data(store: TrialStore, now: Identity, accept: bool) -> KnownData:
    """What the run is to store of its data.

    Args:
        store: of the run, or of a new one.
        now: what the data are.
        accept: whether other data than those of before are meant.

    Raises:
        ValueError: if they are others, and not meant; what changed is told.
    """
    before = known_data(store)
    trials = sum(1 for _ in store.trials())
    if before is None:
        fewer = _fewer(store, now) if trials else ""
        if fewer and not accept:
            raise ValueError(
                f"{store.folder} was begun by an earlier version, whose {store.config['game']} took all images; this one takes "
                f"{fewer}. Nothing was done. Use that version, name another folder for a new run (--set limit=null "
                "validation_limit=null takes all images), or say --accept-changed-data"
            )
        changed = (f"after {trials} trials: all images -> {fewer}",) if fewer else ()
        return KnownData(now, verified=not store.config or not trials, changed=changed)
    if not (changes := before.identity.changes(now)):
        return before
    if not accept:
        raise ValueError(_refusal(store.folder, changes))
    return KnownData(now, before.verified, (*before.changed, f"after {trials} trials: {changes}"))


def data_of_run(run: Path, config: RunConfig, accept: bool) -> KnownData:
    """What the run knows of its data, which were looked at now; changes that were accepted here are not stored in its config.

    Raises:
        ValueError: if they are others, and not meant; what changed is told.
        FileNotFoundError: they are not there.
    """
    now = identify(config)
    assert now is not None
    with TrialStore(run, create=False) as store:
        known, data = known_data(store), same_data(store, now, accept)
        if known is None:  # a run of before: from now on there is something to compare with
            store.configure({**store.config, KEY: data.to_json()}, safe=(KEY,))
    return data


def write_split(folder: Path, config: RunConfig) -> list[str]:
    """Write `split.csv` (part, class and name of each image), which a run has from its start, and say what the data look like.

    Raises:
        OSError: it cannot be written.
    """
    from ma2ml_env.training.data.survey import survey

    source, text = training_options(config)[0], io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("part", "class", "name"), *source.parts()])
    write_atomic(folder / "split.csv", text.getvalue().encode())
    if source.name == "imagenet":
        return []
    raw, chosen = source.read()
    return survey(raw, chosen, MOST_PAIRS).lines()


def data_of_export(run: Path, config: RunConfig, trained: Mapping[str, Any], accept: bool) -> dict[str, Any]:
    """What a card says of the data: what its network was trained on, and whether they are still there and the same.

    Args:
        run: its folder.
        config: its config.
        trained: what `retrain` wrote of the data.
        accept: whether other data than those are meant.

    Raises:
        ValueError: if they are others, and not meant; what changed is told.
    """
    try:
        now = identify(config)
    except FileNotFoundError:
        now = None  # a machine without the data may export; what the network was trained on is written
    with expected(run / "retrain" / "data.json", f"run `ma2ml retrain {run}` again"):
        told = trained.get(KEY)
    if told is not None:
        known = KnownData.from_json(told)
    else:  # retrained by an earlier version
        with TrialStore(run, create=False) as store:
            known = known_data(store) or KnownData(now or Identity(), verified=False)
    changes = known.identity.changes(now) if now and known.identity.digest else ""
    if changes and not accept:
        raise ValueError(_refusal(run, changes))
    changed = (*known.changed, *([f"after retraining: {changes}"] if changes else []))
    return {**known.to_json(), "changed": list(changed), "seen_at_export": now is not None}


def run_name(config: RunConfig, identity: Identity | None) -> str:
    """Of the folder of a run that is not told where: game, learner, seed, and eight digits of the data's digest.

    Lower-case letters, digits and dashes, at most 80 of them, on all systems a name. What is not trained has no data; where it
    is not the game's own evaluator that plays, its name stands there.
    """
    named: NamedGame = resolve("games", config.game)
    if identity is not None and identity.name != TRAININGS:
        end = identity.digest[:8]
    else:
        end = "" if config.evaluator == named.usual else config.evaluator
    words = [re.sub("[^a-z0-9]+", "-", word.lower()).strip("-") for word in (f"{config.game}-{config.learner}", end)]
    tail = "-".join(["", str(abs(config.seed)), *filter(None, words[1:])])
    return words[0][: 80 - len(tail)].rstrip("-") + tail


def _fewer(store: TrialStore, now: Identity) -> str:
    """How many images a run of before takes today, where its game took all of them and that shows; "" elsewhere."""
    counts = {part: sum(numbers) for part, numbers in now.counts.items()}
    limits = {key: (part, most) for key, part, most in FEWER.get(str(store.config.get("game")), ())}
    if limits.keys() & dict(store.config.get("set") or {}).keys():
        return ""
    met = [part for part, most in limits.values() if counts.get(part, 0) >= most]
    return " and ".join(f"{counts[part]:,} for {part}" for part in met)


def _refusal(folder: Path, changes: str) -> str:
    return (
        f"{folder}: the data are not those of this run: {changes}. Nothing was done. Bring them back (--data DIR if they have "
        "moved), name another folder for a new run, or say --accept-changed-data: exports will tell it"
    )
