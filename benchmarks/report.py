"""Tables and pictures of a suite's runs: `python benchmarks/report.py smoke`.

Writes `results/SUITE.json` (what was measured), `results/SUITE.md` (the tables), `results/SUITE.runs.gz` (the runs) and a
picture of each landscape, the mean over seeds with bootstrap bands of 95 %, after the paper's Figs. 4 and 5. `--out DIR` is
where `run.py` left the runs.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from suite import Run, Suite, elite_level, keep, load

HERE = Path(__file__).parent
NEVER = 2.0
"""ratio of a run that does not reach the rival's level"""
RESAMPLES = 2000
WITHIN = 504
"""pipelines within which a run is to find one of the best 0.1 % of its landscape"""
FEWEST = 5
"""seeds without which nothing is called won: an interval of fewer says little"""
SHARES = (0.25, 0.5, 1.0)
"""of the budget at which levels are compared"""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """The runs of an arm on a landscape; rows of the arrays are seeds, in order."""

    name: str
    seeds: tuple[int, ...]
    trials: NDArray[np.int64]
    """trials so far after each batch, (batches,)"""
    curves: dict[str, Array]
    """(seeds, batches) each"""
    seconds: float
    """of the learner per batch, median over runs of their medians"""

    def final(self, curve: str) -> Array:
        """Level at the full budget, (seeds,)."""
        return self.curves[curve][:, -1]

    def success(self, level: float) -> float:
        """Share of the seeds whose best pipeline, without noise, reaches a level within `WITHIN` pipelines."""
        found = self.curves["true_best"][:, self.trials <= WITHIN].max(axis=1, initial=0.0)
        return float((found >= level - 1e-6).mean())  # curves are rounded to six digits

    def paired(self, other: "Arm", curve: str, share: float) -> tuple[Array, Array]:
        """Levels of both at a share of the budget, on the seeds that both have."""
        both = sorted(set(self.seeds) & set(other.seeds))
        at = max(0, round(share * len(self.trials)) - 1)
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
    header: dict[str, Any] = {"commits": set(), "cpu_hours": 0.0, "runs": 0, "missing": 0, "stale": 0}
    for run in suite.runs:
        file = run.file(out)
        stored = json.loads(file.read_text()) if file.is_file() else None
        if stored is None or stored["settings"] != json.loads(json.dumps(run.settings())):
            header["missing" if stored is None else "stale"] += 1
            continue
        raw[str(run.file(Path()))] = stored
        found.setdefault(run.landscape.name, {}).setdefault(run.arm, []).append((run, stored))
        judged[run.landscape.name] = stored["judged_by"]
        header["commits"].add(stored["commit"])
        header["cpu_hours"] += stored["cpu_seconds"] / 3600
        header["runs"] += 1
        header |= {key: stored[key] for key in ("version", "python", "numpy", "torch", "machine")}
    if not header["runs"]:
        raise FileNotFoundError(f"no runs of {suite.name} in {out}; first: python benchmarks/run.py {suite.name}")
    header |= {"commits": sorted(header["commits"]), "cpu_hours": round(header["cpu_hours"], 2)}
    made = {name: {arm: _arm(arm, runs) for arm, runs in arms.items()} for name, arms in found.items()}
    return made, judged, header, raw


def _arm(name: str, runs: Sequence[tuple[Run, dict[str, Any]]]) -> Arm:
    first = runs[0][0]
    batches = len(runs[0][1]["curves"]["top"])
    trials = np.minimum(np.arange(1, batches + 1) * first.batch, first.budget)
    curves = {curve: np.array([stored["curves"][curve] for _, stored in runs]) for curve in runs[0][1]["curves"]}
    seconds = float(np.median([stored["learner_seconds_per_batch"] for _, stored in runs]))
    return Arm(name, tuple(run.seed for run, _ in runs), trials, curves, seconds)


def ratios(mine: Arm, rival: Arm, curve: str) -> Array:
    """Pipelines until each of my seeds passes the rival's mean final level, over the rival's budget; `NEVER` if it does not."""
    reached = mine.curves[curve] >= rival.final(curve).mean()
    first = np.where(reached.any(axis=1), mine.trials[reached.argmax(axis=1)] / rival.trials[-1], NEVER)
    return np.asarray(first, dtype=np.float64)


