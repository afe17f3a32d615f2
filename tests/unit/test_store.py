"""The run's folder: what goes in comes out, exactly, and what does not belong is refused."""

import json
import sqlite3
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch

from ma2ml_env.io.state import pack, unpack
from ma2ml_env.store.database import _SCHEMA, Database
from ma2ml_env.store.mirror import read_mirror
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Proposal, Trial

PROPOSALS = [Proposal({"a": (i, 1)}, {"a": (0.1 * i, -1 / 3)}, {"a": -0.7}, "policy") for i in range(4)]
SEEDS = [11, 22, 33, 2**62]


def played(first=0, rewards=(0.5, 0.75, 0.0, 0.75)):
    return [
        Trial(first + i, SEEDS[i], PROPOSALS[i], Outcome(accuracy=r, metrics={"loss": 0.1}, note="ä"), r)
        for i, r in enumerate(rewards)
    ]


def fill(store, batches=1):
    for batch in range(batches):
        trials = played(4 * batch)
        store.propose(batch, 4 * batch, PROPOSALS, SEEDS)
        for trial in reversed(trials):
            store.add_outcome(trial.number, trial.outcome)
        store.close_batch(batch, trials, {"batch": batch})


def test_trials_come_back_in_order_and_only_those_of_closed_batches(tmp_path):
    with TrialStore(tmp_path / "run") as store:
        fill(store)
        store.propose(1, 4, PROPOSALS, SEEDS)
        store.add_outcome(6, Outcome(accuracy=0.25))
        assert list(store.trials()) == played()
        assert store.stored_proposals(1) == PROPOSALS
        assert store.stored_proposals(2) == []
        assert store.outcomes(1) == {6: Outcome(accuracy=0.25)}
    with TrialStore(tmp_path / "run", create=False) as store:
        assert list(store.trials()) == played()
        assert store.outcomes(1) == {6: Outcome(accuracy=0.25)}
        assert store.check() == []


def test_mirror_holds_a_digested_line_for_each_finished_trial(tmp_path):
    with TrialStore(tmp_path) as store:
        fill(store, batches=2)
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(8))
    assert read_mirror(tmp_path / "trials.jsonl") == (played() + played(4), [])


@pytest.mark.parametrize("kind", [np.float64, np.float32, int])
def test_a_reward_of_any_kind_of_number_comes_back_whole(tmp_path, kind):
    """numpy's have another `repr`, which the digest is of."""
    trials = [replace(trial, reward=kind(trial.outcome.accuracy)) for trial in played(rewards=(0.5, 1.0, 0.0, 0.25))]
    with TrialStore(tmp_path) as store:
        store.propose(0, 0, PROPOSALS, SEEDS)
        for trial in trials:
            store.add_outcome(trial.number, trial.outcome)
        store.close_batch(0, trials, {})
        assert store.check() == []
        assert [trial.reward for trial in store.trials()] == [float(trial.reward) for trial in trials]


def test_a_reader_leaves_a_folder_that_it_may_not_write_as_it_is(tmp_path, monkeypatch):
    with TrialStore(tmp_path / "run") as store:
        fill(store)
    before = sorted((tmp_path / "run").iterdir())
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with TrialStore(tmp_path / "run", create=False) as store:
        assert list(store.trials()) == played()
        assert sorted((tmp_path / "run").iterdir()) == before  # SQLite would have put two files beside its own


def test_a_proposed_batch_must_be_the_stored_one_byte_for_byte(tmp_path):
    with TrialStore(tmp_path) as store:
        store.propose(0, 0, PROPOSALS, SEEDS)
        store.propose(0, 0, PROPOSALS, SEEDS)
        changed = [
            *PROPOSALS[:2],
            Proposal({"a": (2, 1)}, {"a": (0.2, np.nextafter(-1 / 3, 0))}, {"a": -0.7}),
            PROPOSALS[3],
        ]
        with pytest.raises(ValueError, match="first difference: trial 2 of batch 0"):
            store.propose(0, 0, changed, SEEDS)
        with pytest.raises(ValueError, match="first difference: trial 3"):
            store.propose(0, 0, PROPOSALS, [11, 22, 33, 44])
        with pytest.raises(ValueError, match="first difference: trial 3"):
            store.propose(0, 0, PROPOSALS[:3], SEEDS[:3])


