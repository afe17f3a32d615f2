"""What a run was told: one frozen dataclass that `search`, `resume`, `retrain`, `fidelity`, the store and the reports read.

An option stands in two places: its field here, and the code that uses it. From the field are made the option of `ma2ml search`
with its help, that of `ma2ml resume` if it may change (`safe`), that of `ma2ml retrain` and `ma2ml fidelity` if it says where
trainings run, and the check of a stored config. `where` says who gets it, as an argument of the field's name: `search()`,
`make_game`, the `DataSource`, the trainer, or the `Placement`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from tyro.conf import UseAppendAction

from ma2ml_agents.run.options import BASE, GAMES_OWN, NONE, default_workers, folders, settings, starts
from ma2ml_env.evaluators.placement import Placement
from ma2ml_env.game import Protocol
from ma2ml_env.games.named import NamedGame
from ma2ml_env.io.settings import check_settings, fits
from ma2ml_env.registry import closest, resolve

Where = Literal["run", "search", "game", "recipe", "source", "trainer", "placement"]
"""who is told: `run` is whoever reads the config; a slot of the base `recipe` is told as `--set` would, unless it is None"""
ELSEWHERE: tuple[Where, ...] = ("source", "trainer", "placement")
"""what says where trainings run"""
SET_BEFORE = ("cache", "flip")
"""options that runs of before have from `--set`"""


@dataclass(frozen=True)
class Option:
    """What is said of a field of `RunConfig` beside its type."""

    help: str
    """of `search`"""
    where: Where
    default: Any = ...
    """on the command line; `...` where it has to be given"""
    safe: bool = False
    """whether it may be another when the run goes on"""
    metavar: str | None = None
    hint: str | None = None
    """how the help says what goes without it; None shows the default"""
    later: str | None = ""
    """help of the commands that go on: "" is the same help; None: they do not offer it"""
    shortens: bool = False
    """whether it ends trainings of a search before their ends: what trains longer than a search does without"""
    kind: Any = None
    """type on the command line; None is the field's own"""
    read: Callable[[Any], Any] = lambda value: value
    """from the command line's value to the field's"""


def always(option: Option) -> Any:
    """A field that every stored config has: what lacks it was not written by `ma2ml search`."""
    return field(metadata={"option": option})


def since(option: Option) -> Any:
    """A field that older configs may lack: then it has its default."""
    return field(metadata={"option": option}, default_factory=lambda: option.read(option.default))


