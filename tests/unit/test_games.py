from typing import get_type_hints

import numpy as np
import pytest

from ma2ml_env.evaluators.base import Evaluator
from ma2ml_env.evaluators.landscape import Landscape
from ma2ml_env.evaluators.placement import Placement
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.wrap import Feasible
from ma2ml_env.game import Protocol
from ma2ml_env.games.make import make_game
from ma2ml_env.games.options import DATA, sort_options
from ma2ml_env.modules.hpo_sgd import HpoSgd
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import resolve
from ma2ml_env.reward import Accuracy, FlopsReward
from ma2ml_env.training.data.source import DataSource


def test_the_papers_protocol():
    game = make_game("cifar10-v0", "surrogate")
    assert vars(game.protocol) == {
        "budget": 5016, "batch": 24, "top_k": 30, "proxy_epochs": 12, "final_epochs": 600, "repeats": 5,
    }  # fmt: skip
    network = game.base.network.args
    assert (network["cells"], network["reductions"], network["filters"]) == (17, (5, 11), 36)
    assert isinstance(game.reward, Accuracy)
    assert make_game("cifar100-v0", "surrogate").protocol.budget == 4008
    assert make_game("cifar10-600m-v0", "surrogate").reward == FlopsReward(600e6)
    assert sum(len(nvec) for nvec in game.spec.nvec.values()) == 100


def test_digits():
    game = make_game("digits-v0", "surrogate")
    assert game.protocol.budget == 192
    assert game.protocol.proxy_epochs == 2
    assert game.base.flip is False
    assert (game.base.network.args["cells"], game.base.network.args["filters"]) == (3, 4)


def test_overrides_go_to_the_one_place_that_has_them():
    game = make_game(
        "cifar10-v0", "surrogate", cells=5, filters=8, budget=48, final_epochs=20, batch_size=32, noise=0.0
    )
    assert game.base.network.args["cells"] == 5
    assert game.protocol.budget == 48
    assert game.base.epochs == 20
    assert game.base.batch_size == 32
    assert game.evaluator.landscape.noise == 0.0


def test_crop_and_cutout_of_own_images_grow_with_their_side():
    """The paper's 4 and 16 pixels are of images of 32; what is said by hand stands."""

    def base(id="own-v0", **options):
        recipe = make_game(id, "surrogate", **options).base
        return recipe.crop_padding, recipe.cutout

    assert base() == base(size=32) == (4, 16)
    assert base(size=64) == (8, 32)
    assert base(size=8) == (1, 4)
    assert base(size=64, cutout=10) == (8, 10)
    assert base(size=64, crop_padding=0) == (0, 32)
    assert base("imagenet200-v0", size=64) == base("imagenet200-v0"), "whose recipe is made for its own side"


def test_modules_and_rewards():
    game = make_game("cifar10-v0", "surrogate", modules=["aug", HpoSgd(3)], flops_limit=1e6)
    assert list(game.spec.nvec) == ["aug", "hpo"]
    assert len(game.spec.nvec["hpo"]) == 6
    assert game.reward == FlopsReward(1e6)
    assert make_game("cifar10-v0", "surrogate", reward="hard", flops_limit=1e6).reward.hard
    assert isinstance(make_game("cifar10-600m-v0", "surrogate", reward="accuracy").reward, Accuracy)
    assert make_game("cifar10-v0", "surrogate", modules=["nas_cell"]).spec.nvec.keys() == {"nas"}


def test_metric_of_a_reward():
    assert make_game("digits-v0", metric="macro_f1", reward="accuracy", device="cpu").reward == Accuracy("macro_f1")
    game = make_game("digits-v0", metric="log_loss", reward="hard", flops_limit=1e5, halving=[0.5], device="cpu")
    assert game.reward == FlopsReward(1e5, hard=True, metric="log_loss")
    assert game.evaluator.inner.inner.metric == "log_loss", "a halving ranks by it, too"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"metric": "macrof1"}, "unknown metric 'macrof1'; did you mean 'macro_f1'"),
        (
            {"metric": "macro_f1", "evaluator": "surrogate"},
            "metric macro_f1 is for what is trained; the evaluator surrogate",
        ),
        (
            {"metric": "macro_f1", "reward": FlopsReward(1e6)},
            "metric macro_f1 is for the rewards accuracy, flops and hard",
        ),
        ({"metric": "top5_accuracy"}, "metric top5_accuracy: it needs at least 6 classes, and the data have 3"),
        ({"class_weights": "inverse"}, "option 'class_weights' is 'none' or 'balanced', not 'inverse'"),
    ],
)
def test_impossible_metrics_are_refused(how, message, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "three.npz", x_train=rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), y_train=np.arange(60) % 3
    )
    with pytest.raises(ValueError, match=message):
        make_game("own-small-v0", **{"npz": tmp_path / "three.npz", "size": 8, "device": "cpu"} | how)


def test_a_hard_reward_refuses_by_its_own_limit():
    """Not by the game's: what it pays is trained, and what it does not pay is not."""
    game = make_game("digits-v0", reward=FlopsReward(1e6, hard=True), device="cpu")  # whose own limit is 215e3
    assert isinstance(game.evaluator.inner, Feasible)
    assert game.evaluator.inner.max_flops == 1e6


def test_the_landscape_depends_on_the_games_seed_alone():
    one, same, other = (make_game("cifar10-v0", "surrogate", seed=s).evaluator.optimum()[0] for s in (1, 1, 2))
    assert one == same != other


