"""BenchMARL: its algorithms on the token view, those of continuous control on the box view, all agents in one group."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarl import algorithms
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig

from frameworks import Make
from ma2ml_env.env import AutoMLEnv
from ma2ml_env.integrations.benchmarl import AutoMLTask


class RecordedTask(AutoMLTask):
    """A task whose environments all play the recorded game."""

    def __init__(self, make: Make) -> None:
        super().__init__("recorded", {})
        self.make = make

    def _env(self) -> AutoMLEnv:
        return self.make()

    def __getstate__(self) -> dict[str, Any]:
        """Without the game: BenchMARL pickles its task beside each run, and nobody loads it."""
        return {**self.__dict__, "make": None}


def train(
    make: Make,
    pipelines: int,
    seed: int,
    *,
    algorithm: str,
    continuous: bool,
    envs: int,
    **settings: Any,
) -> None:
    """Run an algorithm's experiment, `envs` pipelines an iteration; `settings` are those of its `ExperimentConfig`."""
    torch.set_num_threads(1)
    shape = make().game.spec.nvec.values()
    frames = envs if continuous else envs * max(len(nvec) for nvec in shape)
    config, model = ExperimentConfig.get_from_yaml(), MlpConfig.get_from_yaml()
    told = {
        "max_n_iters": -(-pipelines // envs) + 1, "max_n_frames": None, "prefer_continuous_actions": continuous,
        "exploration_anneal_frames": pipelines // 2 * frames // envs, "evaluation": False, "loggers": [],
        "create_json": False, "render": False,
        **{f"{kind}_collected_frames_per_batch": frames for kind in ("on_policy", "off_policy")},
        **{f"{kind}_n_envs_per_worker": envs for kind in ("on_policy", "off_policy")},
        **settings,
    }  # fmt: skip
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for name, value in {**told, "save_folder": folder}.items():
            getattr(config, name)  # an unknown one is an error
            setattr(config, name, value)
        Experiment(
            task=RecordedTask(make),
            algorithm_config=getattr(algorithms, f"{algorithm.capitalize()}Config").get_from_yaml(),
            model_config=model,
            critic_model_config=model,
            seed=seed,
            config=config,
        ).run()