def _absolute(path: Path | None) -> str | None:
    """So that the run goes on from another folder."""
    return None if path is None else str(path.expanduser().absolute())


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What `ma2ml search` was told, complete: what is the game's own is filled in."""

    game: str = always(Option("id of the game; `ma2ml list` shows them", "run", metavar="GAME"))
    learner: str = always(Option("who proposes; `ma2ml list` shows them", "run", "ma2ml_exact", metavar="NAME"))
    budget: int = always(Option(
        "pipelines in all", "search", None, safe=True, metavar="N", hint=GAMES_OWN,
        later="pipelines in all, those that are done included",
    ))  # fmt: skip
    batch: int = always(Option("pipelines proposed at a time", "search", None, metavar="N", hint=GAMES_OWN))
    seed: int = always(Option(
        "of the learner and of every training; the split of the data has its own: --set seed=N", "search", 0, metavar="N",
    ))  # fmt: skip
    evaluator: str = always(Option(
        "`train` trains for real, `surrogate` is a synthetic landscape over the same spaces, `table` looks results up",
        "run", None, metavar="NAME", hint=GAMES_OWN,
    ))  # fmt: skip
    workers: int | None = since(Option(
        "processes that train; results do not depend on it", "placement", None, safe=True, metavar="N",
        hint="(default: the cores that may be used; 1 on each GPU)",
    ))  # fmt: skip
    device: str = since(Option(
        "auto, cpu, cuda or cuda:N, of the trainings", "trainer", "auto", safe=True, metavar="NAME",
        later="auto, cpu, cuda or cuda:N",
    ))  # fmt: skip
    data: str | None = since(Option(
        "folder of the data set or table, or the file of trainings that the evaluator table looks up; digits need none",
        "source", None, safe=True, metavar="DIR", hint="",
        later="where the data lie, if they have moved: the folder, or the file of --npz", kind=Path, read=_absolute,
    ))  # fmt: skip
    download: bool = since(Option("fetch the data set into --data if it is not there", "source", False, safe=True))
    images: str | None = since(Option(
        "of the games own-*: a folder with train/val/test folders of class folders, or the class folders themselves",
        "source", None, safe=True, metavar="DIR", hint="", later=None, kind=Path, read=_absolute,
    ))  # fmt: skip
    npz: str | None = since(Option(
        "of the games own-*: a file with x_train (N x H x W [x C]), y_train, optionally x_val, y_val, x_test, y_test",
        "source", None, safe=True, metavar="FILE", hint="", later=None, kind=Path, read=_absolute,
    ))  # fmt: skip
    size: int | None = since(Option(
        "side in pixels that images are brought to (unless told: 32 of own images, 272 of ImageNet, else none)",
        "source", None, metavar="N", hint="",
    ))  # fmt: skip
    fit: Literal["crop", "pad", "squash"] = since(Option(
        "how images become squares: crop keeps the centre, pad the whole on the background, squash the whole out of shape",
        "source", "crop",
    ))  # fmt: skip
    background: str = since(Option(
        "name or #rrggbb of what transparent pixels show, and of what --fit pad fills with", "source", "white",
        metavar="COLOUR",
    ))  # fmt: skip
    flip: bool | None = since(Option(
        "mirror training images left to right at random: no suits classes that differ by direction (left and right, letters, "
        "signs), yes helps where the mirrored image is as likely as the image",
        "recipe", None, metavar="{yes,no}", hint="(default: no for own images, else the game's own)",
        kind=Literal["yes", "no"] | None, read=lambda told: None if told is None else told == "yes",
    ))  # fmt: skip
    skip_bad: bool = since(Option("of --images: leave out files that cannot be read, and say which", "source", False))
    cache: str | None = since(Option(
        "folder in which decoded images are kept, so that the next command need not read them again", "source", None, safe=True,
        metavar="DIR", hint="(default: ma2ml-cache beside the run for --images, in the data's folder for ImageNet)", kind=Path,
        read=_absolute,
    ))  # fmt: skip
    groups: str | None = since(Option(
        "of the games own-*: a CSV file with a line `name,group` for each image; what has the same group (one person, "
        "one burst) stays in one part of the data", "source", None, metavar="FILE", hint=NONE, kind=Path, read=_absolute,
    ))  # fmt: skip
    flops_limit: float | None = since(Option(
        "MACs of one image that the reward holds a pipeline to, as in 600e6", "game", None, metavar="X", hint=GAMES_OWN,
    ))  # fmt: skip
    reward: str | None = since(Option(
        "accuracy, flops (accuracy x (MACs / limit)^-0.07) or hard (nothing above the limit)", "game", None,
        metavar="NAME", hint=GAMES_OWN,
    ))  # fmt: skip
    metric: str = since(Option(
        "that the reward, --halving and the choice of `ma2ml retrain` go by: accuracy, balanced_accuracy, macro_f1, "
        "top5_accuracy or log_loss, whose score is exp(-loss). All of them are measured", "game", "accuracy", metavar="NAME",
    ))  # fmt: skip
    class_weights: Literal["none", "balanced"] = since(Option(
        "balanced weights an image in the training loss by the rarity of its class; none, as the paper, leaves them alike",
        "trainer", "none",
    ))  # fmt: skip
    time_limit: float | None = since(Option(
        "seconds after which a training is ended and counts as failed; with --halving, each stretch of one", "placement",
        None, safe=True, metavar="X", hint=NONE, shortens=True,
        later="seconds after which a training is ended and counts as failed, from here on",
    ))  # fmt: skip
    halving: tuple[float, ...] = since(Option(
        "shares of a training at which the worse half of a batch is dropped, as in 0.25 0.5; the rest goes on. The reward of "
        "what is dropped is that of its shorter training", "game", (), metavar="X ...", hint=NONE, shortens=True,
    ))  # fmt: skip
    modules: tuple[str, ...] | None = since(Option("the agents", "game", None, metavar="NAME ...", hint=GAMES_OWN))
    set: Mapping[str, Any] = always(Option(
        "another value of the game's protocol, recipe, network, data, trainer, surrogate or table, as in cells=5 or "
        "proxy_epochs=3", "run", (), metavar="KEY=VALUE", kind=UseAppendAction[tuple[str, ...]],
        read=lambda texts: settings(texts, "--set"),
    ))  # fmt: skip
    learner_set: Mapping[str, Any] = since(Option(
        "another value of the learner's settings, as in lambda_=1.0", "run", (), metavar="KEY=VALUE",
        kind=UseAppendAction[tuple[str, ...]], read=lambda texts: settings(texts, "--learner-set"),
    ))  # fmt: skip
    start: tuple[str, ...] | None = since(Option(
        "known pipelines that are the first trials: base (the game's base recipe), a JSON file of agents with their decisions, "
        "another run as RUN:K (its best K, 5 unless told), or none", "run", None, metavar="WHAT ...",
        hint="(default: base where pipelines are trained, else none)", read=starts,
    ))  # fmt: skip
    learn_from: tuple[str, ...] | None = since(Option(
        "other runs, whose trials the learner is told of, brought to the level of this one; they do not count", "run", None,
        metavar="RUN ...", hint=NONE, read=folders,
    ))  # fmt: skip
    engine: Literal["local", "ray"] = since(Option(
        "where trainings run: processes of this machine, or a Ray cluster", "placement", "local", safe=True,
    ))  # fmt: skip
    address: str | None = since(Option(
        "of the Ray cluster, as auto or 10.0.0.1:6379; without it Ray is started on this machine", "placement", None,
        safe=True, metavar="NAME", hint="", later="of the Ray cluster",
    ))  # fmt: skip
    gpus: float | None = since(Option(
        "GPUs of each training on Ray; 0.25 lets four share one. Unless told 1, or 0 where the cluster has none",
        "placement", None, safe=True, metavar="X", hint=NONE, later="of each training on Ray",
    ))  # fmt: skip
    track: tuple[str, ...] = since(Option(
        "tell experiment trackers of the search too: mlflow, wandb, each by the extra of its name; none switches them off",
        "run", (), safe=True, metavar="NAME ...", hint=NONE,
    ))  # fmt: skip

    @classmethod
    def told(cls, options: Mapping[str, Any]) -> Self:
        """What the options of `ma2ml search` say; what is the game's own is filled in.

        Raises:
            ValueError: unknown game, an option that is empty, or a setting that cannot be read or is of the wrong kind.
        """
        for name, value in options.items():
            if value == "" or (isinstance(value, (list, tuple)) and "" in value):
                raise ValueError(f"--{name.replace('_', '-')} is empty: leave it out, or say which")
        told = {each.name: said(each).read(options[each.name]) for each in fields(cls)}
        named: NamedGame = resolve("games", told["game"])
        changes = {name: value for name, value in told["set"].items() if name in get_type_hints(Protocol)}
        check_settings(Protocol, changes, "option")
        protocol = replace(named.protocol, **changes)
        trained = (told["evaluator"] or named.usual) == "train"
        own = {
            "evaluator": named.usual,
            "budget": protocol.budget,
            "batch": protocol.batch,
            "start": (BASE,) if trained else (),
        }
        if named.data == "own" and "flip" not in told["set"]:
            own["flip"] = False
        told |= {name: value for name, value in own.items() if told[name] is None}
        return cls(**told | {"start": told["start"] or None})  # as it is read again

    @classmethod
    def unsaid(cls) -> dict[str, Any]:
        """What `told` gets of a command that says nothing but the game."""
        return {each.name: said(each).default for each in fields(cls) if said(each).default is not ...}

    @classmethod
    def read(cls, stored: Mapping[str, Any], folder: Path) -> Self:
        """What a run has stored, by this version or an earlier one; what another version knows alone is left out.

        Raises:
            ValueError: if it was not stored by `ma2ml search`; what is missing or of another kind is named.
        """
        wrong = f"{folder} was not made by `ma2ml search`"
        missing = [each.name for each in fields(cls) if _always(each) and each.name not in stored]
        if missing:
            raise ValueError(f"{wrong}: its config has no {', '.join(missing)}")
        kinds = get_type_hints(cls)
        values: dict[str, Any] = {}
        for each in fields(cls):
            value = stored.get(each.name)
            if value is None and not _always(each):
                continue
            if not fits(value, kinds[each.name]):
                raise ValueError(f"{wrong}: the {each.name} of its config is {json.dumps(value)}")
            values[each.name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """As it is stored, by name."""
        return {name: _plain(value) for name, value in sorted(vars(self).items())}

    @classmethod
    def usual(cls) -> dict[str, Any]:
        """Name -> what a stored config that lacks it, being older than the option, means."""
        return {each.name: _plain(_default(each)) for each in fields(cls) if not _always(each)}

    @classmethod
    def names(cls, *where: Where, safe: bool | None = None) -> list[str]:
        """Options by who is told (none named: all), and by whether they may change."""
        return [
            each.name
            for each in fields(cls)
            if (not where or said(each).where in where) and safe in (None, said(each).safe)
        ]

    def of(self, *where: Where) -> dict[str, Any]:
        """What one of them is told, as arguments."""
        return {name: value for name, value in vars(self).items() if name in self.names(*where)}

    def unread(self) -> list[str]:
        """Options that were told and that nobody reads, as an evaluator that does not train needs no images."""
        if self.evaluator == "train":
            return []
        idle = [name for name in self.names("source", "placement") if name != "size"]  # recipes depend on the size
        if self.evaluator == "table":
            idle.remove("data")
        usual = {each.name: _default(each) for each in fields(self)}
        return [f"--{name.replace('_', '-')}" for name in idle if vars(self)[name] != usual[name]]

    def overrides(self) -> dict[str, Any]:
        """`--set`, as arguments of `make_game`.

        Raises:
            ValueError: if a name has an option of its own.
        """
        own, told = self.names("game", "recipe", *ELSEWHERE), vars(self)
        for name in sorted(self.set):
            if name == "checkpoints":
                raise ValueError("--set checkpoints: a run keeps them in its folder")
            if name in own and (name not in SET_BEFORE or told[name] is not None):
                raise ValueError(f"--set {name}: it has an option of its own, --{name.replace('_', '-')}")
        recipe = {name: value for name, value in self.of("recipe").items() if value is not None}
        named: NamedGame = resolve("games", self.game)
        if named.data == "own" and not recipe:  # of before there was the option: own images were mirrored
            recipe["flip"] = True
        return recipe | {name: _tuples(value) for name, value in self.set.items()}

    def placement(self) -> Placement:
        """Where trainings run.

        Raises:
            ValueError: if there are no workers, or what belongs to a cluster is given without one.
        """
        workers = default_workers(self.device) if self.workers is None else self.workers
        return Placement(**{**self.of("placement"), "workers": workers})

    def beside(self, run: Path) -> Self:
        """The config with the cache that a run has unless told: its neighbours may have the same images.

        Raises:
            ValueError: if the run would lie among the class folders, and be taken for one of them.
        """
        if self.images is not None:
            images, run = Path(self.images).expanduser().resolve(), run.expanduser().resolve()
            classes = images / "train" if (images / "train").is_dir() else images
            if classes in run.parents:
                raise ValueError(
                    f"{run} lies in {classes}, whose folders are classes: go to another folder, or name one outside with --run"
                )
        if self.images is None or self.cache is not None or "cache" in self.set:
            return self
        return replace(self, cache=str(run.expanduser().absolute().parent / "ma2ml-cache"))

    def changed(self, told: Mapping[str, Any]) -> Self:
        """The config to go on with, where some options are others; None and False are as the run has it.

        `data` is the place of whatever data the run has. What belongs to a cluster stays behind on this machine.

        Raises:
            TypeError: if there is no such option, or it may not change.
        """
        known = self.names(safe=True)
        for name in told:
            if name not in known:
                raise TypeError(f"a run that goes on has no option {name!r}{closest(name, known)}")
        changes = {name: value for name, value in told.items() if value is not None and value is not False}
        if changes.get("engine") == "local":
            changes = {"address": None, "gpus": None, **changes}
        if "data" in changes:
            place = _absolute(Path(changes.pop("data")))
            changes["images" if self.images else "npz" if self.npz else "data"] = place
        return replace(self, **changes)

    def whole(self) -> Self:
        """The config for trainings to their ends: a search's limits are for trainings of its own length."""
        return replace(self, **{each.name: _default(each) for each in fields(self) if said(each).shortens})


def said(of: "Field[Any]") -> Option:
    """What is said of a field of `RunConfig`."""
    found: Option = of.metadata["option"]
    return found


def _always(of: "Field[Any]") -> bool:
    """Whether every stored config has it."""
    return of.default_factory is MISSING


def _default(of: "Field[Any]") -> Any:
    return said(of).read(said(of).default)


def _plain(value: Any) -> Any:
    """As JSON has it; no items are none."""
    return (list(value) or None) if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
