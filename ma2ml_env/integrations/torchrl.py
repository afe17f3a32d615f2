"""TorchRL: n pipelines at once, as one batched environment. TorchRL is the extra `torchrl`.

Three views. `native`: an episode is one step, and every agent sends its whole code, under its own key. `token`: one decision a
step, all agents in the group `agents`, with masks. `box`: one step, a number in [-1, 1] for each decision, all agents in one
group, the shorter ones padded. The last two are for libraries with one action head for a group (BenchMARL).

TorchRL's wrapper of PettingZoo plays `parallel_env` and `token_parallel_env` as well, one pipeline at a time; here all n go
through `AutoMLEnv.evaluate_batch`.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ma2ml_env.actions import refuse_intervals
from ma2ml_env.env import AutoMLEnv, parallel_env
from ma2ml_env.trial import trial_seeds

try:
    from tensordict import TensorDict, TensorDictBase
    from torchrl.data import Bounded, Categorical, Composite, MultiCategorical, Unbounded
    from torchrl.envs import EnvBase
except ImportError as error:
    raise ImportError("this environment is TorchRL's: pip install 'ma2ml[torchrl]'") from error

View = Literal["native", "token", "box"]
GROUP = "agents"
"""the one group of the views `token` and `box`"""


class TorchRLEnv(EnvBase):
    """What the views share: what the game shows at the start of an episode, and the reward of whole codes.

    Every view has a root key `state` for central critics, and root keys `done` and `terminated` (n, 1).

    Args:
        env: the game.
        num_envs: pipelines at once, n.
        device: where tensors are handed over; the game itself is played where `make_game` says.

    Raises:
        ValueError: if an agent has intervals (only decisions are carried), or num_envs is below 1.
    """

    horizon: int = 1
    """steps of an episode"""

    def __init__(self, env: AutoMLEnv, num_envs: int = 24, device: torch.device | str = "cpu") -> None:
        refuse_intervals(env.game.spec, "torchrl")
        if num_envs < 1:
            raise ValueError(f"num_envs is at least 1, not {num_envs}")
        super().__init__(device=torch.device(device), batch_size=torch.Size([num_envs]))
        self.env, self.agents, self.n = env, env.possible_agents, num_envs
        self.nvec, self.kinds, self.ordered = env.game.spec.nvec, env.kinds, env.ordered
        self.steps = max(len(sizes) for sizes in self.nvec.values())
        """decisions of the agent that has most"""
        sizes = [[*nvec, *[1] * (self.steps - len(nvec))] for nvec in self.nvec.values()]
        self.sizes = torch.tensor(sizes, device=self.device)
        """choices (agents, steps); behind an agent's last decision there is one"""
        self._drawn = (num_envs, len(self.agents), env.game.spec.state_dim)
        self.states = torch.from_numpy(env.observe(np.zeros(self._drawn, dtype=np.float32))).to(self.device)
        """what is observed, (n, agents, width)"""
        self._set_seed(env.seed)
        self.done_spec = Composite(
            done=Categorical(2, shape=(num_envs, 1), dtype=torch.bool),
            terminated=Categorical(2, shape=(num_envs, 1), dtype=torch.bool),
            shape=self.batch_size,
            device=self.device,
        )

    def _set_seed(self, seed: int | None) -> None:
        self._seed, self._episodes = self.env.seed if seed is None else int(seed), 0
        self._rng = np.random.default_rng(abs(self._seed))

    def _starting(self, tensordict: TensorDictBase | None) -> Tensor:
        """Which environments begin an episode, (n,); they get new states."""
        starting = torch.ones(self.n, dtype=torch.bool, device=self.device)
        if tensordict is not None and (chosen := tensordict.get("_reset", None)) is not None:
            starting = chosen.reshape(self.n, -1).any(1)
        shown = self.env.observe(self._rng.standard_normal(self._drawn, dtype=np.float32))
        self.states = torch.where(starting[:, None, None], torch.from_numpy(shown).to(self.device), self.states)
        return starting

    def _rewards(self, codes: Tensor) -> Tensor:
        """Of codes (m, agents, steps), padded, as the parallel environment's next m episodes: (m, 1)."""
        whole = codes.cpu().numpy()
        actions = {agent: whole[:, i, : len(self.nvec[agent])] for i, agent in enumerate(self.agents)}
        seeds = trial_seeds(self._seed, self._episodes, len(whole))
        self._episodes += len(whole)
        return torch.from_numpy(self.env.evaluate_batch(actions, seeds)).float().to(self.device)[:, None]

    def _out(self, observations: dict[str, Any], done: Tensor, **more: Any) -> TensorDict:
        ends = {"done": done[:, None], "terminated": done[:, None].clone()}
        return TensorDict({**observations, **more, **ends}, batch_size=self.batch_size, device=self.device)

    def _vector(self, *shape: int) -> Unbounded:
        return Unbounded(shape=(self.n, *shape), device=self.device)

    def close(self, **_: Any) -> None:
        """End worker processes, if the evaluator has any."""
        self.env.close()
        super().close()


