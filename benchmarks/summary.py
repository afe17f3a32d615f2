"""What a suite's runs came to, as numbers: levels of its arms, ratios, and tests by pairs of seeds."""

import json
import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from exact import FOUND, exact
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from suite import Run, Suite, elite_level, tables_of

NEVER = 2.0
"""ratio of a run that does not reach the rival's level"""
RESAMPLES = 2000
HALVES = 300
WITHIN = 504
"""pipelines within which a run is to find one of the best 0.1 % of its landscape"""
SHARES = (0.25, 0.5, 1.0)
"""of the budget at which levels are compared"""
FEWEST = 5
"""seeds, or pairs of them, without which nothing is called won: of four, the smallest p is 0.06"""
STEPS = 100
"""in which a budget of seconds is looked at"""
ROUNDING = 1e-6
"""what curves are rounded to: a level that is this close is reached, also where all end at the same highest value"""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """The runs of an arm on a landscape; rows of the arrays are seeds, in order."""

    name: str
    seeds: tuple[int, ...]
    spent: NDArray[Any]
    """of the budget, rising: trials so far after each batch, (batches,); or simulated seconds, (`STEPS`,)"""
    curves: dict[str, Array]
    """(seeds, batches or steps) each; 0 before the first batch has ended"""
    seconds: float
    """of the learner per batch, median over runs of their medians"""
    trials: Array | None = None
    """that each seed had, (seeds,); None is the last of `spent`"""

    def final(self, curve: str) -> Array:
        """Level at the full budget, (seeds,)."""
        return self.curves[curve][:, -1]

    @property
    def begun(self) -> int:
        """The first column where each seed has a batch."""
        return int((self.curves["distinct"] > 0).all(axis=0).argmax()) if self.trials is not None else 0

    def success(self, level: float) -> float:
        """Share of the seeds whose best pipeline, without noise, reaches a level within `WITHIN` pipelines, or its seconds."""
        within = self.spent <= (WITHIN if self.trials is None else self.spent[-1])
        found = self.curves["true_best"][:, within].max(axis=1, initial=0.0)
        return float((found >= level - ROUNDING).mean())

    def paired(self, other: "Arm", curve: str, share: float) -> tuple[Array, Array]:
        """Levels of both at a share of the budget, on the seeds that both have."""
        both = sorted(set(self.seeds) & set(other.seeds))
        at = max(0, round(share * len(self.spent)) - 1)
        mine = [self.curves[curve][self.seeds.index(seed), at] for seed in both]
        theirs = [other.curves[curve][other.seeds.index(seed), at] for seed in both]
        return np.array(mine), np.array(theirs)


def read(
    suite: Suite, out: Path
) -> tuple[dict[str, dict[str, Arm]], dict[str, str], dict[str, Any], dict[str, dict[str, Any]]]:
    """(landscape -> arm -> its runs, landscape -> curve that counts, header of all, file -> run as it is stored).

    Raises:
        FileNotFoundError: there is no run of the suite.
    """
    found: dict[str, dict[str, list[tuple[Run, dict[str, Any]]]]] = {}
    raw: dict[str, dict[str, Any]] = {}
    judged: dict[str, str] = {}
    made_by: dict[str, set[str]] = {key: set() for key in ("version", "commit", "python", "numpy", "torch", "machine")}
    header: dict[str, Any] = {"cpu_hours": 0.0, "runs": 0, "missing": 0, "stale": 0}
    files = [(run, _stored(run.file(out))) for run in suite.runs]
    tables = tables_of(run for run, stored in files if stored is not None)
    for run, stored in files:
        if stored is None or not run.is_of(stored, tables):
            header["missing" if stored is None else "stale"] += 1
            continue
        raw[str(run.file(Path()))] = stored
        found.setdefault(run.landscape.name, {}).setdefault(run.arm, []).append((run, stored))
        judged[run.landscape.name] = stored["judged_by"]
        for key, values in made_by.items():
            values.add(stored[key])
        header["cpu_hours"] += stored["cpu_seconds"] / 3600
        header["runs"] += 1
    if not header["runs"]:
        raise FileNotFoundError(f"no runs of {suite.name} in {out}; first: python benchmarks/run.py {suite.name}")
    header |= {key: sorted(values) for key, values in made_by.items()}
    header["cpu_hours"] = round(header["cpu_hours"], 2)
    made = {name: {arm: _arm(arm, runs) for arm, runs in arms.items()} for name, arms in found.items()}
    return made, judged, header, raw