def interval(values: Array, statistic: Any, rng: np.random.Generator) -> tuple[float, float]:
    """Bootstrap interval of 95 % over seeds."""
    drawn = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def above(differences: Array) -> float:
    """P of paired differences if they were symmetric about 0: Wilcoxon's test, one-sided."""
    enough = len(differences) > 1 and np.any(differences)
    return float(wilcoxon(differences, alternative="greater").pvalue) if enough else 1.0


def compare(mine: Arm, rival: Arm, curve: str, rng: np.random.Generator) -> dict[str, Any]:
    """One row of the table: the ratio with its interval, and paired tests at 25, 50 and 100 %."""
    each = ratios(mine, rival, curve)
    low, high = interval(each, np.median, rng)
    row: dict[str, Any] = {
        "ratio": float(np.median(each)), "ratio_interval": [low, high],
        "never": float((each == NEVER).mean()), "seeds": [len(mine.seeds), len(rival.seeds)],
    }  # fmt: skip
    for share in SHARES:
        differences = np.subtract(*mine.paired(rival, curve, share))
        low, high = interval(differences, np.mean, rng)
        row[f"at_{share:.0%}"] = {
            "mean": float(differences.mean()), "interval": [low, high], "p_above": above(differences),
        }  # fmt: skip
    return row


def summarise(suite: Suite, arms: dict[str, dict[str, Arm]], judged: dict[str, str]) -> dict[str, Any]:
    """Everything that the tables say, as JSON."""
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {}
    for landscape, present in arms.items():
        curve = judged[landscape]
        levels = {}
        elite = elite_level(next(each for each in suite.landscapes if each.name == landscape).make())
        for name, arm in present.items():
            marks = {f"{share:.0%}": max(0, round(share * len(arm.trials)) - 1) for share in SHARES}
            levels[name] = {
                "seeds": len(arm.seeds),
                **{
                    f"{c}_at_{m}": round(float(arm.curves[c][:, at].mean()), 5)
                    for c in ("top", "best")
                    for m, at in marks.items()
                },
                "interval": interval(arm.final(curve), np.mean, rng),
                "success": None if math.isnan(elite) else arm.success(elite),
                "true_best": round(float(arm.final("true_best").mean()), 5),
                "distinct": round(float((arm.final("distinct") / arm.trials[-1]).mean()), 4),
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
            "budget": int(next(iter(present.values())).trials[-1]),
            "levels": levels,
            "rivals": rivals,
        }
    result["all"] = _over_all(suite, arms, judged, rng)
    result["pairs"] = [
        {"above": a, "below": b, "p_above": p}
        for a, b in suite.pairs
        if (
            p := _p_above(
                {name: (present[a], present[b]) for name, present in arms.items() if {a, b} <= set(present)}, judged
            )
        )
    ]
    return result


def _p_above(pairs: dict[str, tuple[Arm, Arm]], judged: dict[str, str]) -> dict[str, float]:
    """P that the first arm's levels are above the second's, over all pairs of a landscape and a seed, at each of `SHARES`."""
    return {
        f"{share:.0%}": above(
            np.concatenate([np.subtract(*a.paired(b, judged[name], share)) for name, (a, b) in pairs.items()])
        )
        for share in SHARES
        if pairs
    }


