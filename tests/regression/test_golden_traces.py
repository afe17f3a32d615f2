"""What every learner did when its trace was written, it does still.

A change here is a change of behaviour: write the traces anew with `pytest tests/regression --update-traces` and say so in the
changelog. Codes of the first batch are exact. Sums in another order, as another build of torch makes them, move floats in the
last digits, and after some updates possibly a code: later batches are compared by their losses and rewards, rounded.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ma2ml_agents.registry import LEARNERS, make_learner
from ma2ml_env.trial import GameSpec, Outcome, Trial

SPEC = GameSpec({"aug": (3, 4, 2), "nas": (2, 5, 3, 3), "hpo": (4, 4)})
FOLDER = Path(__file__).parent / "traces"
BATCHES, BATCH = 3, 8


def trace(name: str, seed: int = 7) -> dict[str, Any]:
    learner = make_learner(name, SPEC, seed=seed)
    told: dict[str, Any] = {"codes": [], "metrics": []}
    for first in range(0, BATCHES * BATCH, BATCH):
        proposals = learner.ask(BATCH)
        if not told["codes"]:
            told["codes"] = [[list(code) for code in p.codes.values()] for p in proposals]
        trials = []
        for number, p in enumerate(proposals, first):
            row = [c for code in p.codes.values() for c in code]
            reward = round(0.8 * row.count(1) / len(row) + 0.01 * (number % 5), 6)
            trials.append(Trial(number, number, p, Outcome(accuracy=reward), reward))
        told["metrics"].append(learner.tell(trials))
    told["parameters"] = norms(learner.state_dict())
    return told


def norms(state: dict[str, Any]) -> dict[str, float]:
    """Norm of every network's parameters and every vector, by its place in the state: a hash that rounding does not break."""
    found: dict[str, float] = {}
    for key, value in state.items():
        if isinstance(value, dict) and value and all(isinstance(v, torch.Tensor) for v in value.values()):
            found[key] = float(np.sqrt(sum(float(v.double().pow(2).sum()) for v in value.values())))
        elif isinstance(value, dict):
            found |= {f"{key}/{inner}": norm for inner, norm in norms(value).items()}
        elif isinstance(value, torch.Tensor) and value.is_floating_point():
            found[key] = float(value.double().norm())
    return found


def matches(found: dict[str, Any], stored: dict[str, Any]) -> None:
    assert found["codes"] == stored["codes"]
    for now, then in zip(found["metrics"], stored["metrics"], strict=True):
        assert now == pytest.approx(then, rel=5e-3, abs=5e-4)
    assert found["parameters"] == pytest.approx(stored["parameters"], rel=5e-3)


@pytest.mark.parametrize("name", LEARNERS)
def test_trace(name: str, update_traces: bool) -> None:
    path, found = FOLDER / f"{name}.json", trace(name)
    if update_traces:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    matches(found, json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", LEARNERS)
def test_control_another_seed_leaves_another_trace(name: str) -> None:
    stored = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    with pytest.raises(AssertionError):
        matches(trace(name, seed=8), stored)
