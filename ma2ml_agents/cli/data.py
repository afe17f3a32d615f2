"""`ma2ml data`: look at images before they are searched on, or at those of a run."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import Positional, arg

from ma2ml_agents.cli.command_line import DataOptions
from ma2ml_agents.run.config import RunConfig, said
from ma2ml_agents.run.ticker import working


@dataclass(frozen=True)
class Data:
    """Look at images: counts, sizes, what was not read and why, near-duplicates across parts, and the digest of all that.

    Takes a folder as of --images, a file as of --npz, or a run, whose data are compared with what it was searched on. Exit code
    1 if those have changed.
    """

    place: Positional[Annotated[Path, arg(metavar="DIR|FILE|RUN")]]
    """folder of images, file of arrays, or folder of a run"""
    told: DataOptions
    """how images are read, as of `ma2ml search`; a run has its own"""
    seed: Annotated[int, arg(metavar="N")] = 0
    """of the split"""
    verify: bool = False
    """read every byte, even of files whose size and times are as they were"""
    json: bool = False
    """as one JSON object"""

    def execute(self, console: Console) -> int:
        """Read them, then print what was seen."""
        aside = Console(stderr=True) if self.json else console  # what is read by a program is JSON alone
        with working(aside, "loading"):
            from ma2ml_agents.run.data import KnownData, known_data
            from ma2ml_agents.run.stored import stored_config, training_options
            from ma2ml_env.store.store import TrialStore
            from ma2ml_env.training.data.survey import survey

        known: KnownData | None = None
        if (self.place / "run.sqlite").exists():
            with TrialStore(self.place, create=False) as store:
                config, known = stored_config(store), known_data(store)
            if config.evaluator != "train":
                raise ValueError(f"{self.place} was searched with the evaluator {config.evaluator!r}: it has no data")
        else:
            config = self._config()
        source = training_options(config.beside(self.place))[0]
        if self.verify and source.name == "imagenet":
            raise ValueError(
                "--verify: of ImageNet the sizes of files stand for their bytes, of which there are too many"
            )
        with working(aside, "reading the data"):
            before = source.identity() if self.verify else None
            source = replace(source, verify=self.verify)
            raw, chosen = source.read()
            identity, found = source.identify(raw, chosen), survey(raw, chosen)
        changes = [] if known is None else [known.identity.changes(identity)]
        if before is not None and (same := before.changes(identity)):
            changes.append(f"files have other bytes although their size and times are as they were: {same}")
        changes = [line for line in changes if line]
        if self.json:
            print(json.dumps({"identity": identity.to_json(), "survey": asdict(found), "changes": changes}))
            return 1 if changes else 0
        console.print(f"{self.place}: {KnownData(identity).told()}", soft_wrap=True)
        for line in found.lines():
            console.print(line, soft_wrap=True)
        if self.verify:
            console.print("every byte was read")
        for line in changes:
            console.print(f"CHANGED: {line}", soft_wrap=True)
        if known is not None and not changes:
            console.print("they are those of the run")
        return 1 if changes else 0

    def _config(self) -> RunConfig:
        """Of a search on these data."""
        usual = {each.name: said(each).default for each in fields(RunConfig)}
        kind = "npz" if self.place.is_file() else "images"
        told: dict[str, Any] = {**usual, "game": "own-small-v1", "seed": 0, "set": (f"seed={self.seed}",)}
        return RunConfig.told({**told, **vars(self.told), kind: self.place})
