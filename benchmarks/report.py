"""Tables and pictures of a suite's runs: `python benchmarks/report.py smoke`.

Writes `results/SUITE.json` (what was measured), `results/SUITE.md` (the tables), `results/SUITE.runs.gz` (the runs) and a
picture of each landscape, the mean over seeds with bootstrap bands of 95 %, after the paper's Figs. 4 and 5. `--out DIR` is
where `run.py` left the runs.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from exact import FOUND
from regrets import ps, regret_table, regrets
from stopping import stoppable
from suite import Suite, keep, load
from summary import FEWEST, NEVER, SHARES, WITHIN, Arm, read, summarise

HERE = Path(__file__).parent
ALPHA = 0.025
"""of each of the two looks, at half of the budget and at its end"""
JUDGED = {
    "best": "best so far",
    "top": "mean of the top k",
    "found": "mean of all trainings of the pipeline that is the best by what was told",
}
"""curve that counts -> in words"""


def markdown(suite: Suite, summary: dict[str, Any], header: dict[str, Any]) -> str:
    """The tables."""
    missing = header["missing"] + header["stale"]
    commits = ", ".join(c[:10] + "+" * c.endswith("+") for c in header["commit"])
    version, torch, machine = (", ".join(header[key]) for key in ("version", "torch", "machine"))
    unit = "pipelines" if suite.axis == "pipelines" else "simulated seconds"
    lines = [
        f"# {suite.title}",
        "",
        f"`python benchmarks/run.py {suite.name}` and `python benchmarks/report.py {suite.name}`: {header['runs']} searches, "
        f"{header['cpu_hours']} core-hours; {missing} searches of the suite not run.",
        f"Version {version}, commit {commits}, torch {torch}, {machine}.",
        "",
        f"Levels are means over seeds. The ratio is the number of {unit} after which "
        f"`{suite.reference}` reaches the rival's mean final level, over the rival's budget: the median over seeds, {NEVER} if "
        "never, with a bootstrap interval of 95 %. A rival that stands still long before its budget ends is reached early, so "
        "the second column divides by the rival's ratio to itself (each of its seeds to the mean of the others): an equal has "
        "1. `p` is of Wilcoxon's test, one-sided, of the levels "
        "at 25, 50 and 100 % of the budget, paired by seed, and by landscape and seed where there are several; fewer than "
        f"{FEWEST} pairs have none. Won: the interval is below 1, and p is below {ALPHA} at 50 or 100 %; lost: the same of the "
        f"rival at 100 %, or a ratio of 1 and more without a test; level: neither. On fewer than {FEWEST} seeds nothing is "
        "called won, and rivals of fewer are no landscape's best.",
        *_null(suite.reference, summary["null"]),
        "",
        *_overall_table(suite.reference, summary["all"], summary["pairs"]),
    ]
    for landscape in suite.landscapes:
        if landscape.name in summary:
            part = summary[landscape.name]
            lines += _landscape_table(landscape.name, part, unit)
            if "regrets" in part:
                lines += regret_table(suite.reference, part)
            lines += ["", f"![{landscape.name}]({suite.name}-{landscape.name}.svg)", ""]
    return "\n".join(lines)


def _null(reference: str, row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return []
    low, high = row["interval"]
    told = f"`{reference}` against itself, its seeds in random halves"
    return ["", f"An equal rival would have a ratio of {row['mean']:.2f} ({low:.2f} to {high:.2f}): {told}."]


def _verdict(row: dict[str, Any]) -> str:
    """Won, level or lost, over all landscapes; open while there are too few seeds to tell."""
    p = row["p_above"]
    half, end = p.get("50%"), p.get("100%")
    if end is None or row["seeds"] < FEWEST:
        return "**lost**" if row["geometric_mean"] >= 1 else "open"
    if row["p_below"]["100%"] < ALPHA:
        return "**lost**"
    return "won" if row["interval"][1] < 1 and min(end, 1.0 if half is None else half) < ALPHA else "level"


def _overall_table(reference: str, overall: dict[str, Any], pairs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## All landscapes",
        "",
        f"| rival | ratio, geometric mean (95 %) | of its own time | worst landscape | | p that `{reference}` is above |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in overall.items():
        low, high = row["interval"]
        worst, ratio = row["worst"]
        shown = name if " " in name else f"`{name}`"
        lines.append(
            f"| {shown} | {row['geometric_mean']:.2f} ({low:.2f} to {high:.2f}) | {row['of_own_time']:.2f} | "
            f"{worst} {ratio:.2f} | {_verdict(row)} | "
            f"{ps(row['p_above'].values())} |"
        )
    for pair in pairs:
        if told := ps(pair["p_above"].values()):
            lines += ["", f"`{pair['above']}` above `{pair['below']}`: p = {told}."]
    return [*lines, ""] if overall else []


def _landscape_table(name: str, part: dict[str, Any], unit: str = "pipelines") -> list[str]:
    key = part["judged_by"]
    curve = JUDGED[key]
    level = part["elite_level"]
    known = level is not None
    within = f"{WITHIN}" if unit == "pipelines" else "the budget"
    top = (
        f" *Top*: runs that find one of the best 0.1 %, without noise {level:.4f} or more, within {within}."
        if known
        else ""
    )
    lines = [
        f"## {name}",
        "",
        f"Judged by the {curve}, {part['budget']} {unit}.{top}",
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
        p = ps(rival[f"at_{share:.0%}"]["p_above"] for share in SHARES)
        lines.append(row + f"{rival['ratio']:.2f} ({low:.2f} to {high:.2f}){mark} | {rival['never']:.0%} | {p} |")
    return lines


def draw(
    suite: Suite, landscape: str, arms: dict[str, Arm], judged_by: str, folder: Path, optima: dict[str, float]
) -> None:
    """Mean of the top k, best so far and, where all runs kept it, the mean of each batch, against what was spent.

    Where optima are known, regrets instead: of what is named at each time, of the same by test images, and of the top k.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": suite.name, "font.size": 9}
    from matplotlib import pyplot

    panels = {"top": "mean of the top k", "best": "best so far", "batch": "mean of a batch"}
    if optima:
        panels = {curve: label for curve, label in FOUND.items() if curve != "found_top_test"}
    panels = {curve: label for curve, label in panels.items() if all(curve in arm.curves for arm in arms.values())}
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 3.6), sharex=True)
    rng = np.random.default_rng(0)
    for place, (axis, (curve, label)) in enumerate(zip(axes, panels.items(), strict=True)):
        lows = []
        for number, (name, arm) in enumerate(arms.items()):
            begun = arm.begun
            values = optima.get(curve, 0.0) + (-1 if optima else 1) * arm.curves[curve][:, begun:]
            spent = arm.spent[begun:]
            draws = np.array([values[rng.integers(len(values), size=len(values))].mean(axis=0) for _ in range(300)])
            low, high = np.quantile(draws, [0.025, 0.975], axis=0)
            style = {"color": f"C{number % 10}", "linestyle": "-" if number < 10 else "--"}
            if curve == "batch":  # as the paper shows it
                style |= {"linestyle": "", "marker": "."}
            axis.plot(
                spent, values.mean(axis=0), label=name, linewidth=2.2 if name == suite.reference else 1.2, **style
            )
            axis.fill_between(spent, low, high, alpha=0.15, color=style["color"], linewidth=0)
            lows.append(values.mean(axis=0)[min(3, len(spent) - 1)])
        axis.set(
            xlabel="pipelines" if suite.axis == "pipelines" else "simulated seconds of training",
            ylabel=("regret" if optima else "reward") + f", {label}" + (" (counts)" if curve == judged_by else ""),
            ylim=(0, max(lows)) if optima else (min(lows), None),
        )
        axis.grid(alpha=0.3)
        if place == 1:
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
        summary = summarise(suite, arms, judged)  # makes the landscapes, of which one may not be here
        regrets(suite, arms, summary)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / f"{suite.name}.json").write_text(json.dumps({**header, "landscapes": summary}, indent=1) + "\n")
    keep(args.results / f"{suite.name}.runs.gz", raw)
    text = markdown(suite, summary, header)
    (args.results / f"{suite.name}.md").write_text(text + "\n")
    if find_spec("matplotlib") is None:
        print("no pictures: matplotlib comes with the extra `bench`", file=sys.stderr)
    elif not args.no_pictures:
        for landscape, present in arms.items():
            optima = summary[landscape].get("optima", {})
            draw(suite, landscape, present, judged[landscape], args.results, optima)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(stoppable(main))
