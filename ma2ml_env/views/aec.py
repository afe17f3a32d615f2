"""AEC view: agents act in turn, after PettingZoo's own conversion; the pipeline is trained when the last has acted."""

from typing import Any

from pettingzoo.utils import parallel_to_aec
from pettingzoo.utils.env import AECEnv

from ma2ml_env.env import parallel_env


def aec_env(id: str, evaluator: str | None = None, **options: Any) -> "AECEnv[str, Any, Any]":
    """Make the AEC view of a named game, with its `kinds` and `ordered`; options are those of `parallel_env`."""
    env = parallel_env(id, evaluator, **options)
    turns = parallel_to_aec(env)
    turns.kinds, turns.ordered = env.kinds, env.ordered
    return turns
