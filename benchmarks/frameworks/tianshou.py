"""tianshou: a DQN for each agent on the token view in turns, with masks.

Its wrapper of PettingZoo wants agents of equal spaces, so the native view is refused. An agent's reward is what was paid in the
step in which it acted, and ours comes with the last agent's last decision: with one-step returns two agents of three would
learn from zeros. n-step returns that reach over a whole episode give it to all. And version 2.0.1 tells no agent's policy that
it is being trained, so that agents explore by `eps_inference` and never by `eps_training`.
"""

import numpy as np
import torch
from pettingzoo.utils import parallel_to_aec
from tianshou.algorithm import DQN, MultiAgentOffPolicyAlgorithm
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.env.pettingzoo_env import PettingZooEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

from frameworks import Make
from ma2ml_env.views.token import TokenParallelEnv


def in_turns(make: Make) -> PettingZooEnv:
    """The token view, agents one after another, as tianshou takes it."""
    return PettingZooEnv(parallel_to_aec(TokenParallelEnv(make(), mask="dict")))


def train(
    make: Make,
    pipelines: int,
    seed: int,
    *,
    envs: int,
    lr: float,
    explore: float,
    least: float,
    updates: int,
    batch_size: int,
) -> None:
    """Collect `envs` episodes, take `updates` steps, and again; exploration falls to `least` within `explore` of all."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (what tianshou explores by)
    env = in_turns(make)
    steps = env.env.unwrapped.steps * len(env.agents)
    width, actions = env.observation_space["observation"].shape, int(env.action_space.n)

    def dqn() -> DQN:
        net = Net(state_shape=width, action_shape=actions, hidden_sizes=[64, 64])
        policy = DiscreteQLearningPolicy(model=net, action_space=env.action_space, eps_inference=1.0)
        return DQN(policy=policy, optim=AdamOptimizerFactory(lr=lr), gamma=1.0, n_step_return_horizon=steps)

    agents = [dqn() for _ in env.agents]
    made = MultiAgentOffPolicyAlgorithm(algorithms=agents, env=env)
    played = DummyVectorEnv([lambda: in_turns(make) for _ in range(envs)])
    collector = Collector(made, played, VectorReplayBuffer(steps * pipelines, envs), exploration_noise=True)

    def explores(epoch: int, step: int) -> None:
        for agent in agents:
            agent.policy.set_eps_inference(max(least, 1.0 - step / (explore * pipelines * steps)))

    collector.reset()
    made.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=(pipelines + envs) * steps,
            collection_step_num_env_steps=None,
            collection_step_num_episodes=envs,
            update_step_num_gradient_steps_per_sample=updates / (envs * steps),
            batch_size=batch_size,
            training_fn=explores,
            multi_agent_return_reduction=lambda returns: returns[:, 0],
            verbose=False,
        )
    )
