"""What a thousand kills lose: `python benchmarks/kills.py --kills 1000`. Nothing, it is to be shown.

A storm is one run: `search`, `resume` with a larger budget, and where pipelines are trained `retrain`, `export`, and `export`
over the export that is there. Each command is killed (SIGKILL) just before or after a random pass of a named point (a write,
fsync, rename, commit); then it is started again, a search also by `resume`, and killed again, at a random moment of the time
that it takes in calm, or, one in three, at a point, until it ends. What is looked at then:

- lost: an outcome that was acknowledged (the store's call had returned) and is not there;
- changed: one that is there otherwise, its seconds included;
- again: one that was done a second time;
- differences: a file or row that is not that of the calm run, see `same_run.py`. The calm run is made by a process of its own,
  with another hash seed. An export is looked at after each kill: it is whole, or it is not there.

The driver is forked (`killing.py`). Controls are storms with a driver that has a fault: outcomes that are not committed, a
resume that drops one, a resume that leaves other weights. Each has to be found, or this program fails.

A finished storm is a line of `results/kills.jsonl` (`--results`) and is not played again; the table is in `.json` and `.md`
beside it. `--part 2/4` plays the second of four parts.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = (
    "1"  # whose threads start when it is imported, and a process with threads is not forked
)

import numpy as np
from killing import CONTROLS, Ended, Trap, acknowledged, draw, drive, prepare
from provenance import header
from same_run import differences, files, lost_or_changed

from ma2ml_env.training.data.known import read_digits

RESULTS = Path(__file__).parent / "results"
KINDS = ("search", "resume", "retrain", "export")
MOST = 200
"""kills of one command before it is said that it gets nowhere"""
_SYNTHETIC = "search digits-v0 --evaluator surrogate --budget 8 --batch 4 --learner"
_LIGHT = '{"updates":1,"critic_steps":2}'
_DIGITS = (
    "search own-small-v1 --npz {npz} --size 8 --budget 6 --batch 3 --set proxy_epochs=2 --set final_epochs=4 --set limit=64 "
    "--set validation=60 --learner"
)
SCENARIOS = {
    "digits": [
        f"{_DIGITS} random", "resume --budget 9", "retrain --top-k 2 --repeats 2 --no-floors", "export", "export",
    ],
    "synthetic, evolution": [f"{_SYNTHETIC} evolution", "resume --budget 16"],
    "digits, halving and floors": [
        f"{_DIGITS} evolution --halving 0.5", "resume --budget 9", "retrain --top-k 1 --repeats 1", "export", "export",
    ],
    "synthetic, ma2ml": [f"{_SYNTHETIC} ma2ml --learner-set updates=1 --learner-set critic_steps=2", "resume --budget 16"],
    "synthetic, hybrid": [f"{_SYNTHETIC} hybrid --learner-set policy_settings={_LIGHT}", "resume --budget 16"],
}  # fmt: skip


def digits(folder: Path) -> Path:
    """An npz file of 180 digits of 8 x 8 pixels to train with and 60 for the test."""
    path = folder / "digits.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        raw = read_digits()
        x, y = raw.x["train"].transpose(0, 2, 3, 1), raw.y["train"]
        partial = folder / "digits.partial.npz"
        np.savez(partial, x_train=x[:180], y_train=y[:180], x_test=x[180:240], y_test=y[180:240])
        partial.rename(path)
    return path


def words(command: str, folder: Path, seed: int, npz: Path) -> list[str]:
    """Of a command line, for a folder."""
    name, *others = (word.replace("{npz}", str(npz)) for word in command.split())
    if name == "search":
        others += ["--run", str(folder), "--seed", str(seed)]
    else:
        others.insert(0, str(folder))
    return [name, *others, *([] if name == "export" else ["--workers", "1", "--device", "cpu"])]


@dataclass(frozen=True)
class Calm:
    """A run that nobody has disturbed."""

    folder: Path
    npz: Path
    """its data"""
    commands: list[Ended]
    """as forked drivers play them"""


def calm(scenario: str, seed: int, out: Path) -> Calm:
    """Play a scenario in a process of its own, and in forked drivers, which have to come to the same.

    Raises:
        RuntimeError: if a command fails, or they do not.
    """
    npz, name = digits(out), f"{scenario}-{seed}".replace(", ", "-").replace(" ", "-")
    folder, forked = out / "calm" / name, out / "calm" / f"{name}-forked"
    for path in (folder, forked):
        shutil.rmtree(path, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    each = [words(command, folder, seed, npz) for command in SCENARIOS[scenario]]
    modules = out / "calm" / "modules.json"
    code = (
        "import json, sys\nfrom ma2ml_agents.cli.main import main\n"
        f"for words in {each!r}:\n    assert main(words) == 0\n"
        f"open({str(modules)!r}, 'w').write(json.dumps(sorted(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": str(seed + 1), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the calm run of {scenario} failed: {done.stderr[-500:]}")
    prepare(json.loads(modules.read_text()))
    commands = []
    for command in SCENARIOS[scenario]:
        ended = drive(words(command, forked, seed, npz), forked)
        if ended.code:
            raise RuntimeError(f"{command}: exit code {ended.code}, {ended.said}")
        commands.append(ended)
    if found := differences(forked, folder):
        raise RuntimeError(f"{scenario}: two calm runs differ: {found}")
    return Calm(folder, npz, commands)


def storm(scenario: str, seed: int, still: Calm, rng: random.Random, beside: Path, control: str = "") -> dict[str, Any]:
    """Play a scenario under kills; what came of it."""
    folder = beside.with_suffix(".run")
    for path in (folder, beside.with_suffix(".acknowledged")):
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
    kills: dict[str, int] = {}
    points, faults, began = 0, [], time.monotonic()
    whole = {name: data for name, data in files(still.folder).items() if name.startswith("export/")}
    for command, quiet in zip(SCENARIOS[scenario], still.commands, strict=True):
        name = command.split()[0]
        kills.setdefault(name, 0)
        for attempt in range(MOST + 1):
            again = attempt and name == "search" and acknowledged(beside) and rng.random() < 0.5
            told = ["resume", str(folder)] if again else words(command, folder, seed, still.npz)
            how = (
                {"trap": Trap("add_outcome", "after", 2)}
                if control and not kills["search"]
                else draw(rng, quiet, attempt)
            )
            ended = drive(told, beside, **how, control=CONTROLS.get(control))
            if ended.code != -9:
                break
            kills[name] += 1
            points += "trap" in how
            if name == "export" and (folder / "export").exists():
                seen = {path: data for path, data in files(folder).items() if path.startswith("export/")}
                faults += ["after a kill the export is not the calm one"] * (seen != whole)
        if ended.code:
            faults.append(f"{name}: exit code {ended.code}: {ended.said}")
            break
    told_of = acknowledged(beside)
    lost, changed, again_done = lost_or_changed(folder, told_of)
    return {
        "scenario": scenario, "seed": seed, "control": control, "kills": kills, "at_points": points,
        "acknowledged": len(told_of), "lost": lost, "changed": changed, "again": again_done,
        "differences": faults or differences(folder, still.folder), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def faults(row: dict[str, Any]) -> list[str]:
    """All that is wrong with a storm."""
    return [line for key in ("lost", "changed", "again", "differences") for line in row[key]]


def count(row: dict[str, Any]) -> int:
    """Kills of a storm."""
    return sum(row["kills"].values())


def table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over storms without a control, by scenario and in all; and what the controls found."""
    played = [row for row in rows if not row["control"]]
    found: dict[str, Any] = {}
    for name in (*SCENARIOS, "all"):
        if some := [row for row in played if name in ("all", row["scenario"])]:
            by = {kind: sum(row["kills"].get(kind, 0) for row in some) for kind in KINDS}
            wrong = {key: sum(len(row[key]) for row in some) for key in ("lost", "changed", "again", "differences")}
            sums = {key: sum(row[key] for row in some) for key in ("at_points", "acknowledged")}
            found[name] = {"storms": len(some), "kills": sum(map(count, some)), **by, **sums, **wrong}
    kinds = sorted({line for row in played for line in faults(row)})
    controls = {row["control"]: (faults(row) or ["NOT FOUND"])[0] for row in rows if row["control"]}
    commits = sorted({row["commit"] for row in played})
    return {"commits": commits, "scenarios": found, "faults": kinds, "controls": controls}


