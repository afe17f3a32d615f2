"""A MARL loop of one's own on the environment: independent REINFORCE in numpy, one table of logits for each agent.

    python examples/own_marl_loop.py

The surrogate answers in a fraction of a millisecond. With `evaluator="train"` the same loop trains real pipelines.
"""

import numpy as np

import ma2ml_env

BATCH, BATCHES, RATE = 24, 200, 2.0
env = ma2ml_env.parallel_env("cifar10-v0", evaluator="surrogate")
env.reset(seed=0)
rng = np.random.default_rng(0)
logits = {agent: [np.zeros(n) for n in space.nvec] for agent, space in env.action_spaces.items()}
means = []
for _ in range(BATCHES):
    policies = {agent: [np.exp(row) / np.exp(row).sum() for row in rows] for agent, rows in logits.items()}
    actions = {
        agent: np.stack([rng.choice(len(p), BATCH, p=p) for p in policy], 1) for agent, policy in policies.items()
    }
    rewards = env.evaluate_batch(actions)  # (BATCH,): one pipeline, one reward, shared by all agents
    advantage = (rewards - rewards.mean()) / (rewards.std() + 1e-8)
    for agent, policy in policies.items():  # every agent learns for itself
        for d, p in enumerate(policy):
            one_hot = np.eye(len(p))[actions[agent][:, d]]
            logits[agent][d] += RATE * (advantage[:, None] * (one_hot - p)).mean(0)
    means.append(float(rewards.mean()))

print(f"mean reward of the first 10 batches {np.mean(means[:10]):.3f}, of the last 10 {np.mean(means[-10:]):.3f}")
print(f"optimum {env.game.evaluator.optimum()[1]:.3f}")
