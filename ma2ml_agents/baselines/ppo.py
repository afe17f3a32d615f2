"""PPO of Stable-Baselines3 on the flat game: one policy that decides everything, as an RL library is used out of the box."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger
from torch import Tensor

from ma2ml_agents.baselines.ippo import behaviour, near
from ma2ml_agents.joint import Joint, only_decisions
from ma2ml_agents.learner import States
from ma2ml_agents.saving import load_optimizer, optimizer_state, seeded
from ma2ml_env.io.settings import MOST, check_ranges
from ma2ml_env.trial import GameSpec, Proposal, Trial

ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
}


@dataclass(frozen=True)
class PPOConfig:
    """Settings of `PPO`, named as in Stable-Baselines3 and tuned on synthetic landscapes of 100 decisions.

    Raises:
        ValueError: if a setting is out of range.
    """

    learning_rate: float = 2e-3
    """Adam's step size"""
    n_epochs: int = 10
    """passes over each batch of trials"""
    batch_size: int = 24
    """trials in a minibatch"""
    clip_range: float = 0.2
    """the ratio pi / pi_old of the whole joint action earns nothing outside 1 ± clip_range"""
    ent_coef: float = 0.0
    """weight of the policy's entropy, in nats"""
    vf_coef: float = 0.5
    """weight of the value's squared error"""
    max_grad_norm: float = 0.5
    """largest norm of the gradient of policy and value together"""
    target_kl: float = 0.3
    """the update ends before a step once the estimated KL(pi_old || pi), in nats, is above 1.5 times this; over a hundred
    decisions the ratio could otherwise leave the range of floats"""
    normalize_advantage: bool = True
    """whether the advantages of a minibatch get zero mean and unit variance"""
    net_arch: tuple[int, ...] = (256,)
    """widths of the hidden layers, of the policy and of the value each"""
    activation: str = "sigmoid"
    """after each hidden layer: `sigmoid`, `relu` or `tanh`. The states are noise of mean 0, and what holds in every state is
    learned fastest through units that hardly follow it; with the library's tanh, 1,008 trials led little further than random
    search"""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=("n_epochs",),
            positive=("learning_rate", "clip_range", "max_grad_norm", "target_kl"),
            not_negative=("ent_coef", "vf_coef"),
            layers=("net_arch",),
            choices={"activation": ACTIVATIONS},
        )
        if not 2 <= self.batch_size <= MOST:
            raise ValueError(f"batch_size is at least 2 and at most {MOST:,}, not {self.batch_size}")