def as_markdown(found: dict[str, Any], version: str) -> str:
    keys = ["storms", "kills", *KINDS, "at_points", "acknowledged", "lost", "changed", "again", "differences"]
    lines = ["# Kills", "", "`python benchmarks/kills.py`; its docstring says what is counted.", ""]
    lines += [f"{version}, commit {', '.join(each[:10] for each in found['commits'])}.", ""]
    lines += [f"| scenario | {' | '.join(key.replace('_', ' ') for key in keys)} |", "|---" * (len(keys) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[key]:,}' for key in keys)} |" for name, row in found["scenarios"].items()]
    wrong = "; ".join(found["faults"]) or "nothing"
    lines += ["", f"What was wrong: {wrong}.", "", "| control | found |", "|---|---|"]
    lines += [f"| {name} | {line} |" for name, line in found["controls"].items()]
    return "\n".join(lines) + "\n"


def stored(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def play(args: argparse.Namespace) -> None:
    """Controls, then storms until there are so many kills."""
    part, parts = map(int, args.part.split("/"))
    stills: dict[tuple[str, int], Calm] = {}
    wanted = [("digits", 0, control) for control in CONTROLS if part == 1]
    index = part - 1
    while True:
        rows = [row for row in stored(args.results) if row["storm"] % parts == part - 1]
        done = {(row["storm"], row["control"], row["scenario"]) for row in rows}
        if not wanted and sum(count(row) for row in rows if not row["control"]) * parts >= args.kills:
            return
        scenario, number, control = wanted.pop(0) if wanted else (args.only[index // parts % len(args.only)], index, "")
        index += parts if not control else 0
        if (number, control, scenario) in done:
            continue
        seed = number // (parts * len(args.only)) % args.seeds
        if (scenario, seed) not in stills:
            stills[scenario, seed] = calm(scenario, seed, args.out)
        rng = random.Random(f"{number} {control}")
        beside = args.out / f"{number}{control.replace(' ', '-')}"
        row = {**header(), "storm": number, **storm(scenario, seed, stills[scenario, seed], rng, beside, control)}
        args.results.parent.mkdir(parents=True, exist_ok=True)
        with args.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if not faults(row) or control:
            for path in args.out.glob(f"{beside.name}.*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        told = "; ".join(faults(row)[:3]) or "all as in calm"
        print(f"storm {number} {control or scenario}: {count(row)} kills, {told}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="play until there are so many (1000)")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="play the k-th of n parts")
    parser.add_argument(
        "--only", nargs="*", choices=list(SCENARIOS), default=list(SCENARIOS), help="these scenarios alone"
    )
    parser.add_argument("--seeds", type=int, default=2, help="seeds 0 to N - 1 of each scenario (2)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs" / "kills", help="folder of runs")
    parser.add_argument(
        "--results", type=Path, default=RESULTS / "kills.jsonl", help="a line a storm; .json and .md beside it"
    )
    args = parser.parse_args(argv)
    play(args)
    rows = stored(args.results)
    found = table(rows)
    head = header()
    args.results.with_suffix(".json").write_text(
        json.dumps({**head, "command": "python benchmarks/kills.py", **found}, indent=2) + "\n"
    )
    version = f"Version {head['version']}, torch {head['torch']}, Python {head['python']}, {head['machine']}"
    args.results.with_suffix(".md").write_text(as_markdown(found, version))
    print(as_markdown(found, version))
    blind = [name for name, line in found["controls"].items() if line == "NOT FOUND"]
    for name in blind:
        print(f"error: the fault of the control {name!r} was not found", file=sys.stderr)
    return 1 if found["faults"] or blind else 0


if __name__ == "__main__":
    sys.exit(main())