def _over_all(
    suite: Suite, arms: dict[str, dict[str, Arm]], judged: dict[str, str], rng: np.random.Generator
) -> dict[str, Any]:
    """Geometric mean and worst of the ratios over landscapes, with the bootstrap over seeds within each."""
    found: dict[str, Any] = {}
    pairs = {
        name: {landscape: present[name] for landscape, present in arms.items() if name in present}
        for name in suite.arms()
        if name != suite.reference
    }
    pairs["each landscape's best rival"] = {
        landscape: max(rivals, key=lambda arm: arm.final(judged[landscape]).mean())
        for landscape, present in arms.items()
        if (rivals := [a for n, a in present.items() if n not in (suite.reference, *suite.controls)])
    }
    for name, rivals in pairs.items():
        each = {
            landscape: ratios(arms[landscape][suite.reference], rival, judged[landscape])
            for landscape, rival in rivals.items()
            if suite.reference in arms[landscape]
        }
        if not each:
            continue
        drawn = [
            np.exp(np.mean([np.log(np.median(r[rng.integers(len(r), size=len(r))])) for r in each.values()]))
            for _ in range(RESAMPLES)
        ]
        medians = {landscape: float(np.median(r)) for landscape, r in each.items()}
        worst = max(medians, key=lambda key: medians[key])
        found[name] = {
            "landscapes": len(each),
            "seeds": min(len(r) for r in each.values()),
            "geometric_mean": float(np.exp(np.mean(np.log(list(medians.values()))))),
            "interval": [float(x) for x in np.quantile(drawn, [0.025, 0.975])],
            "worst": [worst, medians[worst]],
            "p_above": _p_above({key: (arms[key][suite.reference], rivals[key]) for key in each}, judged),
        }
    return found


def markdown(suite: Suite, summary: dict[str, Any], header: dict[str, Any]) -> str:
    """The tables."""
    missing = header["missing"] + header["stale"]
    commits = ", ".join(c[:10] + "+" * c.endswith("+") for c in header["commits"])
    lines = [
        f"# {suite.title}",
        "",
        f"`python benchmarks/run.py {suite.name}` and `python benchmarks/report.py {suite.name}`: {header['runs']} searches, "
        f"{header['cpu_hours']} core-hours; {missing} searches of the suite not run.",
        f"Version {header['version']}, commit {commits}, torch {header['torch']}, {header['machine']}.",
        "",
        "Levels are means over seeds. The ratio is the number of pipelines after which "
        f"`{suite.reference}` passes the rival's mean final level, over the rival's budget: the median over seeds, {NEVER} if "
        "never, with a bootstrap interval of 95 %. Below 1 it needs fewer. `p` is of Wilcoxon's test, one-sided, of the levels "
        "at 25, 50 and 100 % of the budget, paired by seed, and by landscape and seed where there are several.",
        "",
        *_overall_table(suite.reference, summary["all"], summary["pairs"]),
    ]
    for landscape in suite.landscapes:
        if landscape.name in summary:
            lines += _landscape_table(landscape.name, summary[landscape.name])
            lines += ["", f"![{landscape.name}]({suite.name}-{landscape.name}.svg)", ""]
    return "\n".join(lines)


def _ps(values: Iterable[float]) -> str:
    return ", ".join("< 1e-4" if p < 1e-4 else f"{p:.1g}" if p < 0.1 else f"{p:.2f}" for p in values)


def _overall_table(reference: str, overall: dict[str, Any], pairs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## All landscapes",
        "",
        f"| rival | ratio, geometric mean (95 %) | worst landscape | | p that `{reference}` is above |",
        "|---|---|---|---|---|",
    ]
    for name, row in overall.items():
        low, high = row["interval"]
        verdict = "won" if high < 1 and row["seeds"] >= FEWEST else "**lost**" if row["geometric_mean"] >= 1 else "open"
        worst, ratio = row["worst"]
        shown = name if " " in name else f"`{name}`"
        lines.append(
            f"| {shown} | {row['geometric_mean']:.2f} ({low:.2f} to {high:.2f}) | {worst} {ratio:.2f} | {verdict} | "
            f"{_ps(row['p_above'].values())} |"
        )
    lines += [
        "",
        *(f"`{pair['above']}` above `{pair['below']}`: p = {_ps(pair['p_above'].values())}." for pair in pairs),
    ]
    return [*lines, ""] if overall else []


