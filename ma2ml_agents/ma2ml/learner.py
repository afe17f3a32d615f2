"""MA2ML: Algorithm 1 of the paper, from top to bottom."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ma2ml_agents.controllers import Controller, act, chosen, controller, entropy
from ma2ml_agents.intervals import Table
from ma2ml_agents.joint import Codes, Joint
from ma2ml_agents.learner import States
from ma2ml_agents.ma2ml import credit, divergence
from ma2ml_agents.ma2ml.behaviour import Behaviour
from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.critic import Critic, critic_loss
from ma2ml_agents.replay import Replay, repeated
from ma2ml_agents.returns import TARGETS
from ma2ml_agents.saving import load_optimizer, optimizer_state, seeded
from ma2ml_env.trial import GameSpec, Proposal, Trial

_KNOWN = 10_000
"""trials, at least, that the exact critics learn from and that are not proposed again"""
_BATCH = 24
"""trials that the updates are meant for; of more that are told at once, each so many have their updates"""
_REDRAWS = 48
_HEAT = 1.15
"""a code that is known is drawn anew at most so often, from policies that get hotter by this factor each time"""


class MA2ML:
    """Policies pi_i and target policies rho_i of all agents, a central critic Q and a replay buffer D."""

    Config: type[MA2MLConfig] = MA2MLConfig

    def __init__(
        self, spec: GameSpec, config: MA2MLConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = c = config or self.Config()
        self.device = torch.device(device)
        self.generator = g = seeded(seed)
        self.joint = Joint(spec)
        agents, decisions = self.joint.agents, len(self.joint.nvec)
        # Line 1: initialise the critic phi, and the policy theta_i and target policy theta-bar_i of each agent.
        self.policies = {agent: self._controller(agent) for agent in agents}
        self.rho = copy.deepcopy(self.policies)
        state_size = len(agents) * spec.state_dim if c.critic_sees_states else 0
        self.critic = Critic(
            self.joint.nvec,
            hidden=c.critic_hidden,
            members=c.ensemble,
            shallow=int(c.ensemble * c.shallow),
            linear=c.linear,
            state_size=state_size,
            generator=g,
        ).to(self.device)
        self.behaviour = Behaviour(c, self.joint, g)
        self.policy_optimizers = {a: self._optimizer(p) for a, p in self.policies.items()}
        self.critic_optimizer = torch.optim.AdamW(
            self.critic.parameters(), lr=c.critic_lr, weight_decay=c.weight_decay, fused=True
        )
        self.replay = Replay(max(c.capacity, _KNOWN), decisions, len(agents), spec.state_dim, self.joint.dtype)
        self.restarts = 0
        self.updated = 0  # updates of the policies so far
        self.weight = c.lambda_ / decisions if c.lambda_per_decision else c.lambda_
        self.one_minibatch = c.critic_steps == 1 and c.critic_minibatch == c.minibatch  # line 9's, for lines 10 and 11

    def _controller(self, agent: str) -> Controller:
        c, spec = self.config, self.joint.spec
        made = controller(spec, agent, hidden=c.hidden, embedding=c.embedding, generator=self.generator)
        return made.to(self.device)

    def _optimizer(self, policy: Controller) -> torch.optim.Adam:
        return torch.optim.Adam(policy.parameters(), lr=self.config.policy_lr, fused=True)

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Lines 3 and 4: states S_i ~ N(0, I), actions A_i ~ pi_i(.|S_i); see `Learner.ask`."""
        c, s = self.config, self.joint.states(n, states, self.generator)
        codes, log_probs = self._act(s)
        if not c.distinct:
            return self.joint.proposals(codes, s, log_probs, ["policy"] * n)
        origins: list[str] = []
        if len(self.replay):
            known, targets = torch.from_numpy(self.replay.codes), torch.from_numpy(self._targets())
            opinions = partial(self._opinions, s=s)
            origins = self.behaviour.propose(
                codes, known, targets, lambda m: self._act(s[:m].repeat(c.candidates, 1, 1))[0], opinions
            )
        origins += ["policy"] * (n - len(origins))
        for redraw in range(1, _REDRAWS + 1):
            again = repeated(codes.numpy(), self.replay.codes)
            if not again:
                break
            codes[again], log_probs[again] = self._act(s[again], temperature=_HEAT**redraw)
            for row in again:
                origins[row] = "redraw"
        drawn = c.candidates == 1 and not c.response_share
        return self.joint.proposals(codes, s, log_probs if drawn else None, origins)

    @torch.no_grad()
    def _opinions(self, pool: Tensor, s: Tensor) -> Tensor:
        """Each critic's value of candidates (n, L): (M, n). Where Q reads S, all are compared at one S."""
        return self._q(pool.to(self.device), s[:1].expand(len(pool), -1, -1).to(self.device)).cpu()

    def _act(self, s: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Joint actions (n, L) at states (n, agents, state_dim), and each agent's log-probability of its part (n, agents)."""
        codes, log_probs = act(self.policies.values(), s.to(self.device), self.generator, temperature)
        return codes.cpu(), log_probs.cpu()

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Lines 8 to 12: store <S, A, R>, then update critic, policies and target policies; see `Learner.tell`."""
        if not trials:
            return {}
        codes, states, rewards = self.joint.read(trials, self.generator)
        self._store(codes, states, rewards)  # line 8
        targets, batches = self._targets(), max(1, len(trials) // _BATCH)
        if self.config.distinct:
            self.behaviour.learn(torch.from_numpy(self.replay.codes), torch.from_numpy(targets), batches)
        data = self._tensors(targets)
        history = []
        for _ in range(self.config.updates * batches):
            loss, rows = self._update_critic(*data)  # lines 9 and 10
            if not self.one_minibatch:
                rows = self._rows(self.config.minibatch)
            metrics = {"critic_loss": loss, **self._update_policies(data[0][rows], data[1][rows])}  # line 11
            self._update_targets()  # line 12
            history.append(metrics)
        mean = {key: sum(m[key] for m in history) / len(history) for key in history[0]} if history else {}
        if history:
            self._restart(sum(value for key, value in history[-1].items() if key.startswith("entropy/")))
        return {
            "reward": sum(rewards) / len(rewards),
            "restarts": float(self.restarts),
            "updates": float(self.config.updates * batches),
            **mean,
        }

    def _store(self, codes: Codes, states: NDArray[np.float32], rewards: list[float]) -> None:
        self.replay.add(codes, states, rewards)

    def _rows(self, n: int) -> Tensor:
        return self.replay.rows(n, self.generator, self.config.capacity).to(self.device)

    def _targets(self) -> NDArray[np.float64]:
        return TARGETS[self.config.targets](self.replay.rewards)

    def _tensors(self, targets: NDArray[np.float64]) -> tuple[Tensor, Tensor, Tensor]:
        return (
            torch.from_numpy(self.replay.codes).to(self.device),
            torch.from_numpy(self.replay.states).to(self.device),
            torch.from_numpy(targets).float().to(self.device),
        )

    def _update_critic(self, codes: Tensor, states: Tensor, targets: Tensor) -> tuple[float, Tensor]:
        """Mean loss of the steps, and the last one's minibatch."""
        c, total = self.config, 0.0
        for _ in range(c.critic_steps):
            rows = self._rows(c.critic_minibatch)
            q = self._q(codes[rows], states[rows])
            loss = critic_loss(q, targets[rows])  # eq. 11
            self.critic_optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.critic_optimizer.step()
            total += loss.item()
        return total / c.critic_steps / c.ensemble, rows

    def _q(self, codes: Tensor, states: Tensor) -> Tensor:
        values: Tensor = self.critic(codes, states.flatten(1) if self.config.critic_sees_states else None)
        return values

    @torch.no_grad()
    def _value(self, codes: Tensor, states: Tensor) -> Tensor:
        k, n, decisions = codes.shape
        flat = self._q(codes.reshape(k * n, decisions), states.repeat(k, 1, 1))
        return flat.mean(0).reshape(k, n)

    def _update_policies(self, stored: Tensor, states: Tensor) -> dict[str, float]:
        n, k = len(states), self.config.samples
        metrics: dict[str, float] = {}
        # K + 1 actions of every agent at every S: the first is eq. 13's A_i, the others estimate its expectations over A_i.
        samples = {
            agent: policy.sample(states[:, i].repeat(k + 1, 1), self.generator)
            for i, (agent, policy) in enumerate(self.policies.items())
        }
        fresh = torch.cat([sample.codes[:n] for sample in samples.values()], dim=1)
        for i, (agent, policy) in enumerate(self.policies.items()):
            columns, sample, s_i = self.joint.slices[agent], samples[agent], states[:, i]
            joint = credit.take(self.config.actions, fresh, stored, columns)  # A
            own = sample.codes[n:].reshape(k, n, -1)
            q = self._value(joint[None], states)[0]  # Q(S, A)
            b = self._baseline(q, joint, columns, own, states)
            table = policy.log_probs(s_i, joint[:, columns])  # with gradient
            with torch.no_grad():
                ratio = divergence.log_ratio(table, self._target(agent, s_i, joint[:, columns]), joint[:, columns])
                # One of the K samples is enough for the divergence: every step of it is exact.
                kl = self._kl(sample.table[n : 2 * n], self._target(agent, s_i, own[0]), own[0])
            advantage = credit.advantage(q, b, ratio, kl, self.weight)  # eq. 13
            loss = credit.policy_loss(chosen(table, joint[:, columns]), advantage)
            optimizer = self.policy_optimizers[agent]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            clip_grad_norm_(policy.parameters(), self.config.grad_clip)
            optimizer.step()
            metrics[f"entropy/{agent}"] = entropy(sample.table).mean().item()
            metrics[f"kl/{agent}"] = kl.mean().item()
            metrics[f"credit/{agent}"] = (q - b).abs().mean().item()
        return metrics

    def _baseline(self, q: Tensor, joint: Tensor, columns: slice, own: Tensor, states: Tensor) -> Tensor:
        if self.config.credit == "shared":
            return q.mean().expand(len(q))
        return credit.baseline(partial(self._value, states=states), joint, columns, own)  # eq. 3

    def _kl(self, policy: Table, target: Table, codes: Tensor) -> Tensor:
        if self.config.kl == "sampled":
            return divergence.log_ratio(policy, target, codes)
        return divergence.kl_along(policy, target)

    def _target(self, agent: str, s_i: Tensor, codes: Tensor) -> Table:
        """Log-probabilities of the target policy rho_i along codes: (n, state_dim), (n, T) -> (n, T, C)."""
        return self.rho[agent].log_probs(s_i, codes)

    def _update_targets(self) -> None:
        self.updated += 1
        if self.updated % self.config.target_every == 0:
            for agent, policy in self.policies.items():
                divergence.soft_update(self.rho[agent].parameters(), policy.parameters(), self.config.tau)

    def _restart(self, entropy: float) -> None:
        """Draw policies anew that have settled; replay and critic stay, so they know where the last ones went.

        The critic has learned that corner by then, and leads them there again or, if it is not the best, elsewhere.
        """
        if entropy >= self.config.restart * (self.joint.nats or 1.0):
            return
        self.restarts += 1
        for agent in self.joint.agents:
            self.policies[agent] = self._controller(agent)
            self.rho[agent] = copy.deepcopy(self.policies[agent])
            self.policy_optimizers[agent] = self._optimizer(self.policies[agent])

    def state_dict(self) -> dict[str, Any]:
        """Exact state; see `Learner.state_dict`."""
        return {
            "policies": {agent: dict(policy.state_dict()) for agent, policy in self.policies.items()},
            "targets": {agent: dict(policy.state_dict()) for agent, policy in self.rho.items()},
            "critic": dict(self.critic.state_dict()),
            "policy_optimizers": {agent: optimizer_state(o) for agent, o in self.policy_optimizers.items()},
            "critic_optimizer": optimizer_state(self.critic_optimizer),
            "behaviour": self.behaviour.state_dict(),
            "replay": self.replay.state_dict(),
            "updated": self.updated,
            "restarts": self.restarts,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        for agent, policy in self.policies.items():
            policy.load_state_dict(state["policies"][agent])
            self.rho[agent].load_state_dict(state["targets"][agent])
            load_optimizer(self.policy_optimizers[agent], state["policy_optimizers"][agent])
        self.critic.load_state_dict(state["critic"])
        load_optimizer(self.critic_optimizer, state["critic_optimizer"])
        self.behaviour.load_state_dict(state["behaviour"])
        self.replay.load_state_dict(state["replay"])
        self.updated = int(state["updated"])
        self.restarts = int(state["restarts"])
        self.generator.set_state(state["generator"])
