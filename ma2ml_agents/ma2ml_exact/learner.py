"""MA2ML in closed form: Algorithm 1 with an exact critic, whose policies are formulas. Ours, not the paper's.

The critic is a Bayesian posterior, so eq. 11 is solved, not stepped towards; for it eq. 12 has its maximum in closed form, and
no network has to find it (`policies.py`). Every proposal is a sample of the agents' policies.

The paper's random state S has eight numbers an agent, and a draw of the critic needs hundreds: the joint S of all agents keys
the generator that draws them. So S is what agents coordinate on: all of them answer one hypothesis about the game. With a
critic that is a sum over decisions several agents and one have the same optimum, and the divergence equals Thompson sampling
pulled to the mean; where the critic interacts, agents answer one another.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ma2ml_agents.joint import Joint
from ma2ml_agents.learner import States
from ma2ml_agents.ma2ml.distinct import repeated
from ma2ml_agents.ma2ml.replay import Replay
from ma2ml_agents.ma2ml_exact.config import ExactConfig
from ma2ml_agents.ma2ml_exact.critic import Critic
from ma2ml_agents.ma2ml_exact.policies import Policies
from ma2ml_agents.returns import TARGETS
from ma2ml_agents.saving import seeded
from ma2ml_env.trial import GameSpec, Proposal, Trial

_KEPT = 10_000
"""newest trials that are learned from; none of their codes is proposed again"""
_BATCH = 24
"""trials that a step of the critic's settings is meant for; of more that are told at once, each so many have theirs"""
_TRIES, _HEAT = 16, 2.0
"""a known code is drawn again at most so often, at another S; target policies get hotter by this factor each time"""
_BEST = 30
"""pipelines that agents begin to answer each other from"""


class MA2MLExact:
    """MA2ML on an exact critic: its policies in closed form propose everything."""

    Config = ExactConfig

    def __init__(
        self, spec: GameSpec, config: ExactConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        """Line 1 of Algorithm 1. Nothing here is worth a GPU: the device is not used."""
        self.config = c = config or ExactConfig()
        self.generator = seeded(seed)
        self.joint = Joint(spec)
        self.critic = Critic(self.joint, ties=c.ties, order=c.order, features=c.features, interactions=c.interactions)
        slices = [slice(0, len(self.joint.nvec))] if c.agents == "one" else list(self.joint.slices.values())
        self.policies = Policies(self.critic.effects, slices, self.generator)
        self.replay = Replay(_KEPT, len(self.joint.nvec), len(self.joint.agents), spec.state_dim, self.joint.dtype)

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Lines 3 and 4: states S_i ~ N(0, I), actions A_i ~ pi_i(.|S), given states as they are; see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        codes, log_probs = self._act(self._keys(s), 1.0)
        origins = ["policy"] * n
        for attempt in range(1, _TRIES + 1) if states is None else ():
            again = repeated(codes.numpy(), self.replay.codes)
            if not again:
                break
            s[again] = self.joint.states(len(again), None, self.generator)
            codes[again], log_probs[again] = self._act(keys_of(s[again]), _HEAT**attempt)
            for row in again:
                origins[row] = "redraw"
        return self.joint.proposals(codes, s, log_probs if self.config.agents == "several" else None, origins)

    def _keys(self, s: Tensor) -> list[int]:
        """Of states (n, agents, state_dim). One that was there before is no random one, and gets a key of its own."""
        keys, drawn = keys_of(s), torch.randint(2**62, (len(s),), generator=self.generator).tolist()
        for row in repeated(s.flatten(1).numpy(), torch.from_numpy(self.replay.states).flatten(1).numpy()):
            keys[row] = drawn[row]
        return keys

    def _act(self, keys: Sequence[int], heat: float) -> tuple[Tensor, Tensor]:
        """Actions A (n, L), and log-probabilities (n, agents), at states with these keys."""
        c, dtype = self.config, torch.from_numpy(self.replay.codes).dtype
        if not self.critic.knows:
            places, log_probs = self.policies.sample(torch.zeros(self.critic.effects.size + 1, len(keys)).double())
            return self.policies.codes(places, dtype), log_probs
        mu = c.mu * heat
        lambda_ = max(c.lambda_ * self.critic.open, mu if heat > 1.0 else 0.0)  # or it would stop the heat
        temperature, noise = 1.0 / (1.0 / lambda_ + 1.0 / mu), noise_of(keys, self.critic.noise_size)
        effects, together = self.critic.draw(noise, temperature / lambda_)
        if c.credit == "joint":
            mean, drawn = (self.critic.draw(noise, share).effects for share in (0.0, 1.0))
            places, log_probs = self.policies.sample(self.policies.learned(mean / mu, drawn, lambda_, c.credit_steps))
        elif not together:
            places, log_probs = self.policies.sample(effects / temperature)
        else:
            best = torch.from_numpy(self.replay.rewards).argsort(descending=True, stable=True)[:_BEST]
            begun = best[torch.randint(len(best), (len(keys),), generator=self.generator)]
            for each in together:
                each.stand(self.policies.places(torch.from_numpy(self.replay.codes)[begun]))
            places, log_probs = self.policies.answer(effects, together, temperature)
        return self.policies.codes(places, dtype), log_probs

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Lines 8 to 12: store <S, A, R>, then let the critic learn; policies follow by themselves. See `Learner.tell`."""
        if not trials:
            return {}
        codes, states, rewards = self.joint.read(trials, self.generator)
        self.replay.add(codes, states, rewards)
        if not self.config.off_policy:
            self.replay.keep_newest(len(trials))
        batches = max(1, len(trials) // _BATCH)
        metrics = self.critic.learn(*self._known(), self.generator, batches)
        if self.critic.knows and self.config.agents == "several":
            credit = self.policies.credit(self.critic.effects_mean, torch.from_numpy(codes), self.config.mu)
            metrics |= {f"credit/{agent}": value for agent, value in zip(self.joint.agents, credit, strict=True)}
        return {"reward": sum(rewards) / len(rewards), "updates": float(batches), **metrics}

    def _known(self) -> tuple[Tensor, Tensor]:
        """Codes (N, L) and targets (N,) of the trials that are learned from."""
        return torch.from_numpy(self.replay.codes), torch.from_numpy(TARGETS[self.config.targets](self.replay.rewards))

    def state_dict(self) -> dict[str, Any]:
        """Exact state; see `Learner.state_dict`."""
        return {
            "critic": self.critic.state_dict(),
            "replay": self.replay.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.replay.load_state_dict(state["replay"])
        self.critic.load_state_dict(state["critic"])
        if len(self.replay):
            self.critic.see(*self._known())
        self.generator.set_state(state["generator"])


def keys_of(s: Tensor) -> list[int]:
    """A number in 0..2^63-1 for each state S of all agents (n, agents, state_dim)."""
    return [int.from_bytes(hashlib.blake2b(each.tobytes(), digest_size=8).digest(), "big") >> 1 for each in s.numpy()]


def noise_of(keys: Sequence[int], size: int) -> Tensor:
    """White noise (size, n) of keys: a pure function of each."""
    columns = [torch.randn(size, generator=seeded(key), dtype=torch.float64) for key in keys]
    return torch.stack(columns, dim=1) if columns else torch.zeros(size, 0, dtype=torch.float64)
