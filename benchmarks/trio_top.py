"""The best pipelines of a measured game: `python benchmarks/trio_top.py trio-digits-v0 --data FILE.npz --out top.json`.

What matters most about a game is told by its best pipelines, so they are trained more often. The list is for
`ma2ml collect` (`of = "file"`). A pipeline is named by the first of its codes; the best by their mean comes first.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ma2ml_env
from ma2ml_env.io.files import write_atomic
from ma2ml_env.views.joint import JointSpace


def best(id: str, data: str | None, number: int) -> list[dict[str, Any]]:
    """Values of the `number` best different pipelines: agent -> decision -> value."""
    game: Any = ma2ml_env.make_game(id, "table", data=data)
    source = game.evaluator.source
    space = JointSpace(source.spaces)
    own = np.unique(source.same)
    order = own[np.argsort(-np.nanmean(source.values[own], axis=1), kind="stable")][:number]
    return [space.values(code) for code in np.stack(np.unravel_index(order, space.nvec), axis=1)]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("id", help="of a measured game")
    parser.add_argument("--data", help="its table; without, the one that comes with the project")
    parser.add_argument("--number", type=int, default=100, help="of pipelines")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    told = parser.parse_args(argv)
    rows = best(told.id, told.data, told.number)
    write_atomic(told.out, ("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
