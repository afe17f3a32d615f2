"""Independent PPO of one's own, in torch: a network for each agent, a head for each decision. `python examples/ippo.py`."""

import numpy as np
import torch
from torch.distributions import Categorical
from torch.nn import Linear, Sequential, Tanh

import ma2ml_env

BATCH, EPOCHS, CLIP = 24, 4, 0.2


def play(observation, pipelines=2016, seed=0, game="cifar10-v0", rate=1e-3):
    """Return the mean reward of each batch."""
    torch.manual_seed(seed)
    env = ma2ml_env.parallel_env(game, evaluator="surrogate", observation=observation)
    env.reset(seed=seed)
    nvec = {a: env.action_space(a).nvec.tolist() for a in env.possible_agents}
    width = env.state_space.shape[0] // len(nvec)
    nets = {a: Sequential(Linear(width, 64), Tanh(), Linear(64, 64), Tanh(), Linear(64, sum(nvec[a]))) for a in nvec}
    adams = {a: torch.optim.Adam(net.parameters(), lr=rate) for a, net in nets.items()}
    means = []
    for _ in range(pipelines // BATCH):
        seen = dict(zip(nvec, torch.from_numpy(env.upcoming(BATCH)).unbind(1), strict=True))
        heads = {a: [Categorical(logits=part) for part in nets[a](seen[a]).split(nvec[a], 1)] for a in nvec}
        codes = {a: [head.sample() for head in heads[a]] for a in nvec}
        actions = {a: torch.stack(codes[a], 1).numpy() for a in nvec}
        rewards = torch.from_numpy(env.evaluate_batch(actions)).float()  # one pipeline, one reward: everybody's
        advantage = (rewards - rewards.mean()) / (rewards.std() + 1e-8)
        for a in nvec:
            before = sum(head.log_prob(code) for head, code in zip(heads[a], codes[a], strict=True)).detach()
            for _ in range(EPOCHS):
                parts = zip(nets[a](seen[a]).split(nvec[a], 1), codes[a], strict=True)
                ratio = (sum(Categorical(logits=part).log_prob(code) for part, code in parts) - before).exp()
                adams[a].zero_grad()
                torch.maximum(-ratio * advantage, -ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean().backward()
                adams[a].step()
        means.append(float(rewards.mean()))
    return means


if __name__ == "__main__":
    means = play("constant")
    print(f"mean reward of the first ten batches {np.mean(means[:10]):.3f}, of the last ten {np.mean(means[-10:]):.3f}")