def _stored(file: Path) -> dict[str, Any] | None:
    """A run; None if it is not there, or not whole: it will be run again."""
    try:
        stored: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        print(f"{file} cannot be read and counts as missing: {error}", file=sys.stderr)
        return None
    return stored


def _arm(name: str, runs: Sequence[tuple[Run, dict[str, Any]]]) -> Arm:
    first = runs[0][0]
    # Curves that all runs have: the first releases kept no mean of a batch.
    names = [name for name in runs[0][1]["curves"] if all(name in stored["curves"] for _, stored in runs)]
    if first.axis == "seconds":
        spent: NDArray[Any] = np.arange(1, STEPS + 1) * (runs[0][1]["seconds"] / STEPS)
        curves = {name: np.array([_at(stored, name, spent) for _, stored in runs]) for name in names}
        trials = np.array([stored["trials"] for _, stored in runs], dtype=np.float64)
    else:
        curves = {name: np.array([stored["curves"][name] for _, stored in runs]) for name in names}
        spent, trials = np.minimum(np.arange(1, curves["top"].shape[1] + 1) * first.batch, first.budget), None
    seconds = float(np.median([stored["learner_seconds_per_batch"] for _, stored in runs]))
    return Arm(name, tuple(run.seed for run, _ in runs), spent, curves, seconds, trials)


def _at(stored: dict[str, Any], name: str, spent: Array) -> Array:
    """A curve by seconds: its level after the last batch that has ended by then."""
    batch = np.searchsorted(stored["curves"]["seconds"], spent, side="right")
    return np.append(0.0, stored["curves"][name])[batch]


def ratios(mine: Arm, rival: Arm, curve: str, rng: np.random.Generator | None = None) -> Array:
    """Pipelines, or seconds, until each of my seeds reaches the rival's mean final level, over its budget; else `NEVER`.

    With `rng` the seeds of both are drawn anew, with replacement: a step of the bootstrap.
    """
    rows, level = mine.curves[curve], rival.final(curve)
    if rng is not None:
        rows, level = (values[rng.integers(len(values), size=len(values))] for values in (rows, level))
    reached = rows >= level.mean() - ROUNDING
    first = np.where(reached.any(axis=1), mine.spent[reached.argmax(axis=1)] / rival.spent[-1], NEVER)
    return np.asarray(first, dtype=np.float64)


def own_time(rival: Arm, curve: str) -> float:
    """The ratio that a rival has to itself: of each of its seeds to the mean of the others, the median."""
    seeds = range(len(rival.seeds))
    if len(seeds) == 1:
        return float(ratios(rival, rival, curve)[0])
    return float(np.median([ratios(_part(rival, [i]), _part(rival, set(seeds) - {i}), curve)[0] for i in seeds]))


def _part(arm: Arm, rows: Collection[int]) -> Arm:
    """An arm of some of its seeds, by their positions."""
    chosen = sorted(rows)
    curves = {name: values[chosen] for name, values in arm.curves.items()}
    trials = None if arm.trials is None else arm.trials[chosen]
    return replace(arm, seeds=tuple(arm.seeds[i] for i in chosen), curves=curves, trials=trials)


