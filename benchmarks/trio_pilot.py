"""Are these levels worth measuring? `python benchmarks/trio_pilot.py`: a pilot of the exhaustive games, and what it accepts.

Before every pipeline of a joint game is trained, a few hundred say whether the game is worth it. A block takes two random
codes of each agent and trains all eight pipelines of them; two of its corners are trained once more with another seed. From
the blocks' contrasts come the shares of variance of a three-way decomposition (AUG, NAS, HPO), without bias: two codes of L
drawn without replacement, each of the eight with its own seed.

Accepted are levels of which each agent has a total share of at least .15, interactions across agents at least .10; the standard
deviation between seeds is at most .25 of that between pipelines; and at most .10 of the pipelines stay below .5.

`--data digits` or `fashion-mnist` (`--fashion DIR`). `--part k/n` plays a part; a finished training is a line of `--out` and is
not played again. Without `--part` the report of what is there is printed as well.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
from provenance import header

from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.games.named import NamedGame
from ma2ml_env.games.trio import TRIO_DIGITS, TRIO_FASHION
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import resolve
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import trial_seed

SEED = 7
MARKS = (1, 2, 3, 5, 8, 12, 16, 20)
GAMES = {game.data: game for game in (TRIO_DIGITS, TRIO_FASHION)}
Modules = Sequence[Any]


def modules_of(game: NamedGame) -> Modules:
    return [resolve("modules", name)(**settings) for name, settings in game.modules]


def codes_of(module: Any) -> list[tuple[int, ...]]:
    return list(product(*map(range, module.space.nvec)))


def blocks(count: int, modules: Modules, seed: int = 0) -> list[list[tuple[tuple[int, ...], ...]]]:
    """For each block two codes of each agent."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        pairs = []
        for module in modules:
            codes = codes_of(module)
            first, second = rng.choice(len(codes), 2, replace=False)
            pairs.append((codes[first], codes[second]))
        found.append(pairs)
    return found


def trainings(count: int, modules: Modules) -> list[dict[str, Any]]:
    """All of the pilot, in order: block, corner (three bits), repeat, codes."""
    told = []
    for number, pairs in enumerate(blocks(count, modules)):
        for corner in product((0, 1), repeat=3):
            codes = [pair[bit] for pair, bit in zip(pairs, corner, strict=True)]
            for repeat in range(2 if corner in ((0, 0, 0), (1, 1, 1)) else 1):
                told.append({"block": number, "corner": corner, "repeat": repeat, "codes": codes})
    return told


def recipe_of(codes: Sequence[tuple[int, ...]], modules: Modules) -> Recipe:
    recipe = replace(TRIO_DIGITS.base, epochs=TRIO_DIGITS.protocol.final_epochs)  # Fashion-MNIST's is the same
    for module, code in zip(modules, codes, strict=True):
        recipe = module.apply(recipe, module.space.decode(code))
    return recipe


def play(args: argparse.Namespace, wanted: Sequence[dict[str, Any]], modules: Modules) -> None:
    game = GAMES[args.data]
    folder = str(args.fashion) if args.data == "fashion-mnist" else None
    source = DataSource(args.data, folder=folder, size=game.size, **game.source)
    trainer = Train(source, device="cpu", test=True, curve=MARKS)
    done = {row["number"] for row in stored(args.out)}
    for number, one in enumerate(wanted):
        if number % args.part[1] != args.part[0] or number in done:
            continue
        began = time.process_time()
        seed = trial_seed(SEED, number)
        [(_, outcome)] = trainer.evaluate([Job(number, recipe_of(one["codes"], modules), {}, seed, 1.0)])
        row = {**one, "number": number, "seed": seed, "data": args.data, "cpu": time.process_time() - began}
        with args.out.open("a") as file:
            file.write(json.dumps({**row, "outcome": outcome.to_json()}) + "\n")
        print(f"{number + 1}/{len(wanted)}  {outcome.accuracy:.3f}", flush=True)


def stored(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def shares(rows: Sequence[Mapping[str, Any]], modules: Modules) -> dict[str, Any]:
    """Shares of variance, noise, and the share of pipelines below .5, of the blocks that are whole."""
    values: dict[int, dict[tuple[int, ...], list[float]]] = {}
    for row in rows:
        corner = tuple(row["corner"])
        values.setdefault(row["block"], {}).setdefault(corner, []).append(row["outcome"]["accuracy"])
    whole = {b: v for b, v in values.items() if len(v) == 8 and sum(map(len, v.values())) == 10}
    pairs = [v for block in whole.values() for v in block.values() if len(v) == 2]
    noise = float(np.mean([(a - b) ** 2 / 2 for a, b in pairs]))
    cubes = np.array([[[[b[i, j, k][0] for k in (0, 1)] for j in (0, 1)] for i in (0, 1)] for b in whole.values()])
    sets = [s for size in (3, 2, 1) for s in combinations(range(3), size)]
    sizes = [len(codes_of(module)) for module in modules]
    found: dict[tuple[int, ...], float] = {}
    for s in sets:
        signs = np.ones((2, 2, 2))
        for axis in s:
            signs *= np.array([-1, 1]).reshape([2 if a == axis else 1 for a in range(3)])
        square = float(np.mean((cubes * signs).mean(axis=(1, 2, 3)) ** 2))
        rest = square - noise / 8
        for t, part in found.items():
            if set(s) <= set(t):
                rest -= part * weight(s, t, sizes)
        found[s] = rest / weight(s, s, sizes)
    total = sum(found.values())
    names = [module.name for module in modules]
    told: dict[str, Any] = {"blocks": len(whole), "mean": float(cubes.mean()), "deviation": total**0.5}
    told["noise_over_deviation"] = (noise / total) ** 0.5
    for agent, name in enumerate(names):
        told[f"total_{name}"] = sum(v for s, v in found.items() if agent in s) / total
        told[f"alone_{name}"] = found[agent,] / total
    told["interactions"] = sum(v for s, v in found.items() if len(s) > 1) / total
    told["below_half"] = float(np.mean([r["outcome"]["accuracy"] < 0.5 for r in rows]))
    return told


def weight(s: Sequence[int], t: Sequence[int], sizes: Sequence[int]) -> float:
    """What of the variance of effect t a squared contrast over s holds, of two codes drawn without replacement."""
    factors = ((n / (n - 1) if agent in s else 1 - 1 / (n - 1)) / 2 for agent in t for n in (sizes[agent],))
    return math.prod(factors)


def by_code(rows: Sequence[Mapping[str, Any]], modules: Modules) -> list[str]:
    """Mean accuracy of each choice of each decision."""
    lines = []
    for agent, module in enumerate(modules):
        for place, decision in enumerate(module.space.decisions):
            means = []
            for index, choice in enumerate(decision.choices):
                some = [r["outcome"]["accuracy"] for r in rows if r["codes"][agent][place] == index]
                means.append(f"{choice} {np.mean(some):.3f}" if some else f"{choice} -")
            lines.append(f"{module.name} {decision.name}: {', '.join(means)}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(GAMES), default="digits")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--blocks", type=int, default=44)
    parser.add_argument("--part", default="0/1", help="k/n, k from 0")
    parser.add_argument("--report", action="store_true", help="of what is there, and train nothing")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    args.part = tuple(map(int, args.part.split("/")))
    modules = modules_of(GAMES[args.data])
    if not args.report:
        play(args, trainings(args.blocks, modules), modules)
    rows = stored(args.out)
    found = {**header(), "data": args.data, **shares(rows, modules)}
    print(json.dumps(found, indent=2))
    print("\n".join(by_code(rows, modules)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
