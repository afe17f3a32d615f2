"""Optuna's Gaussian process with expected improvement (`GPSampler`) behind ask and tell."""

from dataclasses import dataclass
from typing import Any

from ma2ml_agents.baselines.studied import Studied
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec


@dataclass(frozen=True)
class GPSamplerConfig:
    """Settings of `GPSampler`.

    Raises:
        ValueError: if a setting is out of its range.
    """

    startup: int = 24
    """random trials before the process is used"""

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one=("startup",))


class GPSampler(Studied):
    """Optuna's GPSampler: Matern kernel, relevance by decision, expected improvement over what runs already.

    It fits the process anew for each proposal, so its time grows with trials and decisions: it is for small tables.

    Raises:
        ImportError: without optuna; it is the extra `optuna`.
    """

    Config = GPSamplerConfig
    name = "gp_sampler"

    def __init__(
        self, spec: GameSpec, config: GPSamplerConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = config or self.Config()
        super().__init__(spec, seed=seed)

    def sampler(self, seed: int) -> Any:
        """Optuna's GPSampler."""
        return self.optuna.samplers.GPSampler(n_startup_trials=self.config.startup, seed=seed)