def null(arms: dict[str, Arm], judged: dict[str, str], rng: np.random.Generator) -> dict[str, Any] | None:
    """What the ratio of an equal rival would be: an arm against itself, its seeds in random halves.

    An equal is reached late or never where curves rise to the end, and early where they stand still: 1 is no natural level.

    Args:
        arms: landscape -> runs of one arm.
        judged: landscape -> curve that counts.
        rng: draws the halves.
    """
    if min(len(arm.seeds) for arm in arms.values()) < 2 * FEWEST:
        return None
    drawn = []
    for _ in range(HALVES):
        logs = []
        for name, arm in arms.items():
            order = rng.permutation(len(arm.seeds)).tolist()
            halves = _part(arm, order[::2]), _part(arm, order[1::2])
            logs.append(np.log(np.median(ratios(*halves, judged[name]))))
        drawn.append(float(np.exp(np.mean(logs))))
    return {
        "mean": float(np.exp(np.mean(np.log(drawn)))),
        "interval": [float(x) for x in np.quantile(drawn, [0.025, 0.975])],
    }


def interval(values: Array, statistic: Any, rng: np.random.Generator) -> tuple[float, float]:
    """Bootstrap interval of 95 % over seeds."""
    drawn = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def above(differences: Array) -> float | None:
    """P of paired differences if they were symmetric about 0: Wilcoxon's test, one-sided; None of fewer than `FEWEST`."""
    if len(differences) < FEWEST:
        return None
    return float(wilcoxon(differences, alternative="greater").pvalue) if np.any(differences) else 1.0


def compare(mine: Arm, rival: Arm, curve: str, rng: np.random.Generator) -> dict[str, Any]:
    """One row of the table: the ratio with its interval, and paired tests at 25, 50 and 100 %."""
    each = ratios(mine, rival, curve)
    drawn = [np.median(ratios(mine, rival, curve, rng)) for _ in range(RESAMPLES)]
    row: dict[str, Any] = {
        "ratio": float(np.median(each)), "ratio_interval": [float(x) for x in np.quantile(drawn, [0.025, 0.975])],
        "own_time": own_time(rival, curve),
        "never": float((each == NEVER).mean()), "seeds": [len(mine.seeds), len(rival.seeds)],
    }  # fmt: skip
    for share in SHARES:
        differences = np.subtract(*mine.paired(rival, curve, share))
        row[f"at_{share:.0%}"] = {
            "mean": float(differences.mean()) if len(differences) else None,  # no seed in common
            "interval": interval(differences, np.mean, rng) if len(differences) else None,
            "p_above": above(differences),
        }
    return row


def summarise(suite: Suite, arms: dict[str, dict[str, Arm]], judged: dict[str, str]) -> dict[str, Any]:
    """Everything that the tables say, as JSON."""
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {}
    for landscape, present in arms.items():
        curve = judged[landscape]
        levels = {}
        game = next(each for each in suite.landscapes if each.name == landscape).make()
        elite, known = elite_level(game), exact(game)
        for name, arm in present.items():
            marks = {f"{share:.0%}": max(0, round(share * len(arm.spent)) - 1) for share in SHARES}
            proposed = arm.spent[-1] if arm.trials is None else arm.trials
            levels[name] = {
                "seeds": len(arm.seeds),
                **{
                    f"{c}_at_{m}": round(float(arm.curves[c][:, at].mean()), 5)
                    for c in ("top", "best", *FOUND)
                    if c in arm.curves
                    for m, at in marks.items()
                },
                "interval": interval(arm.final(curve), np.mean, rng),
                "success": None if math.isnan(elite) else arm.success(elite),
                "true_best": round(float(arm.final("true_best").mean()), 5),
                "distinct": round(float((arm.final("distinct") / proposed).mean()), 4),
                **({} if arm.trials is None else {"pipelines": round(float(arm.trials.mean()), 1)}),
                "seconds_per_batch": round(arm.seconds, 4),
            }
        mine = present.get(suite.reference)
        rivals = (
            {}
            if mine is None
            else {n: compare(mine, a, curve, rng) for n, a in present.items() if n != suite.reference}
        )
        result[landscape] = {
            "judged_by": curve,
            "elite_level": None if math.isnan(elite) else round(elite, 6),
            "budget": int(next(iter(present.values())).spent[-1]),
            **({} if known is None else {"optima": known.optima}),
            "levels": levels,
            "rivals": rivals,
        }
    result["all"] = _over_all(suite, arms, judged, rng)
    mine = {name: present[suite.reference] for name, present in arms.items() if suite.reference in present}
    result["null"] = null(mine, judged, rng) if mine else None
    pairs = [_pair(first, second, arms, judged) for first, second in suite.pairs]
    result["pairs"] = [pair for pair in pairs if pair["p_above"]]
    return result


