"""Telling a learner of a batch, so that one that blows up stands where it stood before.

A reward is any finite number, and a network that has once computed an infinity proposes nothing sensible again. Then what it
was told is dropped: the trials stay in the store, the learner never hears of them, and goes on. So does a resumed search.
"""

import copy
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ma2ml_agents.learner import Learner, Saves
from ma2ml_env.trial import Trial

_log = logging.getLogger(__name__)
ROLLED_BACK = "rolled_back"
"""metric that is 1.0 if the batch was dropped, and not there otherwise"""


def tell(learner: Learner, trials: Sequence[Trial]) -> dict[str, float]:
    """`learner.tell`, undone if a metric or a number of its state is not finite afterwards; its metrics, all finite.

    The generators go back as well, to where they were after the batch was asked for, so the next batch is another one.
    """
    if not isinstance(learner, Saves):  # somebody's own, in a search that is not stored: there is nothing to go back to
        return learner.tell(trials)
    before = copy.deepcopy(learner.state_dict())
    try:
        metrics = learner.tell(trials)
        wrong = ", ".join(sorted(name for name, value in metrics.items() if not math.isfinite(value)))
    except (ArithmeticError, ValueError, RuntimeError) as error:
        # Torch's distributions refuse parameters that are not finite with a ValueError; a matrix that has no factor is a
        # RuntimeError of a class of its own, known by its name, as torch is not loaded for learners that do without.
        blown = isinstance(error, ArithmeticError) or "LinAlgError" in type(error).__name__
        if not blown and (isinstance(error, RuntimeError) or _finite(learner.state_dict())):
            raise
        metrics, wrong = {}, f"{type(error).__name__}: {error}"
    if not wrong and (_finite(learner.state_dict()) or not _finite(before)):
        return metrics
    learner.load_state_dict(before)
    _log.warning(
        "the learner blew up (%s) on rewards from %g to %g of trials %d to %d; it goes on as if it had not been told of them",
        wrong or "its state is not finite",
        min(trial.reward for trial in trials),
        max(trial.reward for trial in trials),
        trials[0].number,
        trials[-1].number,
    )
    return {name: value for name, value in metrics.items() if math.isfinite(value)} | {ROLLED_BACK: 1.0}


def _finite(state: Any) -> bool:
    if isinstance(state, Mapping):
        return all(map(_finite, state.values()))
    if isinstance(state, (list, tuple)):
        return all(map(_finite, state))
    torch = sys.modules.get("torch")  # not loaded for learners that do without
    if torch is not None and isinstance(state, torch.Tensor):
        return bool(state.isfinite().all())
    if isinstance(state, (float, np.floating, np.ndarray)):
        return bool(np.isfinite(state).all())
    return True
