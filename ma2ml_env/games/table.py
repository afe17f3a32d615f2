"""Named games over tables: what others measured is looked up, so a search takes seconds and its optimum may be known.

A table holds trainings at full length only: the search's fidelity is 1.
"""

from dataclasses import replace

from ma2ml_env.game import Protocol
from ma2ml_env.games.named import NamedGame
from ma2ml_env.recipe import Recipe, Spec


def _base(network: str, epochs: int, optimizer: str) -> Recipe:
    """What a table does not vary, at its neutral value: it names pipelines, nobody trains them."""
    return Recipe(
        network=Spec(network), optimizer=Spec(optimizer), epochs=epochs, crop_padding=0, flip=False, cutout=0, warmup=0.0,
        clip_norm=0.0, drop_path=0.0, auxiliary=0.0,
    )  # fmt: skip


def _protocol(epochs: int) -> Protocol:
    return Protocol(budget=504, batch=24, top_k=30, proxy_epochs=epochs, final_epochs=epochs)


JAHS_EARLY = NamedGame(
    id="jahs-early-v0",
    title="the early snapshot of a JAHS surrogate on CIFAR-10 (not the released one): cell and scale, training, TrivialAugment",
    data="jahs_early",
    base=_base("nasbench201", 200, "sgd"),
    protocol=_protocol(200),
    modules=(("aug_trivial", {}), ("nas_jahs", {}), ("hpo_jahs", {})),
    evaluator="table",
)
JAHS_EARLY_60M = replace(
    JAHS_EARLY, id="jahs-early-60m-v0", title="jahs-early-v0 with the reward accuracy x (MACs / 60M)^-0.07", flops_limit=60e6,
)  # fmt: skip

HPOBENCH_AUSTRALIAN = NamedGame(
    id="hpobench-australian-v0",
    title="HPOBench's perceptrons on australian: depth and width, and three hyper-parameters",
    data="hpobench",
    base=_base("mlp", 243, "adam"),
    protocol=_protocol(243),
    modules=(("nas_mlp", {}), ("hpo_mlp", {})),
    source={"dataset": "australian"},
    evaluator="table",
)
HPOBENCH_CAR = replace(
    HPOBENCH_AUSTRALIAN, id="hpobench-car-v0", title="HPOBench's perceptrons on car", source={"dataset": "car"},
)  # fmt: skip
HPOBENCH_PHONEME = replace(
    HPOBENCH_AUSTRALIAN, id="hpobench-phoneme-v0", title="HPOBench's perceptrons on phoneme", source={"dataset": "phoneme"},
)  # fmt: skip
HPOBENCH_CREDIT_G = replace(
    HPOBENCH_AUSTRALIAN, id="hpobench-credit-g-v0", title="HPOBench's perceptrons on credit_g", source={"dataset": "credit_g"},
)  # fmt: skip

NASBENCH201_CIFAR10 = NamedGame(
    id="nasbench201-cifar10-v0",
    title="NAS-Bench-201's cells on CIFAR-10, each half of the edges an agent",
    data="nasbench201",
    base=_base("nasbench201", 200, "sgd"),
    protocol=_protocol(200),
    modules=(("nas_edges", {"name": "inner"}), ("nas_edges", {"name": "outer"})),
    evaluator="table",
)
