"""What a measured game is like: `python benchmarks/datasheet.py trio-digits-v0 [--data FILE] [--out FILE]`.

Prints the tables of a game's datasheet as Markdown and keeps the figures as JSON. All are of the table alone, so they are exact
but for the noise of its trainings:

- counts, hours, versions, failures, pipelines below .5;
- shares of variance under uniform policies over the codes, of each agent alone and with others;
- noise: the deviation between trainings of one pipeline over the one between pipelines, and near several accuracies;
- Kendall's tau between two trainings of the same pipelines, of all, of the upper half, of the top 5 %. With a third, that
  one chooses the part, else the mean of the two does, which makes tau too low. Of more than three, the first three count;
- tau between an epoch of one training and the end of another;
- the optimum: pipelines that are not told from it, those that no single agent can better (equilibria), what separate search and
  main effects lose, Shapley values.

`--beside ID [--beside-data FILE]` adds the rank correlation with another game, of the pipelines that both have.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from provenance import header
from scipy.stats import kendalltau, spearmanr

import ma2ml_env
from ma2ml_env.tables import analysis
from ma2ml_env.tables.measured import Measured
from ma2ml_env.views.joint import JointSpace

Floats = NDArray[np.float64]
NEAR = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93)
"""accuracies at which the noise is told"""
PARTS = {"all": 1.0, "upper half": 0.5, "top 5 %": 0.05}
BASE_AUG = "none"
"""the strength of no policy"""


class Sheet:
    """The figures of one table; codes of one pipeline count each where policies draw them, else once."""

    def __init__(self, id: str, data: str | None) -> None:
        self.game = ma2ml_env.make_game(id, "table", data=data)
        source: Any = self.game.evaluator
        if not isinstance(source.source, Measured):
            raise SystemExit(f"{id} is no measured game")
        self.source = source = source.source
        self.agents = list(source.spaces)
        self.own = np.unique(source.same)
        """numbers of the different pipelines"""
        self.repeats = source.values[self.own]
        self.means = np.nanmean(self.repeats, axis=1)
        self.joint = analysis.as_joint(np.nanmean(source.values, axis=1), source.spaces)

    def figures(self) -> dict[str, Any]:
        told: dict[str, Any] = {"counts": self.counts(), "variance": self.variance(), "optimum": self.optimum()}
        if self.repeats.shape[1] > 1:
            told |= {"noise": self.noise(), "retest": self.retest(), "curve": self.curve()}
        return told

    def counts(self) -> dict[str, Any]:
        of_one = (~np.isnan(self.repeats)).sum(1)
        made = [each["made"] for each in self.source.about["sources"]]
        return {
            "codes": len(self.source.same),
            "pipelines": len(self.own),
            "trainings": int(of_one.sum()),
            "pipelines_by_trainings": {str(n): int((of_one == n).sum()) for n in np.unique(of_one)},
            "failed_trainings": int((self.source.errors[self.own] > 0).sum()),
            "below_half": float((self.means < 0.5).mean()),
            "hours": float(np.nansum(self.source.seconds[self.own])) / 3600,
            "median_macs": float(np.median(self.source.macs)),
            "made": {name: sorted({str(each[name]) for each in made}) for name in made[0]},
        }

    def variance(self) -> dict[str, Any]:
        found, total = analysis.shares(self.joint), analysis.total_shares(self.joint)
        return {
            "alone": {agent: found[number,] for number, agent in enumerate(self.agents)},
            "total": dict(zip(self.agents, total, strict=True)),
            "across_agents": sum(share for agents, share in found.items() if len(agents) > 1),
            "no_policy_is_best": self.no_policy(),
        }

    def no_policy(self) -> float:
        """In which share of the other agents' joint actions nothing of AUG is better than no policy."""
        aug = self.agents.index("aug")
        space = self.source.spaces["aug"]
        none = [space.decode(code)["strength"] == BASE_AUG for code in np.ndindex(*space.nvec)]
        by_action = np.moveaxis(self.joint, aug, 0).reshape(len(none), -1)
        return float((by_action[none].max(0) >= by_action.max(0)).mean())

    def noise(self) -> dict[str, Any]:
        twice = ~np.isnan(self.repeats[:, 1])
        variance = float(np.mean(np.nanvar(self.repeats[twice], axis=1, ddof=1)))
        near = np.sqrt(analysis.noise_variance(self.repeats, np.array(NEAR)))
        return {
            "over_deviation": float(np.sqrt(variance) / self.means.std()),
            "near": {f"{at:g}": float(each) for at, each in zip(NEAR, near, strict=True)},
        }

    def retest(self) -> dict[str, float]:
        """Of all ordered choices of two trainings, and of a third that picks the part, the mean."""
        first = self.repeats[:, :3]
        first = first[~np.isnan(first).any(1)]
        told = {}
        for name, share in PARTS.items():
            taus = []
            for one, other, *third in permutations(range(first.shape[1])):
                by = first[:, third[0]] if third else first.mean(1)
                part = np.argsort(-by, kind="stable")[: max(2, round(share * len(by)))]
                taus.append(tau(first[part, one], first[part, other]))
            told[name] = float(np.mean(taus))
        return told

    def curve(self) -> dict[str, float]:
        """Epoch -> tau of its accuracies with another training's at the end."""
        curves = self.source.curves[self.own][:, :3]
        curves = curves[~np.isnan(curves).any((1, 2))]
        pairs = list(permutations(range(curves.shape[1]), 2))
        return {
            str(epoch): float(np.mean([tau(curves[:, one, place], curves[:, other, -1]) for one, other in pairs]))
            for place, epoch in enumerate(self.source.epochs)
        }

    def optimum(self) -> dict[str, Any]:
        best = int(self.means.argmax())
        joint = np.unravel_index(int(self.joint.argmax()), self.joint.shape)
        uniform = [np.full(size, 1 / size) for size in self.joint.shape]
        codes, _ = self.source.optimum()
        base = self.base()
        told: dict[str, Any] = {
            "values": {agent: space.decode(codes[agent]) for agent, space in self.source.spaces.items()},
            "accuracy": float(self.means[best]),
            "mean_of_all": float(self.joint.mean()),
            "equilibria": len(np.unique(self.source.same[analysis.equilibria(self.joint).ravel()])),
            "main_effects_lose": analysis.by_main_effects(self.joint)[1],
            "separate_search_lose": analysis.separate(self.joint, base)[1],
            "shapley": dict(
                zip(self.agents, analysis.shapley(self.joint, [int(a) for a in joint], uniform), strict=True)
            ),
        }
        if self.source.mean_tests is not None:
            tests = self.source.mean_tests[self.own]
            told["its_test_accuracy"] = float(tests[best])
            told["best_test_accuracy"] = float(tests.max())
        if self.repeats.shape[1] > 1:
            told["not_told_apart"] = int(analysis.not_told_apart(self.repeats).sum())
        return told

    def by_values(self) -> dict[str, float]:
        """What is decided, by the first code of each pipeline -> its mean."""
        space = JointSpace(self.source.spaces)
        codes = np.stack(np.unravel_index(self.own, space.nvec), axis=1)
        return {repr(space.values(code)): float(mean) for code, mean in zip(codes, self.means, strict=True)}

    def base(self) -> list[int]:
        """The agents' actions that come closest to the game's base recipe."""
        modules = self.game.modules.values()
        codes = [module.space.encode(module.base_values(self.game.base)) for module in modules]
        return [int(np.ravel_multi_index(c, m.space.nvec)) for c, m in zip(codes, modules, strict=True)]


