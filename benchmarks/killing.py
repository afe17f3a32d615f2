"""A driver that is killed: `ma2ml` in a forked child, with what it acknowledges written down, and a trap. For `kills.py`.

The child runs `ma2ml_agents.cli.main.main` with the words of a command line, as the command `ma2ml` does. It is forked from a
process that has imported everything and started no thread, so a kill costs a fork and not the seconds of importing torch.
Kills while modules are imported are what this leaves out: nothing has been opened then.
"""

import gc
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ma2ml_env.evaluators.train
from ma2ml_agents.after.results import Results
from ma2ml_agents.cli.main import main as ma2ml
from ma2ml_env.store.mirror import Mirror, canonical
from ma2ml_env.store.store import TrialStore

Control = Callable[[], None]
POINTS: dict[str, Any] = {
    "configure": TrialStore, "propose": TrialStore, "add_outcome": TrialStore, "close_batch": TrialStore,
    "write_best": TrialStore, "append": Mirror, "add": Results, "fsync": os, "replace": os, "rename": os, "mkdir": os,
    "rmtree": shutil,
}  # fmt: skip
"""named points: a call of these is where a kill may come, just before it or just after it"""


@dataclass(frozen=True)
class Trap:
    """Die at the n-th pass of a named point."""

    name: str
    when: str
    """before or after the call"""
    n: int


@dataclass
class Ended:
    """What became of a driver."""

    code: int
    """its exit code; -9 if it was killed"""
    seconds: float
    passes: dict[str, int] = field(default_factory=dict)
    """point -> how often it was passed, of one that was not killed"""
    said: str = ""
    """its last line"""


def drive(
    words: Sequence[str],
    beside: Path,
    *,
    after: float | None = None,
    trap: Trap | None = None,
    control: Control | None = None,
) -> Ended:
    """Run a command in a forked child, to its end or until it is killed.

    Args:
        words: after `ma2ml`.
        beside: prefix of three files: what was acknowledged (added to), what the command said, what it passed.
        after: seconds from the fork until it is killed.
        trap: where it kills itself.
        control: a fault put into the child, which the comparison has to find.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise RuntimeError(f"a process of {threads} threads cannot be forked safely")
    sys.stdout.flush()
    told, left = beside.with_suffix(".said"), beside.with_suffix(".json")
    left.unlink(missing_ok=True)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(words, beside.with_suffix(".acknowledged"), told, left, trap, control)
    end = None if after is None else began + after
    while True:
        done, status = os.waitpid(pid, 0 if end is None else os.WNOHANG)
        if done:
            break
        if end is not None and time.monotonic() >= end:
            os.kill(pid, signal.SIGKILL)
            end = None
        else:
            time.sleep(0.001)
    seconds, code = time.monotonic() - began, os.waitstatus_to_exitcode(status)
    known = json.loads(left.read_text()) if left.exists() and code == 0 else {}
    lines = told.read_text(errors="replace").strip().splitlines()
    return Ended(code, seconds, **known, said=lines[-1] if lines else "")


def acknowledged(beside: Path) -> list[dict[str, Any]]:
    """All that the children have acknowledged, in order."""
    path = beside.with_suffix(".acknowledged")
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def prepare(modules: Sequence[str]) -> None:
    """Import what a command imports, so that forked ones need not."""
    for name in modules:
        if name not in sys.modules and name != "__main__":
            with suppress(Exception):  # some put names into sys.modules that nobody can import
                importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else a child's collector writes to, and so copies, all that it shares


def draw(rng: random.Random, calm: Ended, attempt: int) -> dict[str, Any]:
    """When the next kill comes: at any moment of the calm command's duration, or at a named point, one in three.

    The first attempt of a command meets a point, which it is sure to pass: so no command of a storm is left out.
    The machine may be slower than it was in calm, so the duration is taken to be longer attempt by attempt, or a command that
    cannot go on where it stood, as `export`, would never come to its end.
    """
    if attempt and rng.random() < 2 / 3:
        return {"after": rng.uniform(0.0, calm.seconds * (1 + attempt / 5))}
    name = rng.choice(sorted(name for name, count in calm.passes.items() if count))
    return {"trap": Trap(name, rng.choice(("before", "after")), rng.randint(1, calm.passes[name]))}


def _child(
    words: Sequence[str], acks: Path, told: Path, left: Path, trap: Trap | None, control: Control | None
) -> None:
    """The driver's whole life."""
    code = 70
    try:
        with told.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        ma2ml_env.evaluators.train.KEEP_EVERY = 0.0  # a checkpoint after each epoch: trainings here are short
        if control is not None:
            control()
        _write_down(os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
        passes = _set(trap)
        code = ma2ml(list(words))
        sys.stdout.flush()
        sys.stderr.flush()
        left.write_text(json.dumps({"passes": passes}))
    except BaseException as error:
        os.write(2, f"\n{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _write_down(acks: int) -> None:
    """Note each outcome the moment that the store says it is stored: one write, which a kill does not tear."""

    def note(what: Any, outcome: Any) -> None:
        os.write(acks, (canonical({"what": what, "outcome": outcome.to_json()}) + "\n").encode())

    stored, trained = TrialStore.add_outcome, Results.add

    def add_outcome(self: Any, number: int, outcome: Any) -> None:
        stored(self, number, outcome)
        note(number, outcome)

    def add(self: Any, stage: str, job: Any, trial: int, outcome: Any) -> None:
        trained(self, stage, job, trial, outcome)
        note(f"{stage} {job.recipe.key} {job.seed}", outcome)

    TrialStore.add_outcome, Results.add = add_outcome, add  # type: ignore[method-assign]


def _set(trap: Trap | None) -> dict[str, int]:
    """Count the passes of each point, and die at the trap's."""
    passes = dict.fromkeys(POINTS, 0)

    def watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            passes[name] += 1
            here = trap is not None and trap.name == name and trap.n == passes[name]
            if here and trap is not None and trap.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            value = original(*args, **kwargs)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        return call

    for name, owner in POINTS.items():
        setattr(owner, name, watched(name, getattr(owner, name)))
    return passes


def _uncommitted() -> None:
    """Outcomes are acknowledged and not committed."""

    class Undo(Exception):
        pass

    def add_outcome(self: Any, number: int, outcome: Any) -> None:
        with suppress(Undo), self._transaction() as db:
            self._insert(db, number, outcome)
            raise Undo

    TrialStore.add_outcome = add_outcome  # type: ignore[method-assign]


def _dropped() -> None:
    """A search that goes on drops an outcome of its open batch."""
    original = TrialStore.outcomes

    def outcomes(self: Any, batch: int) -> dict[int, Any]:
        if found := original(self, batch):
            with self._transaction() as db:
                db.execute("DELETE FROM outcomes WHERE number = ?", (max(found),))
        return original(self, batch)

    TrialStore.outcomes = outcomes  # type: ignore[method-assign]


def _other_weights() -> None:
    """Weights of a retraining have a bit that is another."""
    original = ma2ml_env.evaluators.train.write_atomic

    def write(path: Path, data: bytes) -> None:
        original(path, data[:-1] + bytes([data[-1] ^ 1]) if path.suffix == ".safetensors" else data)

    ma2ml_env.evaluators.train.write_atomic = write


CONTROLS: dict[str, Control] = {"not committed": _uncommitted, "dropped": _dropped, "other weights": _other_weights}