def test_pool_trains_in_processes_and_train_in_this_one():
    from ma2ml_env.evaluators.train import Train
    from ma2ml_env.evaluators.workers.pool import Pool

    assert isinstance(make_game("digits-v0", "pool").evaluator.inner, Pool)
    assert isinstance(make_game("digits-v0", "train").evaluator.inner, Train)
    assert isinstance(make_game("digits-v0", "train", workers=2).evaluator.inner, Pool)
    with pytest.raises(ValueError, match="workers is at least 1"):
        make_game("digits-v0", workers=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar-10-v0", "surrogate"), "unknown game 'cifar-10-v0'; did you mean 'cifar10-v0'"),
        (("digits-v0", "surogate"), "unknown evaluator 'surogate'; did you mean 'surrogate'"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_game(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sise": 3}, "unknown option 'batch_sise' of a game; did you mean 'batch_size'"),
        ({"modules": ["augm"]}, "unknown module 'augm'; did you mean 'aug'"),
        ({"modules": "aug"}, r"modules is a list of modules, as in \['aug'\]"),
        ({"reward": "flops"}, "needs a limit on MACs"),
        ({"reward": "accuracy", "flops_limit": 5e5}, "flops_limit is for the rewards flops and hard"),
        ({"reward": FlopsReward(1e6), "flops_limit": 5e5}, "flops_limit is for the rewards flops and hard"),
        ({"reward": "flopps"}, "unknown reward"),
        ({"flops_limit": -5}, "must be positive"),
        ({"noise": -1}, "noise lies in"),
        ({"main": 0.9, "across": 0.4}, "add up to at most 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_game("cifar10-v0", "surrogate", **options)


def inner(game):
    """Past the cache."""
    return game.evaluator.inner


def test_loose_names_and_objects_are_the_same_game():
    loose = make_game("digits-v0", limit=100, validation=50, seed=3, workers=2, time_limit=60.0, device="cpu")
    source, placement = DataSource("digits", limit=100, validation=50, seed=3), Placement(workers=2, time_limit=60.0)
    objects = make_game("digits-v0", source=source, placement=placement, device="cpu")
    for game in (loose, objects):
        assert (inner(game).workers, inner(game).time_limit) == (2, 60.0)
        game.evaluator.close()
    assert (
        sort_options(resolve("games", "digits-v0"), "train", {"limit": 100, "validation": 50}, seed=3).source == source
    )


def test_a_source_as_an_object_has_its_own_seed_and_size():
    source = DataSource("digits", size=16, seed=4)
    assert inner(make_game("digits-v0", source=source, seed=9, device="cpu")).source is source
    own = sort_options(resolve("games", "own-v0"), "train", {}, source=DataSource("npz", "x.npz", size=64))
    assert (own.base.crop_padding, own.base.cutout) == (8, 32)  # as --size 64 does


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {"source": DataSource("digits"), "data": "DIR"}, "source is given as an object, and data beside it"),
        ((), {"source": DataSource("digits"), "limit": 50}, "and limit beside it"),
        (
            (),
            {"placement": Placement(workers=2), "time_limit": 5.0},
            "placement is given as an object, and time_limit",
        ),
        (("ray_pool",), {"placement": Placement(workers=2)}, "and engine beside it"),
        (("surrogate",), {"source": DataSource("digits")}, "a source is for what is trained"),
        ((), {"gpus": 0.5}, "address and gpus are of the evaluator ray_pool"),
        ((), {"engine": "cloud"}, "'local' or 'pool' or 'ray', not 'cloud'"),
        ((), {"workers": "2"}, "option 'workers' is a whole number, not '2'"),
        ((), {"wokers": 2}, "did you mean 'workers'"),
    ],
)
def test_an_option_is_said_once_and_of_its_kind(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        make_game("digits-v0", *arguments, **options)


def test_what_does_not_train_takes_the_names_of_who_does():
    options = {"data": "DIR", "download": True, "workers": 4, "device": "cpu", "time_limit": 5.0}
    assert make_game("cifar10-v0", "surrogate", main=0.4, **options).evaluator.landscape.main == 0.4


@pytest.mark.parametrize(("evaluator", "options"), [("ray_pool", {}), ("train", {"engine": "ray"})])
def test_a_trainer_is_placed_on_ray(evaluator, options, monkeypatch):
    """By either name; Ray itself is not asked."""
    monkeypatch.setattr("ma2ml_env.evaluators.workers.ray_pool.RayPool", FakeRay)
    on_gpus = make_game("digits-v0", evaluator, workers=3, address="auto", gpus=0.5, time_limit=9.0, **options)
    told = {"address": "auto", "gpus": 0.5, "time_limit": 9.0}
    assert (inner(on_gpus).workers, inner(on_gpus).options) == (3, told)
    assert inner(make_game("digits-v0", evaluator, gpus=0.5, device="cpu", **options)).options["gpus"] == 0.0


class FakeRay(Evaluator):
    def __init__(self, factory, workers, schedule, **options):
        self.workers, self.options = workers, options

    def evaluate(self, jobs):
        raise AssertionError("nothing is evaluated here")


def test_names_of_options_are_nobody_elses():
    """Else the first home in `sort_options` would take what is meant for another."""
    homes = [DATA, *(get_type_hints(kind) for kind in (Placement, Protocol))]
    homes += [get_type_hints(Recipe), make_game("cifar10-v0", "surrogate").base.network.args]
    for own in ([get_type_hints(Landscape)], [get_type_hints(DataSource), get_type_hints(Train.__init__)]):
        names = [name for home in (*homes, *own) for name in home if name not in (*SHARED, "return")]
        assert sorted(names) == sorted(set(names))


SHARED = ("download", "size", "seed", "folder", "fit", "background", "cache", "skip_bad", "groups", "epochs")
"""of the source, which the game sets; `epochs` is the protocol's final_epochs"""
