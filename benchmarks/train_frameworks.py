"""Other people's algorithms trained on a game: `python benchmarks/train_frameworks.py sb3-ppo random`.

Each plays so many pipelines; reported is the mean reward of the last 240, exploration included, beside random pipelines, over
seeds. A finished run is a line of `--out` and is not played again; the tables beside it are written anew. Without names all
algorithms that can be imported are played, the others by `make frameworks`. `--data FILE` is a table of the game, where the
package has none.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from exact import exact
from frameworks import ALGORITHMS, Algorithm, algorithm
from provenance import header
from rich.console import Console

from ma2ml_agents.run.tracking import progress_bar
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.io.files import write_atomic

GAME, PIPELINES = "trio-digits-v0", 5000
RESULTS = Path(__file__).parent / "results"
WINDOW, BLOCK = 240, 20
BEYOND = 3.0
"""standard errors above random that count"""


def make(game: str, data: Path | None) -> tuple[Game, str]:
    """The measured game, and the digest of its table.

    Raises:
        ValueError, FileNotFoundError: there is no table, or it is of another game.
    """
    made = make_game(game, "table", **({} if data is None else {"data": str(data)}))
    known = exact(made)
    if known is None:
        raise ValueError(f"{game} is no game with a table of its own trainings")
    return made, known.digest


def play(name: str, game: Game, pipelines: int, seed: int) -> dict[str, Any]:
    """Train once; what a line holds of it."""
    row, began = algorithm(name), time.process_time()
    rewards = [trial.reward for trial in row.train(game, pipelines, seed)]
    last = rewards[-WINDOW:]
    return {
        "algorithm": name, "seed": seed, "pipelines": pipelines, "versions": row.versions, **row.told,
        "cpu_seconds": round(time.process_time() - began, 1),
        "last": round(fmean(last), 6), "deviation": round(pstdev(last), 6), "best": round(max(rewards), 6),
        "means": [round(fmean(rewards[i : i + BLOCK]), 5) for i in range(0, len(rewards), BLOCK)],
    }  # fmt: skip


def level(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Mean of the last pipelines over seeds, and its standard error: over seeds or over pipelines, whichever is larger."""
    ends = [row["last"] for row in rows]
    window = min(WINDOW, rows[0]["pipelines"])
    inside = fmean(row["deviation"] for row in rows) / (window * len(rows)) ** 0.5
    return fmean(ends), max(inside, stdev(ends) / len(ends) ** 0.5 if len(ends) > 1 else 0.0)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row an algorithm, the best first."""
    lines = [
        "| algorithm | library | view | seeds | last 240 | above random by | in standard errors | | s a run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    played = {name: [row for row in rows if row["algorithm"] == name] for name in ALGORITHMS}
    levels = {name: level(own) for name, own in played.items() if own}
    chance, spread = levels.get("random", (float("nan"), 0.0))
    for name, (mean, error) in sorted(levels.items(), key=lambda item: -item[1][0]):
        row, own = ALGORITHMS[name], played[name]
        beyond = (mean - chance) / ((error**2 + spread**2) ** 0.5 or float("inf"))
        told = "" if name == "random" else f"{beyond:.1f} | {'yes' if beyond > BEYOND else '**no**'}"
        which = ", ".join(sorted({version for each in own for version in each["versions"].values()}))
        lines.append(
            f"| `{name}` | {row.library} {which}, {row.title} | {row.view} | {len(own)} | {mean:.4f} ± {error:.4f} | "
            f"{'' if name == 'random' else f'{mean - chance:+.4f}'} | {told or ' | '} | "
            f"{fmean(each['cpu_seconds'] for each in own):.0f} |"
        )
    return "\n".join(lines)


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of docs/frameworks.md: all algorithms, with what was played last of the game and the budget of the docs."""
    told = [row for row in rows if (row["game"], row["pipelines"]) == (GAME, PIPELINES)]
    told = [row for row in told if row["table"] == told[-1]["table"]]
    lines = ["| library | algorithm | view | tested by | last 240 of 5,000 | seeds | standard errors above random |"]
    lines.append("|---" * 7 + "|")
    played = {name: [row for row in told if row["algorithm"] == name] for name in ALGORITHMS}
    chance, spread = level(played["random"]) if played["random"] else (float("nan"), 0.0)
    for name, row in ALGORITHMS.items():
        tested = "`make frameworks`" if row.apart else "`make test-full`"
        cells = "not played yet | | |"
        if own := played[name]:
            mean, error = level(own)
            beyond = (mean - chance) / ((error**2 + spread**2) ** 0.5 or float("inf"))
            above = "" if name == "random" else f"{beyond:.0f}"
            cells = f"{mean:.3f} ± {error:.3f} | {len(own)} | {above} |".replace("0.", ".")
        lines.append(f"| {row.library} | {row.title} | {row.view} | {tested} | {cells}")
    return "\n".join(lines) + "\n"


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """One table for each game, table of trainings and number of pipelines."""
    parts = ["# Algorithms of other libraries on measured games", "", str(__doc__).partition("\n\n")[2].strip()]
    for game, digest, data, pipelines in sorted({(r["game"], r["table"], r["data"], r["pipelines"]) for r in rows}):
        own = [r for r in rows if (r["game"], r["table"], r["pipelines"]) == (game, digest, pipelines)]
        parts += ["", f"## {game}, {pipelines:,} pipelines", "", f"Table {digest} ({data}).", "", table(own)]
    return "\n".join(parts) + "\n"


