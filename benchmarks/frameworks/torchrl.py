"""TorchRL: its modules, collector and loss as a short multi-agent PPO on the token view, a network for each agent."""

import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import SyncDataCollector
from torchrl.modules import MaskedCategorical, MultiAgentMLP, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss, ValueEstimators

from frameworks import Make
from ma2ml_env.integrations.torchrl import GROUP, TorchRLTokenEnv

OBSERVATION, VALUE = (GROUP, "observation"), (GROUP, "state_value")


def train(make: Make, pipelines: int, seed: int, *, envs: int = 48, rate: float = 3e-3, epochs: int = 8) -> None:
    """Collect whole episodes, and take `epochs` steps on each batch."""
    torch.manual_seed(seed)
    env = TorchRLTokenEnv(make(), envs)
    env.set_seed(seed)
    agents, choices = len(env.agents), int(env.sizes.max())

    def net(outputs: int, central: bool) -> MultiAgentMLP:
        return MultiAgentMLP(env.width, outputs, agents, centralized=central, share_params=False, depth=2, num_cells=64)

    actor = ProbabilisticActor(
        TensorDictModule(net(choices, central=False), [OBSERVATION], [(GROUP, "logits")]),
        in_keys={"logits": (GROUP, "logits"), "mask": (GROUP, "action_mask")},
        out_keys=[(GROUP, "action")],
        distribution_class=MaskedCategorical,
        return_log_prob=True,
    )
    critic = TensorDictModule(net(1, central=True), [OBSERVATION], [VALUE])
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.0, normalize_advantage=True)
    ends = {name: (GROUP, name) for name in ("reward", "done", "terminated", "action")}
    loss.set_keys(value=VALUE, sample_log_prob=(GROUP, "action_log_prob"), **ends)
    loss.make_value_estimator(ValueEstimators.GAE, gamma=1.0, lmbda=1.0)
    adam = torch.optim.Adam(loss.parameters(), lr=rate)
    for data in SyncDataCollector(env, actor, frames_per_batch=envs * env.horizon, total_frames=-1):
        for end in ("done", "terminated"):  # everybody's episode ends with the pipeline
            each = data["next", end][..., None].expand_as(data["next", GROUP, "reward"])
            data["next", GROUP, end] = each
        with torch.no_grad():
            loss.value_estimator(
                data, params=loss.critic_network_params, target_params=loss.target_critic_network_params
            )
        for _ in range(epochs):
            told = loss(data)
            adam.zero_grad()
            (told["loss_objective"] + told["loss_critic"]).backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
            adam.step()