def test_outcome_without_a_proposal_and_reward_that_is_not_finite_are_refused(tmp_path):
    with TrialStore(tmp_path) as store:
        with pytest.raises(ValueError, match="trial 3 was not proposed"):
            store.add_outcome(3, Outcome())
        store.propose(0, 0, PROPOSALS[:1], SEEDS[:1])
        bad = Trial(0, 11, PROPOSALS[0], Outcome(), float("nan"))
        with pytest.raises(ValueError, match="rewards are finite"):
            store.close_batch(0, [bad], {})
        assert store.learner_state() is None
        assert list(store.trials()) == []


def test_config_is_kept_and_another_game_is_refused_with_both_values(tmp_path):
    config = {"game": "digits-v0", "budget": 192, "learner_config": {"lr": 0.1}, "shape": (1, 2)}
    with TrialStore(tmp_path) as store:
        assert store.config == {}
        store.configure(config)
    with TrialStore(tmp_path) as store:
        with pytest.raises(ValueError, match=r"budget is 192 there and 240 here"):
            store.configure({**config, "budget": 240})
        store.configure({**config, "budget": 240}, safe=("budget",))
        assert store.config == {**config, "budget": 240, "shape": [1, 2]}
        with pytest.raises(ValueError, match=r'another game: game is "digits-v0" there and "cifar10-v0" here'):
            store.configure({**config, "game": "cifar10-v0"}, safe=("budget",))
        with pytest.raises(ValueError, match=r"learner_config.lr is 0.1 there and 0.2 here"):
            store.configure({**config, "learner_config": {"lr": 0.2}}, safe=("budget",))
        with pytest.raises(ValueError, match=r"shape is .* there and null here"):
            store.configure({"game": "digits-v0", "learner_config": {"lr": 0.1}}, safe=("budget",))
        assert store.config["budget"] == 240


def test_a_config_that_is_older_than_a_key_has_its_usual_value(tmp_path):
    with TrialStore(tmp_path) as store:
        store.configure({"game": "digits-v0"})
        store.configure({"game": "digits-v0", "engine": "local"}, usual={"engine": "local"})
        with pytest.raises(ValueError, match='engine is "local" there and "ray" here'):
            store.configure({"game": "digits-v0", "engine": "ray"}, usual={"engine": "local"})


def test_folders_that_are_no_run(tmp_path):
    with pytest.raises(ValueError, match="is not a run"):
        TrialStore(tmp_path, create=False)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="not a run and not empty"):
        TrialStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert list(TrialStore(tmp_path / "later").trials()) == []
    assert not (tmp_path / "later").exists()  # reading makes nothing


def test_best_is_written_whole_and_only_if_it_is_another(tmp_path):
    with TrialStore(tmp_path) as store:
        store.write_best(played()[1], recipe={"epochs": 3}, values={"a": {"depth": 1}})
        path = tmp_path / "best.json"
        best, stamp = json.loads(path.read_text()), path.stat().st_ino
        keys = ["number", "reward", "accuracy", "flops", "params", "seed", "codes", "values", "recipe", "digest"]
        assert list(best) == keys
        assert (best["number"], best["codes"], best["recipe"]) == (1, {"a": [1, 1]}, {"epochs": 3})
        store.write_best(played()[1], recipe={"epochs": 3}, values={"a": {"depth": 1}})
        assert path.stat().st_ino == stamp
        store.write_best(played()[3])
        assert path.stat().st_ino != stamp
        assert not list(tmp_path.glob(".*"))


