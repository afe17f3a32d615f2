"""AEC view: agents act in turn, after PettingZoo's own conversion; the pipeline is trained when the last has acted."""

from typing import Any

from pettingzoo.utils import parallel_to_aec
from pettingzoo.utils.env import AECEnv

from ma2ml_env.env import parallel_env


def aec_env(id: str, evaluator: str | None = None, **options: Any) -> "AECEnv[str, Any, Any]":
    """Make the AEC view of a named game; options are those of `make_game`."""
    return parallel_to_aec(parallel_env(id, evaluator, **options))
