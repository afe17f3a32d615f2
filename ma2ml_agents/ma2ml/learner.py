"""MA2ML: Algorithm 1 of the paper, from top to bottom.

The learner does lines 1, 3, 4 and 8 to 12, in this order. The search does lines 2 and 13 (the loop), the game lines 5 to 7
(train the pipelines), `ma2ml retrain` lines 14 to 16 (train the best to the end). One iteration is a batch of pipelines.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ma2ml_agents.joint import Joint
from ma2ml_agents.learner import States
from ma2ml_agents.ma2ml import credit, divergence
from ma2ml_agents.ma2ml.actor import Actor
from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.critic import Critic, critic_loss
from ma2ml_agents.ma2ml.distinct import redraw
from ma2ml_agents.ma2ml.replay import Replay
from ma2ml_agents.policies.controllers import Controller, act, chosen, controller, entropy
from ma2ml_agents.returns import TARGETS
from ma2ml_agents.saving import load_optimizer, optimizer_state, seeded
from ma2ml_env.trial import GameSpec, Proposal, Trial

_KNOWN = 10_000
"""newest trials, at least, that are remembered: no code of theirs is proposed again"""
_BATCH = 24
"""trials that the updates are meant for; of more that are told at once, each so many have their updates"""


class MA2ML:
    """The paper's method: off-policy, counterfactual credit, divergence to a target policy; its policies alone propose.

    Each agent has a policy pi_i and a target policy rho_i; all share a central critic Q and a replay buffer D.
    """

    Config: type[MA2MLConfig] = MA2MLConfig

    def __init__(
        self, spec: GameSpec, config: MA2MLConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        """Line 1: initialise the critic phi, and the policy theta_i and target policy theta-bar_i of each agent."""
        self.config = c = config or self.Config()
        self.device = torch.device(device)
        self.generator = g = seeded(seed)
        self.joint = Joint(spec)
        owners = self._owners(spec)
        self.slices = Joint(owners).slices
        self.actors = {
            agent: self._actor(controller(owners, agent, hidden=c.hidden, embedding=c.embedding, generator=g))
            for agent in self.slices
        }
        agents, decisions = len(self.joint.agents), len(self.joint.nvec)
        self.critic = Critic(
            self.joint.nvec,
            hidden=c.critic_hidden,
            members=c.ensemble,
            state_size=agents * spec.state_dim if c.critic_sees_states else 0,
            generator=g,
        ).to(self.device)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=c.critic_lr, fused=True)
        self.replay = Replay(max(c.capacity, _KNOWN), decisions, agents, spec.state_dim, self.joint.dtype)
        self.weight = c.lambda_ / decisions if c.lambda_per_decision else c.lambda_

    def _owners(self, spec: GameSpec) -> GameSpec:
        """Who has a policy, and over which decisions: each agent over its own."""
        return spec

    def _actor(self, policy: Controller) -> Actor:
        """A policy with its target policy."""
        return Actor(policy.to(self.device), self.config.policy_lr)

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Lines 3 and 4: states S_i ~ N(0, I), actions A_i ~ pi_i(.|S_i); see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        codes, log_probs = self.act(s)
        origins = ["policy"] * n
        if self.config.distinct:
            redraw(codes, log_probs, self.replay.codes, lambda rows, heat: self.act(s[rows], heat), origins)
        return self.proposals(codes, s, log_probs, origins)

    def act(self, s: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Actions A (n, L) at states (n, agents, state_dim), and each policy's log-probability of its part (n, policies)."""
        policies = [actor.policy for actor in self.actors.values()]
        codes, log_probs = act(policies, s.to(self.device), self.generator, temperature)
        return codes.cpu(), log_probs.cpu()

    def proposals(self, codes: Tensor, s: Tensor, log_probs: Tensor | None, origins: Sequence[str]) -> list[Proposal]:
        """Rows (n, L) as proposals; the log-probabilities are None where the policies did not draw them."""
        return self.joint.proposals(codes, s, log_probs, origins)

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Lines 8 to 12: store <S, A, R>, then update critic, policies and target policies; see `Learner.tell`."""
        if not trials:
            return {}
        reward = self.remember(trials)
        return {"reward": reward, **self.learn(len(trials))}

    def remember(self, trials: Sequence[Trial]) -> float:
        """Line 8: store <S, A, R> in the replay buffer D; return the mean reward."""
        codes, states, rewards = self.joint.read(trials, self.generator)
        self.replay.add(codes, states, rewards)
        return sum(rewards) / len(rewards)

    def targets(self) -> NDArray[np.float64]:
        """What the critic learns of all rewards in the buffer, (N,)."""
        return TARGETS[self.config.targets](self.replay.rewards)

    def learn(self, n: int) -> dict[str, float]:
        """Lines 9 to 12, U times for each batch among n new trials: metrics, averaged over these updates."""
        codes = torch.from_numpy(self.replay.codes).to(self.device)
        states = torch.from_numpy(self.replay.states).to(self.device)
        targets = torch.from_numpy(self.targets()).float().to(self.device)
        updates = self.config.updates * max(1, n // _BATCH)
        history = []
        for _ in range(updates):
            loss, rows = self._update_critic(codes, states, targets)
            metrics = self._update_policies(states[rows])
            for actor in self.actors.values():
                actor.follow(self.config.tau)  # line 12
            history.append({"critic_loss": loss, **metrics})
        mean = {key: sum(m[key] for m in history) / len(history) for key in history[0]} if history else {}
        return {"updates": float(updates), **mean}

    def _rows(self, n: int) -> Tensor:
        """Line 9: sample a minibatch B of n from D."""
        return self.replay.rows(n, self.generator, self.config.capacity).to(self.device)

    def _update_critic(self, codes: Tensor, states: Tensor, targets: Tensor) -> tuple[float, Tensor]:
        """Line 10, some steps: their mean loss, and the rows of the minibatch that the policies take."""
        c, total = self.config, 0.0
        for _ in range(c.critic_steps):
            rows = self._rows(c.critic_minibatch)
            loss = critic_loss(self.q(codes[rows], states[rows]), targets[rows])  # eq. 11
            self.critic_optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.critic_optimizer.step()
            total += loss.item()
        if c.critic_steps > 1 or c.critic_minibatch != c.minibatch:  # else line 9's B is for lines 10 and 11
            rows = self._rows(c.minibatch)
        return total / c.critic_steps / c.ensemble, rows

    def q(self, codes: Tensor, states: Tensor) -> Tensor:
        """Q(S, A) of each member of the ensemble: (n, L), (n, agents, state_dim) -> (M, n)."""
        values: Tensor = self.critic(codes, states.flatten(1) if self.config.critic_sees_states else None)
        return values

    @torch.no_grad()
    def _value(self, codes: Tensor, states: Tensor) -> Tensor:
        """Q(S, A), the ensemble's mean: (K, n, L), (n, agents, state_dim) -> (K, n)."""
        k, n, decisions = codes.shape
        flat = self.q(codes.reshape(k * n, decisions), states.repeat(k, 1, 1))
        return flat.mean(0).reshape(k, n)

    def _update_policies(self, states: Tensor) -> dict[str, float]:
        """Line 11: a step of each agent's policy by eq. 13, at the states of a minibatch (n, agents, state_dim)."""
        n, k = len(states), self.config.samples
        metrics: dict[str, float] = {}
        # K + 1 actions of every agent at every S: the first is eq. 13's A_i, the others estimate its expectations over A_i.
        samples = {
            agent: actor.policy.sample(states[:, i].repeat(k + 1, 1), self.generator)
            for i, (agent, actor) in enumerate(self.actors.items())
        }
        joint = torch.cat([sample.codes[:n] for sample in samples.values()], dim=1)  # A
        q = self._value(joint[None], states)[0]  # Q(S, A)
        for i, (agent, actor) in enumerate(self.actors.items()):
            columns, sample, s_i = self.slices[agent], samples[agent], states[:, i]
            taken, own = joint[:, columns], sample.codes[n:].reshape(k, n, -1)
            b = self._baseline(q, joint, columns, own, states)
            table = actor.policy.log_probs(s_i, taken)  # with gradient
            with torch.no_grad():
                ratio = divergence.log_ratio(table, actor.target(s_i, taken), taken)
                # One of the K samples is enough for the divergence: every step of it is exact.
                kl = divergence.kl_along(sample.table[n : 2 * n], actor.target(s_i, own[0]))
            advantage = credit.advantage(q, b, ratio, kl, self.weight)
            actor.step(credit.policy_loss(chosen(table, taken), advantage), self.config.grad_clip)
            metrics[f"entropy/{agent}"] = entropy(sample.table).mean().item()
            metrics[f"kl/{agent}"] = kl.mean().item()
            metrics[f"credit/{agent}"] = (q - b).abs().mean().item()
        return metrics

    def _baseline(self, q: Tensor, joint: Tensor, columns: slice, own: Tensor, states: Tensor) -> Tensor:
        """Eq. 3, or without credit assignment the same number for all agents: (n,)."""
        if self.config.credit == "shared":
            return q.mean().expand(len(q))
        return credit.baseline(partial(self._value, states=states), joint, columns, own)

    def state_dict(self) -> dict[str, Any]:
        """Exact state; see `Learner.state_dict`."""
        return {
            "actors": {agent: actor.state_dict() for agent, actor in self.actors.items()},
            "critic": dict(self.critic.state_dict()),
            "critic_optimizer": optimizer_state(self.critic_optimizer),
            "replay": self.replay.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        for agent, actor in self.actors.items():
            actor.load_state_dict(state["actors"][agent])
        self.critic.load_state_dict(state["critic"])
        load_optimizer(self.critic_optimizer, state["critic_optimizer"])
        self.replay.load_state_dict(state["replay"])
        self.generator.set_state(state["generator"])