class TorchRLNativeEnv(TorchRLEnv):
    """Keys `(agent, "observation")` (n, width) and `(agent, "action")` (n, L_i), for every agent; root `reward` (n, 1)."""

    def __init__(self, env: AutoMLEnv, num_envs: int = 24, device: torch.device | str = "cpu") -> None:
        super().__init__(env, num_envs, device)
        n, dim = self.batch_size, self.states.shape[2]
        self.observation_spec = Composite(
            {agent: Composite(observation=self._vector(dim), shape=n) for agent in self.agents},
            state=self._vector(dim * len(self.agents)),
            shape=n,
            device=self.device,
        )
        self.action_spec = Composite(
            {
                agent: Composite(action=MultiCategorical(nvec, shape=(num_envs, len(nvec))), shape=n)
                for agent, nvec in self.nvec.items()
            },
            shape=n,
            device=self.device,
        )
        self.reward_spec = self._vector(1)

    def _observations(self) -> dict[str, Any]:
        states = self.states.clone()  # what users write into is theirs
        seen: dict[str, Any] = {agent: {"observation": states[:, i]} for i, agent in enumerate(self.agents)}
        return {**seen, "state": self.states.flatten(1).clone()}

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDictBase:
        starting = self._starting(tensordict)
        return self._out(self._observations(), torch.zeros_like(starting))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        codes = torch.zeros(self.n, *self.sizes.shape, dtype=torch.int64, device=self.device)
        for i, (agent, nvec) in enumerate(self.nvec.items()):
            codes[:, i, : len(nvec)] = tensordict.get((agent, "action"))
        done = torch.ones(self.n, dtype=torch.bool, device=self.device)
        return self._out(self._observations(), done, reward=self._rewards(codes))


class GroupEnv(TorchRLEnv):
    """Keys `observation`, `action` and `reward` (n, agents, 1) of the group `agents`."""

    width: int
    """numbers of an observation"""

    def _specify(self, action: Any, **more: Any) -> None:
        shape = torch.Size([self.n, len(self.agents)])
        group = Composite(observation=self._vector(len(self.agents), self.width), **more, shape=shape)
        self.observation_spec = Composite(
            {GROUP: group},
            state=self._vector(len(self.agents) * self.width),
            shape=self.batch_size,
            device=self.device,
        )
        self.action_spec = Composite(
            {GROUP: Composite(action=action, shape=shape)}, shape=self.batch_size, device=self.device
        )
        self.reward_spec = Composite(
            {GROUP: Composite(reward=self._vector(len(self.agents), 1), shape=shape)},
            shape=self.batch_size,
            device=self.device,
        )

    def _group(self, rewards: Tensor | None = None, **seen: Tensor) -> TensorDict:
        """What the agents see, and everybody's reward: (n, 1) -> (n, agents, 1)."""
        if rewards is not None:
            seen["reward"] = rewards[:, None].expand(-1, len(self.agents), -1).clone()
        return TensorDict(seen, batch_size=[self.n, len(self.agents)], device=self.device)