def _landscape_table(name: str, part: dict[str, Any]) -> list[str]:
    key = part["judged_by"]
    curve = "best so far" if key == "best" else "mean of the top k"
    level = part["elite_level"]
    known = level is not None
    top = (
        f" *Top*: runs that find one of the best 0.1 %, without noise {level:.4f} or more, within {WITHIN}."
        if known
        else ""
    )
    lines = [
        f"## {name}",
        "",
        f"Judged by the {curve}, {part['budget']} pipelines.{top}",
        "",
        "| learner | seeds | 25 % | 50 % | 100 % (95 %) | best | top | distinct | s a batch | ratio (95 %) | never | p |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, level in sorted(part["levels"].items(), key=lambda item: -item[1][f"{key}_at_100%"]):
        low, high = level["interval"]
        found = f"{level['success']:.0%}" if known else "-"
        row = (
            f"| `{arm}` | {level['seeds']} | {level[f'{key}_at_25%']:.4f} | {level[f'{key}_at_50%']:.4f} | "
            f"{level[f'{key}_at_100%']:.4f} ({low:.4f} to {high:.4f}) | {level['best_at_100%']:.4f} | "
            f"{found} | {level['distinct']:.2f} | {level['seconds_per_batch']:.2f} | "
        )
        rival = part["rivals"].get(arm)
        if rival is None:
            lines.append(row + "| | |")
            continue
        low, high = rival["ratio_interval"]
        mark = "" if rival["ratio"] < 1 else " **lost**"
        p = _ps(rival[f"at_{share:.0%}"]["p_above"] for share in SHARES)
        lines.append(row + f"{rival['ratio']:.2f} ({low:.2f} to {high:.2f}){mark} | {rival['never']:.0%} | {p} |")
    return lines


def draw(suite: Suite, landscape: str, arms: dict[str, Arm], judged_by: str, folder: Path) -> None:
    """Mean of the top k, and best so far, against pipelines."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": suite.name, "font.size": 9}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), sharex=True)
    rng = np.random.default_rng(0)
    for place, (axis, curve, label) in enumerate(
        zip(axes, ("top", "best"), ("mean of the top k", "best so far"), strict=True)
    ):
        lows = []
        for number, (name, arm) in enumerate(arms.items()):
            values = arm.curves[curve]
            draws = np.array([values[rng.integers(len(values), size=len(values))].mean(axis=0) for _ in range(300)])
            low, high = np.quantile(draws, [0.025, 0.975], axis=0)
            style = {"color": f"C{number % 10}", "linestyle": "-" if number < 10 else "--"}
            axis.plot(
                arm.trials, values.mean(axis=0), label=name, linewidth=2.2 if name == suite.reference else 1.2, **style
            )
            axis.fill_between(arm.trials, low, high, alpha=0.15, color=style["color"], linewidth=0)
            lows.append(values.mean(axis=0)[min(3, len(arm.trials) - 1)])
        axis.set(
            xlabel="pipelines",
            ylabel=f"reward, {label}" + (" (counts)" if curve == judged_by else ""),
            ylim=(min(lows), None),
        )
        axis.grid(alpha=0.3)
        if place:
            axis.legend(fontsize=7, ncol=2)
    figure.suptitle(landscape)
    figure.tight_layout()
    figure.savefig(folder / f"{suite.name}-{landscape}.svg", metadata={"Date": None})
    pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", help="a name in benchmarks/suites, or a TOML file")
    parser.add_argument("--out", type=Path, default=HERE / "runs", help="folder of the runs (benchmarks/runs)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where to (benchmarks/results)")
    parser.add_argument("--no-pictures", action="store_true", help="tables alone: matplotlib is not needed")
    args = parser.parse_args(argv)
    try:
        suite = load(args.suite)
        arms, judged, header, raw = read(suite, args.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    summary = summarise(suite, arms, judged)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / f"{suite.name}.json").write_text(json.dumps({**header, "landscapes": summary}, indent=1) + "\n")
    keep(args.results / f"{suite.name}.runs.gz", raw)
    text = markdown(suite, summary, header)
    (args.results / f"{suite.name}.md").write_text(text + "\n")
    if find_spec("matplotlib") is None:
        print("no pictures: matplotlib comes with the extra `bench`", file=sys.stderr)
    elif not args.no_pictures:
        for landscape, present in arms.items():
            draw(suite, landscape, present, judged[landscape], args.results)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