def read(file: Path) -> list[dict[str, Any]]:
    """Finished runs, without those whose settings are no longer the algorithm's."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    told = {name: json.loads(json.dumps(row.told)) for name, row in ALGORITHMS.items()}
    return [row for row in rows if told[row["algorithm"]].items() <= row.items()]


def importable(row: Algorithm) -> bool:
    try:
        return bool(row.versions) and not row.apart
    except PackageNotFoundError:
        return False


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="ALGORITHM", help=f"of {', '.join(ALGORITHMS)} (all that are installed)"
    )
    parser.add_argument("--game", default=GAME, help="a measured game (trio-digits-v0)")
    parser.add_argument("--data", type=Path, help="its table, as `ma2ml table` writes it (the package's)")
    parser.add_argument("--pipelines", type=int, default=PIPELINES, help="of a run (5000)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--out", type=Path, default=RESULTS / "frameworks.jsonl", help="a line a run; .md beside it")
    parser.add_argument("--page", type=Path, help="docs/frameworks.md, whose table is written anew")
    args = parser.parse_args(argv)
    try:
        names = args.names or [name for name, row in ALGORITHMS.items() if importable(row)]
        for name in names:
            algorithm(name)
        if args.pipelines < 1 or args.seeds < 1:
            raise ValueError(f"--pipelines and --seeds are at least 1, not {args.pipelines} and {args.seeds}")
        game, digest = make(args.game, args.data)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    where = {"game": args.game, "table": digest, "data": "the package's" if args.data is None else args.data.name}

    def done(name: str, seed: int) -> bool:
        wanted = {"algorithm": name, "seed": seed, "pipelines": args.pipelines, "table": digest}
        return any(wanted.items() <= each.items() for each in read(args.out))

    args.out.parent.mkdir(parents=True, exist_ok=True)
    console = Console()
    bar = progress_bar(console)
    task = bar.add_task("frameworks", total=args.seeds * len(names))
    with bar:
        for seed in range(args.seeds):
            for name in names:
                if not done(name, seed):
                    played = play(name, game, args.pipelines, seed)
                    with args.out.open("a") as file:
                        file.write(json.dumps({**header(), **where, **played}) + "\n")
                    console.print(f"{name}, seed {seed}: {played['last']:.4f}, {played['cpu_seconds']:.0f} s")
                bar.update(task, advance=1, refresh=True)
    write_atomic(args.out.with_suffix(".md"), report(read(args.out)).encode())
    if args.page:
        old = re.compile(r"^\| library \| algorithm \|.*?\n(?=\n)", re.MULTILINE | re.DOTALL)
        write_atomic(args.page, old.sub(page(read(args.out)), args.page.read_text()).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