def tau(one: Floats, other: Floats) -> float:
    return float(kendalltau(one, other).statistic)


def beside(one: Sheet, other: Sheet) -> dict[str, float]:
    """Rank correlations of the pipelines that both games have, and their number."""
    first, second = one.by_values(), other.by_values()
    common = [values for values in first if values in second]
    if len(common) < 2:
        raise SystemExit("the two games have no pipelines in common")
    means = [np.array([of[values] for values in common]) for of in (first, second)]
    return {"kendall": tau(*means), "spearman": float(spearmanr(*means).statistic), "pipelines": len(common)}


def rows(told: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures in words, as rows of a table of two columns."""
    counts, variance, best = told["counts"], told["variance"], told["optimum"]
    several = ", ".join(f"{n:,} pipelines x {times}" for times, n in counts["pipelines_by_trainings"].items())
    values = ", ".join(f"{name} {value}" for own in best["values"].values() for name, value in own.items())
    found = [
        ("pipelines; codes", f"{counts['pipelines']:,}; {counts['codes']:,}"),
        ("trainings", f"{counts['trainings']:,}: {several}"),
        ("hours of one core, with other work beside it", f"{counts['hours']:.1f}"),
        ("failed trainings; pipelines below .5", f"{counts['failed_trainings']}; {short(counts['below_half'])}"),
        ("median of the MACs", f"{counts['median_macs']:,.0f}"),
        ("made with", "; ".join(f"{name} {', '.join(known)}" for name, known in counts["made"].items())),
        ("share of the variance that an agent has alone", by_name(variance["alone"])),
        ("and in all", by_name(variance["total"])),
        ("share that lies across agents", short(variance["across_agents"])),
        ("(NAS, HPO) choices for which no augmentation is the best", short(variance["no_policy_is_best"])),
    ]
    if "noise" in told:
        found += [
            ("deviation between trainings over the one between pipelines", short(told["noise"]["over_deviation"])),
            ("deviation between trainings, by accuracy", by_name(told["noise"]["near"], 4)),
            ("Kendall's tau between two trainings", by_name(told["retest"])),
            ("the same between an epoch and another training's end", by_name(told["curve"])),
        ]
    found += [
        ("best pipeline", values),
        ("its accuracy; mean of all codes", f"{short(best['accuracy'], 4)}; {short(best['mean_of_all'], 4)}"),
        ("what each agent adds to the mean (Shapley value)", by_name(best["shapley"], 3)),
        ("equilibria", str(best["equilibria"])),
        ("lost by choosing by main effects; by separate search", "; ".join(short(best[f"{name}_lose"], 4)
         for name in ("main_effects", "separate_search"))),
    ]  # fmt: skip
    if "not_told_apart" in best:
        found.append(("pipelines that are not told from the best", f"{best['not_told_apart']}"))
    if "its_test_accuracy" in best:
        tests = f"{short(best['its_test_accuracy'], 4)}; {short(best['best_test_accuracy'], 4)}"
        found.append(("test accuracy of the best; the best test accuracy", tests))
    for other, tau_of in told.get("beside", {}).items():
        taus = {name: tau_of[name] for name in ("kendall", "spearman")}
        found.append((f"rank correlation with {other}, {tau_of['pipelines']:,} pipelines", by_name(taus)))
    return found


def short(number: float, digits: int = 2) -> str:
    """Without the zero before the point."""
    text = f"{number:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def by_name(numbers: dict[str, float], digits: int = 2) -> str:
    return ", ".join(f"{name} {short(number, digits)}" for name, number in numbers.items())


def as_markdown(told: dict[str, Any]) -> str:
    return "\n".join(["| what | figure |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows(told))])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("id")
    parser.add_argument("--data", default=None, help="a file of trainings; without it, what comes with the package")
    parser.add_argument("--beside", default=None, help="another game of the same pipelines")
    parser.add_argument("--beside-data", default=None, help="its file of trainings")
    parser.add_argument("--out", type=Path, default=None, help="keeps the figures as JSON")
    parser.add_argument("--page", type=Path, default=None, help="docs/trio.md, whose table of figures is written anew")
    args = parser.parse_args(argv)
    sheet = Sheet(args.id, args.data)
    told = sheet.figures()
    if args.beside:
        told["beside"] = {args.beside: beside(sheet, Sheet(args.beside, args.beside_data))}
    print(as_markdown(told))
    if args.out:
        args.out.write_text(json.dumps({**header(), "game": args.id, **told}, indent=2) + "\n", encoding="utf-8")
    if args.page:
        old = re.compile(r"^\| what \| figure \|.*?\n(?=\n)", re.MULTILINE | re.DOTALL)
        page = old.sub(lambda _: as_markdown(told) + "\n", args.page.read_text("utf-8"))
        args.page.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