class TorchRLTokenEnv(GroupEnv):
    """One decision of every agent a step; who has finished waits, and its only choice is 0.

    Observations are those of `token_parallel_env`: state, share of decisions made, code so far; `action_mask` (n, agents,
    choices) is true for a choice of the decision at hand. The reward comes with the last decision. Random actions respect the
    mask in the bare environment; through other transforms or a collector they need TorchRL's `ActionMask` beside them.

    Raises:
        ValueError: in a step, if a masked choice was taken.
    """

    def __init__(self, env: AutoMLEnv, num_envs: int = 24, device: torch.device | str = "cpu") -> None:
        super().__init__(env, num_envs, device)
        shape, choices = (num_envs, len(self.agents)), int(self.sizes.max())
        self.width = self.states.shape[2] + 1 + self.steps
        self.horizon = self.steps
        self.decisions = torch.tensor([len(nvec) for nvec in self.nvec.values()], device=self.device)
        self.codes = torch.zeros(*shape, self.steps, dtype=torch.int64, device=self.device)
        self.made = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        """steps of each environment's episode"""
        self._specify(
            Categorical(choices, shape=shape, dtype=torch.int64),
            action_mask=Categorical(2, shape=(*shape, choices), dtype=torch.bool),
        )

    def _observations(self, rewards: Tensor | None = None) -> dict[str, Any]:
        step = torch.arange(self.steps, device=self.device)
        decided = (step < self.made[:, None])[:, None] & (step < self.decisions[:, None])  # (n, agents, steps)
        values = torch.where(decided, (self.codes + 1) / self.sizes, 0.0)
        share = (self.made / self.steps)[:, None, None].expand(-1, len(self.agents), 1)
        vectors = torch.cat([self.states, share, values], dim=2)
        choices = torch.arange(int(self.sizes.max()), device=self.device)
        mask = choices < self._at_hand()[:, :, None]
        self.full_action_spec[GROUP, "action"].update_mask(mask)  # what random actions are drawn from
        return {GROUP: self._group(rewards, observation=vectors, action_mask=mask), "state": vectors.flatten(1)}

    def _at_hand(self) -> Tensor:
        """Choices of each agent's decision, (n, agents); behind the last one there is one."""
        over = (self.made == self.steps)[:, None]
        return torch.where(over, 1, self.sizes[:, self.made.clamp(max=self.steps - 1)].T)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDictBase:
        starting = self._starting(tensordict)
        self.made = torch.where(starting, 0, self.made)
        return self._out(self._observations(), self.made == self.steps)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        actions = tensordict.get((GROUP, "action"))
        if bool(((actions < 0) | (actions >= self._at_hand())).any()):
            raise ValueError(
                "a masked choice was taken: draw with `action_mask`, through TorchRL's transform ActionMask"
            )
        self.codes.scatter_(2, self.made[:, None, None].expand(-1, len(self.agents), 1), actions[..., None])
        self.made = self.made + 1
        done = self.made == self.steps
        rewards = torch.zeros(self.n, 1, device=self.device)
        if bool(done.any()):
            rewards[done] = self._rewards(self.codes[done])
        return self._out(self._observations(rewards), done)


class TorchRLBoxEnv(GroupEnv):
    """One step; each number of [-1, 1] picks one of equally wide intervals, one for each choice, as in `box_env`.

    Actions are (n, agents, steps); what lies behind an agent's last decision does nothing.

    Raises:
        ValueError: in a step, if an action is not finite.
    """

    def __init__(self, env: AutoMLEnv, num_envs: int = 24, device: torch.device | str = "cpu") -> None:
        super().__init__(env, num_envs, device)
        self.width = self.states.shape[2]
        self._specify(Bounded(-1.0, 1.0, shape=(num_envs, *self.sizes.shape), dtype=torch.float32))

    def _observations(self, rewards: Tensor | None = None) -> dict[str, Any]:
        states = self.states.clone()  # what users write into is theirs
        return {GROUP: self._group(rewards, observation=states), "state": self.states.flatten(1).clone()}

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDictBase:
        starting = self._starting(tensordict)
        return self._out(self._observations(), torch.zeros_like(starting))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        actions = tensordict.get((GROUP, "action"))
        if not bool(actions.isfinite().all()):
            raise ValueError("an action is not finite")
        index = ((actions + 1.0) / 2.0 * self.sizes).floor().long()
        rewards = self._rewards(torch.minimum(index.clamp(min=0), self.sizes - 1))
        return self._out(self._observations(rewards), torch.ones(self.n, dtype=torch.bool, device=self.device))


VIEWS: dict[View, type[TorchRLEnv]] = {"native": TorchRLNativeEnv, "token": TorchRLTokenEnv, "box": TorchRLBoxEnv}


def torchrl_env(
    id: str,
    evaluator: str | None = None,
    *,
    view: View = "native",
    num_envs: int = 24,
    tensors: torch.device | str = "cpu",
    **options: Any,
) -> TorchRLEnv:
    """Make a batched TorchRL environment of a named game; other options are those of `parallel_env`.

    Args:
        id: of the game.
        evaluator: see `make_game`.
        view: `native`, `token` or `box`.
        num_envs: pipelines at once.
        tensors: device of the tensors that go in and out.
        **options: of `make_game`.

    Raises:
        ValueError: if there is no such view, or as `make_game`.
    """
    if view not in VIEWS:
        raise ValueError(f"the views are {', '.join(VIEWS)}, not {view!r}")
    return VIEWS[view](parallel_env(id, evaluator, **options), num_envs, tensors)