def _pair(first: str, second: str, arms: dict[str, dict[str, Arm]], judged: dict[str, str]) -> dict[str, Any]:
    both = {name: (has[first], has[second]) for name, has in arms.items() if first in has and second in has}
    return {"above": first, "below": second, "p_above": _p_above(both, judged)}


def _p_above(pairs: dict[str, tuple[Arm, Arm]], judged: dict[str, str]) -> dict[str, float | None]:
    """P that the first arm's levels are above the second's, over all pairs of a landscape and a seed, at each of `SHARES`.

    Empty if no landscape has both arms.
    """

    def differences(share: float) -> Array:
        return np.concatenate([np.subtract(*a.paired(b, judged[name], share)) for name, (a, b) in pairs.items()])

    return {f"{share:.0%}": above(differences(share)) for share in SHARES} if pairs else {}


def _enough(arms: list[Arm]) -> list[Arm]:
    """Those of at least `FEWEST` seeds, if there are any: the best of many arms would be a lucky run of one."""
    return [arm for arm in arms if len(arm.seeds) >= FEWEST] or arms


def _over_all(
    suite: Suite, arms: dict[str, dict[str, Arm]], judged: dict[str, str], rng: np.random.Generator
) -> dict[str, Any]:
    """Geometric mean and worst of the ratios over landscapes, with the bootstrap over both arms' seeds within each."""
    found: dict[str, Any] = {}
    pairs = {
        name: {landscape: present[name] for landscape, present in arms.items() if name in present}
        for name in suite.arms()
        if name != suite.reference
    }
    best = {"each landscape's best rival": suite.controls}
    if suite.siblings:
        best["each landscape's best rival but siblings"] = (*suite.controls, *suite.siblings)
    for name, others in best.items():
        pairs[name] = {
            landscape: max(rivals, key=lambda arm: arm.final(judged[landscape]).mean())
            for landscape, present in arms.items()
            if (rivals := _enough([arm for n, arm in present.items() if n not in (suite.reference, *others)]))
        }
    for name, rivals in pairs.items():
        both = {
            landscape: (arms[landscape][suite.reference], rival)
            for landscape, rival in rivals.items()
            if suite.reference in arms[landscape]
        }
        if not both:
            continue

        def mean(rng: np.random.Generator | None, both: dict[str, tuple[Arm, Arm]] = both) -> float:
            logs = [np.log(np.median(ratios(*pair, judged[name], rng))) for name, pair in both.items()]
            return float(np.exp(np.mean(logs)))

        medians = {key: float(np.median(ratios(*pair, judged[key]))) for key, pair in both.items()}
        worst = max(medians, key=lambda key: medians[key])
        own = np.exp(np.mean([np.log(own_time(rival, judged[key])) for key, (_, rival) in both.items()]))
        found[name] = {
            "landscapes": len(both),
            "seeds": min(len(arm.seeds) for pair in both.values() for arm in pair),
            "geometric_mean": mean(None),
            "interval": [float(x) for x in np.quantile([mean(rng) for _ in range(RESAMPLES)], [0.025, 0.975])],
            "of_own_time": mean(None) / float(own),
            "worst": [worst, medians[worst]],
            "p_above": _p_above(both, judged),
            "p_below": _p_above({name: (rival, mine) for name, (mine, rival) in both.items()}, judged),
        }
    return found
