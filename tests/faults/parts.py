"""A light learner and what the fault tests share. Importing it loads neither torch nor pytest."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from ma2ml_agents.run.loop import search
from ma2ml_env.evaluators.base import DeviceLost, Evaluator, Job, NoWorker
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.evaluators.wrap import Cached
from ma2ml_env.game import Game
from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Proposal

HERE = Path(__file__).parent


class Steps:
    """A module of two decisions; 12 codes, so a search meets equal ones."""

    name = "steps"
    space = SearchSpace([Decision("epochs", (1, 2, 3, 4)), Decision("batch_size", (8, 16, 32))])

    def apply(self, recipe, values):
        return Recipe(epochs=recipe.epochs, batch_size=values["batch_size"], warmup=values["epochs"] / 10)


class Light:
    """Draws codes from counts of rewards: what it proposes depends on all that it was told."""

    def __init__(self, spec, seed=0):
        self.spec = spec
        self.rng = np.random.default_rng(seed)
        self.sums = {agent: [np.ones(n) for n in nvec] for agent, nvec in spec.nvec.items()}

    def ask(self, n, states=None):
        return [
            Proposal(
                {a: tuple(int(self.rng.choice(len(s), p=s / s.sum())) for s in sums) for a, sums in self.sums.items()}
            )
            for _ in range(n)
        ]

    def tell(self, trials):
        for trial in trials:
            for agent, code in trial.proposal.codes.items():
                for sums, choice in zip(self.sums[agent], code, strict=True):
                    sums[choice] += trial.reward
        return {"told": float(len(trials))}

    def state_dict(self):
        return {"rng": self.rng.bit_generator.state, "sums": self.sums}

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.sums = state["sums"]


def make_game(evaluator=None):
    spec = {"steps": Steps.space.nvec}
    return Game([Steps()], Cached(evaluator or Surrogate(spec, seed=1)))


def run(folder, budget=12, batch=5, evaluator=None, callbacks=(), **options):
    """Search, or go on, in a folder."""
    game = make_game(evaluator)
    with TrialStore(folder) as store:
        return search(game, Light(game.spec), budget=budget, batch=batch, store=store, callbacks=callbacks, **options)


def comparable(trial):
    """A trial but for what time and restarts may change."""
    data = trial.to_json()
    return {**data, "outcome": {**data["outcome"], "seconds": 0.0, "attempts": 0}}


def result(folder):
    """All that must be the same in the end: trials, learner to the bit, best pipeline to the byte.

    Digests in the database and the mirror hold the run's id, which every run has its own of.
    """
    with TrialStore(folder, create=False) as store:
        assert store.check() == []
        trials = [comparable(trial) for trial in store.trials()]
        row = [row[:4] for row in store._rows("SELECT * FROM learner")]
    return trials, row, (Path(folder) / "best.json").read_bytes()


def mirrored(folder):
    """The mirror's lines, but for the run's id and the digests, which hold it."""
    lines = [json.loads(line) for line in (Path(folder) / "trials.jsonl").read_bytes().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("run", "digest")} for line in lines]


def python(*args, **options):
    """Start a script of this folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    return subprocess.Popen([sys.executable, *map(str, args)], env=environment, **options)


def until(condition, seconds=10.0):
    """Wait until something is so; whether it came to be."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def job(number, **args):
    """A job whose code says what a faulty evaluator does with it."""
    return Job(number, Recipe(epochs=number + 1), {key: (value,) for key, value in args.items()}, 1000 + number, 1.0)


def group(pid):
    """Processes, but no zombies, of the process group."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(pgrp) == pid and state != "Z":
            members.append(int(path.parent.name))
    return members


def parents():
    """Process -> (its parent, its name), of all that there are; Linux alone has them."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            head, _, rest = stat.read_text().rpartition(")")
            found[int(stat.parent.name)] = int(rest.split()[1]), head.partition("(")[2]
    return found


def listening(pid):
    """host:port of every TCP socket on which a process, or what it has started, listens."""
    family, tree = {pid}, parents()
    while more := {each for each, (parent, _) in tree.items() if parent in family} - family:
        family |= more
    inodes = set()
    for fd in (fd for each in family for fd in Path("/proc").glob(f"{each}/fd/*")):
        with suppress(OSError):  # it was there when the folder was read
            inodes.add(os.readlink(fd))
    places = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in inodes:
                words, port = local.split(":")
                words = words.removeprefix("0000000000000000FFFF0000")  # IPv4 in the clothes of IPv6
                host = ".".join(str(int(words[i : i + 2], 16)) for i in (6, 4, 2, 0)) if len(words) == 8 else words
                places.append(f"{host}:{int(port, 16)}")
    return places


class Faulty(Evaluator):
    """An evaluator that does what a job's codes say, and tells its process. `folder` remembers who died once."""

    def __init__(self, folder="."):
        self.folder = folder

    def evaluate(self, jobs):
        import signal

        for index, job in enumerate(jobs):
            orders = {key: value for key, (value,) in job.codes.items()}
            if orders.get("sleep"):
                time.sleep(orders["sleep"])
            if "child" in orders:
                subprocess.Popen(["sleep", "600"])
            if "stop" in orders:
                os.kill(os.getpid(), signal.SIGSTOP)
            if "raise" in orders:
                raise [ValueError("bad job"), MemoryError("too large"), SystemExit(3)][orders["raise"]]
            if "kill" in orders:
                os.kill(os.getpid(), orders["kill"])
            if "exit" in orders:
                os._exit(orders["exit"])
            if "die_once" in orders and not (marker := Path(self.folder) / str(job.number)).exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if "lost_once" in orders and not (marker := Path(self.folder) / str(job.number)).exists():
                marker.touch()
                raise DeviceLost("the GPU no longer answers")
            if "unfit" in orders:
                raise NoWorker("the disk is full")
            yield index, Outcome(accuracy=job.seed / 1e4, metrics={"pid": float(os.getpid())})