class PPO:
    """Single-agent PPO (Schulman et al. 2017) of Stable-Baselines3 (Raffin et al. 2021): its policy, its loss, its `train()`.

    The observation is all agents' states, the action all agents' decisions, an episode one step: A = R - V(S). What is not the
    library's: actions are drawn and minibatches shuffled by the learner's own generator. Old log-probabilities are the
    proposal's where it has finite ones of all agents, summed; a trial without counts as drawn by the policy as it is.
    """

    Config = PPOConfig

    def __init__(self, spec: GameSpec, config: PPOConfig | None = None, *, seed: int = 0, device: str = "cpu") -> None:
        self.config = c = config or self.Config()
        self.device = torch.device(device)
        self.generator = seeded(seed)
        self.joint = Joint(only_decisions(spec, "ppo"))
        with torch.random.fork_rng(devices=[]):  # initial weights come from the global random state, on the CPU
            torch.default_generator.manual_seed(_draw(self.generator))
            self.model = stable_baselines3.PPO(
                "MlpPolicy",
                _Spaces(self.joint),
                learning_rate=c.learning_rate,
                n_steps=c.batch_size,
                batch_size=c.batch_size,
                n_epochs=c.n_epochs,
                clip_range=c.clip_range,
                ent_coef=c.ent_coef,
                vf_coef=c.vf_coef,
                max_grad_norm=c.max_grad_norm,
                target_kl=c.target_kl,
                normalize_advantage=c.normalize_advantage,
                policy_kwargs={"net_arch": list(c.net_arch), "activation_fn": ACTIVATIONS[c.activation]},
                device=self.device,
            )
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Draw S_i ~ N(0, I) and A ~ pi(.|S); see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        if not n:
            return []  # torch's Categorical refuses to be empty
        uniform = torch.rand(len(self.joint.nvec), n, 1, generator=self.generator).to(self.device)
        with torch.no_grad():
            steps = self._decisions(s.flatten(1))
            columns = [  # inverse of each cdf
                (d.probs.cumsum(1) < u).sum(1).clamp_(max=d.probs.shape[1] - 1)
                for d, u in zip(steps, uniform, strict=True)
            ]
            codes = torch.stack(columns, dim=1)
            log_probs = self._log_probs(steps, codes)
        return self.joint.proposals(codes, s, log_probs, ["policy"] * n)

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """One `train()` of Stable-Baselines3 with these trials as its rollout; see `Learner.tell`."""
        if not trials:
            return {}
        codes, states, rewards = self.joint.read(trials, self.generator)
        observations = torch.from_numpy(states).flatten(1)
        with torch.no_grad():
            current = self._log_probs(self._decisions(observations), torch.from_numpy(codes).to(self.device))
            values = self.model.policy.predict_values(observations.to(self.device))[:, 0]
        old = near(behaviour(trials, self.joint.agents, current).sum(1), current.sum(1))
        self.model.rollout_buffer = buffer = _Rollout(self.model, len(trials), self.generator)
        ends = np.ones(len(trials), dtype=bool)  # every step begins an episode and ends it
        buffer.add(observations.numpy(), codes, np.array(rewards), ends, values, old)
        buffer.compute_returns_and_advantage(torch.zeros_like(values), ends)
        self.model.train()
        logged = self.model.logger.name_to_value
        return {
            "reward": sum(rewards) / len(rewards),
            "updates": float(self.config.n_epochs * -(-len(trials) // self.config.batch_size)),
            "entropy": -float(logged["train/entropy_loss"]),
            "value_loss": float(logged["train/value_loss"]),
            "clipped": float(logged["train/clip_fraction"]),
        }

    def _decisions(self, observations: Tensor) -> list[Any]:
        """A Categorical of every decision, at observations (n, agents x state_dim)."""
        decisions: list[Any] = self.model.policy.get_distribution(observations.to(self.device)).distribution
        return decisions

    def _log_probs(self, decisions: Sequence[Any], codes: Tensor) -> Tensor:
        """Log pi of every agent's share of the codes (n, L), (n, agents)."""
        table = torch.stack([d.log_prob(codes[:, t]) for t, d in enumerate(decisions)], dim=1)
        return torch.stack([table[:, columns].sum(1) for columns in self.joint.slices.values()], dim=1)

    def state_dict(self) -> dict[str, Any]:
        """Exact state; see `Learner.state_dict`."""
        return {
            "policy": dict(self.model.policy.state_dict()),
            "optimizer": optimizer_state(self.model.policy.optimizer),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.model.policy.load_state_dict(state["policy"])
        load_optimizer(self.model.policy.optimizer, state["optimizer"])
        self.generator.set_state(copy.deepcopy(state["generator"]))


class _Rollout(RolloutBuffer):  # type: ignore[misc]
    """Told trials, one step of as many environments; minibatches are drawn by a generator, not by NumPy's global state."""

    def __init__(self, model: stable_baselines3.PPO, size: int, generator: torch.Generator) -> None:
        super().__init__(1, model.observation_space, model.action_space, model.device, gamma=1.0, n_envs=size)
        self.generator = generator
        self.generator_ready = False  # the library's name for: reshaped

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Minibatches in a new order, the last perhaps smaller."""
        if not self.generator_ready:  # (1, n, ...) -> (n, ...), once, as in the library
            own = self.__dict__
            for name in ("observations", "actions", "values", "log_probs", "advantages", "returns"):
                own[name] = self.swap_and_flatten(own[name])
            self.generator_ready = True
        order, size = torch.randperm(self.n_envs, generator=self.generator).numpy(), batch_size or self.n_envs
        for start in range(0, self.n_envs, size):
            yield self._get_samples(order[start : start + size])


class _Spaces(gymnasium.Env[NDArray[np.float32], NDArray[np.int64]]):
    """What Stable-Baselines3 must see of an environment: spaces. It is never stepped."""

    def __init__(self, joint: Joint) -> None:
        self.observation_space = Box(-np.inf, np.inf, (len(joint.agents) * joint.spec.state_dim,), np.float32)
        self.action_space = MultiDiscrete(list(joint.nvec))


def _draw(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))
