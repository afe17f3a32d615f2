"""F8: a training that runs out of memory costs one job, which is tried once more with micro-batches."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.training import loop, numerics, parts, step
from ma2ml_env.training.data.source import DataSource

SOURCE = DataSource("digits", limit=100)


class Greedy(nn.Module):
    """A network without batch norm that holds `most` images in training, and no more."""

    def __init__(self, most, error, *, image, **rest):
        super().__init__()
        self.most, self.error = most, error
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(image.channels * image.size**2, 16), nn.ReLU(), nn.Linear(16, image.classes)
        )

    def forward(self, images):
        if self.training and len(images) > self.most:
            raise {
                "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
                "host": MemoryError(),
                "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            }[self.error]
        return self.layers(images)


def job(number=0, most=1000, error="cuda", **changes):
    network = Spec("greedy", {"most": most, "error": error})
    recipe = Recipe(network=network, crop_padding=0, flip=False, cutout=0, epochs=2, batch_size=40, clip_norm=0.0)
    return Job(number, replace(recipe, **changes), {}, 5, 0.5)


@pytest.fixture(autouse=True)
def _greedy(monkeypatch):
    monkeypatch.setitem(parts.NETWORKS, "greedy", Greedy)


def make_trainer():
    """In a worker, which has the module's own table of networks."""
    parts.NETWORKS["greedy"] = Greedy
    return Train(SOURCE)


@pytest.mark.parametrize("error", ["cuda", "host", "cpu"])
def test_f8_retried_once_in_parts_at_the_same_effective_batch(error):
    [(_, calm)] = Train(SOURCE).evaluate([job()])
    [(_, found)] = Train(SOURCE).evaluate([job(most=10, error=error)])
    assert (found.status, found.attempts, found.metrics["micro_batch"]) == ("ok", 2, 10.0)
    assert (calm.status, calm.attempts) == ("ok", 1)
    assert "micro_batch" not in calm.metrics
    assert found.metrics["steps"] == calm.metrics["steps"]  # as many updates: the effective batch is the same
    assert found.metrics["train_loss"] == pytest.approx(calm.metrics["train_loss"], rel=1e-5)


def test_f8_what_does_not_fit_in_parts_either_fails_and_the_others_do_not():
    found = dict(Train(SOURCE).evaluate([job(0, most=9), job(1)]))
    assert [(found[i].status, found[i].error, found[i].attempts) for i in (0, 1)] == [
        ("failed", "OOM", 2),
        ("ok", "", 1),
    ]
    assert "out of memory" in found[0].note


@pytest.mark.slow
def test_f8_in_a_pool_it_costs_one_job_and_no_worker():
    pool = Pool(partial(make_trainer), 1)
    try:
        found = dict(pool.evaluate([job(0), job(1, most=10), job(2, most=1), job(3)]))
    finally:
        pool.close()
    assert [found[i].status for i in range(4)] == ["ok", "ok", "failed", "ok"]
    assert [found[i].attempts for i in range(4)] == [1, 2, 2, 1]


def gradient(micro_batch, batch=40):
    """Of the first step, read off the weights: plain SGD of rate 1 moves them by it."""
    one = job(optimizer=Spec("sgd", {}), learning_rate=1.0, weight_decay=0.0, warmup=0.0, batch_size=batch).recipe
    data = SOURCE.load()
    data = replace(data, train_x=data.train_x[:batch], train_y=data.train_y[:batch])
    with numerics.seeded(loop.trial_seed(5, 0), torch.device("cpu")):
        before = nn.utils.parameters_to_vector(loop.build(one, data).parameters()).detach()
    after = loop.fit(one, data, seed=5, fidelity=0.5, micro_batch=micro_batch).network
    return before - nn.utils.parameters_to_vector(after.parameters()).detach()


@pytest.mark.parametrize("micro_batch", [3, 7, 10, 20, 39])
def test_f8_the_gradient_is_that_of_the_whole_batch(micro_batch):
    whole, summed = gradient(None), gradient(micro_batch)
    assert whole.norm() > 0.1
    torch.testing.assert_close(summed, whole, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(
        gradient(None, batch=39), whole, rtol=1e-2
    )  # the control: another batch, another gradient


@pytest.mark.parametrize(
    ("count", "most", "sizes"), [(40, 10, [10] * 4), (10, 4, [4, 3, 3]), (3, 2, [3]), (5, 2, [3, 2]), (2, 2, [2])]
)
def test_f8_no_part_is_a_single_image(count, most, sizes):
    images = torch.zeros(count, 1)
    assert [len(x) for x, _ in step.micro_batches(images, images, most)] == sizes