def test_a_reader_needs_no_lock_and_sees_what_is_closed(tmp_path):
    with TrialStore(tmp_path) as driver, TrialStore(tmp_path) as reader:
        assert list(reader.trials()) == []
        fill(driver)
        assert list(reader.trials()) == played()
        driver.propose(1, 4, PROPOSALS, SEEDS)
        assert list(reader.trials()) == played()
        driver.close_batch(1, played(4), {})
        assert len(list(reader.trials())) == 8


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.contiguous().numpy().tobytes() == b.numpy().tobytes()
    elif isinstance(a, (np.ndarray, np.generic)):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, float):
        assert np.float64(a).tobytes() == np.float64(b).tobytes()
    else:
        assert a == b


def test_state_is_exact_to_the_bit():
    rng = np.random.default_rng(0)
    rng.random(5)
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam([torch.nn.Parameter(weights.clone())])
    optimizer.param_groups[0]["params"][0].grad = weights.clone()
    optimizer.step()
    state = {
        "pcg": rng.bit_generator.state,  # integers of 128 bits
        "mt": torch.Generator().manual_seed(1).get_state(),  # uint8
        "floats": [0.1, -0.0, 5e-324, float("inf"), float("-inf"), float("nan"), 1e300, 3.0],
        "ints": [0, -1, 2**63, -(2**200)],
        "words": ["", "ä\n", "$tensor"],
        "nothing": [None, True, False, {}, [], ()],
        "tensors": [weights, weights.T, weights[::2, 1:3], torch.tensor(1.5), torch.empty(0, 3), torch.tensor(True)],
        "half": torch.arange(3, dtype=torch.float16),
        "parameter": weights.clone(),
        "arrays": [
            np.arange(6).reshape(2, 3).T,
            np.float32(0.1),
            np.int8(-3),
            np.zeros((0, 2), np.uint16),
            np.array(2.5),
        ],
        "nan": np.array([np.nan, -0.0, np.inf], dtype=np.float32),
        "optimizer": optimizer.state_dict(),  # keys that are integers, tuples
        "marks": {"$array": 1, "ordinary": 2},
    }
    back = unpack(*pack(state))
    assert_same(state, back)
    back["arrays"][0][0, 0] = 9  # writable, and its own
    assert state["arrays"][0][0, 0] == 0
    other = np.random.default_rng(9)
    other.bit_generator.state = back["pcg"]
    assert other.random() == rng.random()


def test_state_refuses_what_it_cannot_hold_and_says_where():
    with pytest.raises(ValueError, match=r"state\.deep\[1\]\.x is a set"):
        pack({"deep": [0, {"x": {1}}]})
    with pytest.raises(ValueError, match=r"state\.names has the type <U1"):
        pack({"names": np.array(["a"])})
    with pytest.raises(ValueError, match=r"state\.b is a tensor of torch.bfloat16"):
        pack({"b": torch.zeros(1, dtype=torch.bfloat16)})
    text, blob = pack({"w": np.ones(2)})
    for broken in [(text, blob[:-1]), (text, b""), ("[1]", blob), ("{", blob), ('{"w":{"$array":"7"}}', blob)]:
        with pytest.raises(ValueError, match=r"."):
            unpack(*broken)
    with pytest.raises(ValueError, match="unknown mark"):
        unpack('{"w":{"$import":"0"}}', blob)


def test_the_store_loads_without_torch():
    modules = "ma2ml_env.store.store, ma2ml_env.evaluators.wrap, ma2ml_env.evaluators.workers.pool"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_reader_that_comes_while_a_run_is_made_sees_nothing_or_all(tmp_path):
    path = tmp_path / "run.sqlite"
    path.touch()
    reader = Database(path)
    real = reader.connection

    class MadeMeanwhile:
        """The reader's connection; another process makes the run after its first look."""

        def execute(self, query):
            found = real.execute(query).fetchall()
            if "application_id" in query:
                maker = sqlite3.connect(path, isolation_level=None, timeout=0)
                with suppress(sqlite3.OperationalError):  # it has to wait until the reader has seen enough
                    maker.executescript("; ".join(["BEGIN", *_SCHEMA, "COMMIT"]))
                maker.close()
            return Found(found)

    class Found(list):
        def fetchall(self):
            return self

        def fetchone(self):
            return self[0] if self else None

    reader.connection = MadeMeanwhile()
    assert reader.is_run() in (False, True)  # and no error
    real.close()
