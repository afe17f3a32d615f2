"""`--track`: trackers hear of each trial once, and whatever becomes of them, the search is the same."""

import importlib.util
import json
import shutil
import sqlite3
import sys
import types
from importlib.machinery import ModuleSpec

import pytest
from same_run import timeless

from ma2ml_agents.cli.main import main
from ma2ml_agents.run.trackers import FILE
from ma2ml_env.store.store import TrialStore

BOTH = ("mlflow", "wandb")
VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT", "WANDB_DIR", "WANDB_NAME")


class Server:
    """What the trackers of the fake modules hold: run -> (step, name, value), parameters, winner, states."""

    def __init__(self):
        self.points, self.params, self.winner, self.states = {}, {}, {}, []
        self.fails = {}  # call -> (after how many of them, what is raised)

    def called(self, call):
        after, error = self.fails.get(call, (0, None))
        self.fails[call] = (after - 1, error)
        if error is not None and after <= 0:
            raise error

    def begin(self, id, params):
        id = f"run-{len(self.points)}" if id is None else id
        self.points.setdefault(id, [])
        self.params[id] = params
        return id

    def steps(self, id, name="trial/reward"):
        return [step for step, one, _ in self.points[id] if one == name]


def fake_wandb(server):
    class Run:
        def __init__(self, id):
            self.id, self.summary = id, server.winner.setdefault(id, {})

        def log(self, values, step):
            server.called("log")
            server.points[self.id] += [(step, *item) for item in values.items()]

        def finish(self):
            server.called("finish")
            server.states.append((self.id, "finished"))

    def init(*, id, resume, config, dir, project, name, settings):
        server.called("open")
        assert resume == (None if id is None else "allow")
        return Run(server.begin(id, config))

    return {"wandb": module("wandb", init=init, Settings=dict)}


def fake_mlflow(server):
    class MlflowClient:
        def __init__(self, uri):
            server.called("open")
            server.uri = uri

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name, artifacts):
            return name

        def create_run(self, experiment, run_name):
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=server.begin(None, {})))

        def update_run(self, id, status):
            server.points[id], server.states = server.points[id], [*server.states, (id, status)]

        def get_metric_history(self, id, name):
            return [types.SimpleNamespace(step=step) for step in server.steps(id, name)]

        def log_batch(self, id, metrics=(), params=()):
            server.params[id].update(params)
            if metrics:
                server.called("log")
            server.points[id] += metrics

        def log_artifact(self, id, path):
            with open(path) as file:
                server.winner[id] = {"winner": json.load(file)}

        def set_terminated(self, id, status):
            server.called("finish")
            server.states.append((id, status))

    entities = module(
        "mlflow.entities", Param=lambda *item: item, Metric=lambda name, value, at, step: (step, name, value)
    )
    return {"mlflow": module("mlflow", MlflowClient=MlflowClient, entities=entities), "mlflow.entities": entities}


def module(name, **of):
    made = types.ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, origin="fake")
    vars(made).update(of)
    return made


@pytest.fixture
def servers(monkeypatch):
    found = {}
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, fake in (("mlflow", fake_mlflow), ("wandb", fake_wandb)):
        found[name] = Server()
        for key, value in fake(found[name]).items():
            monkeypatch.setitem(sys.modules, key, value)
    return found


def searched(run, *track, budget=6):
    words = [
        "--evaluator",
        "surrogate",
        "--learner",
        "random",
        "--budget",
        str(budget),
        "--batch",
        "2",
        "--run",
        str(run),
    ]
    return main(["search", "digits-v0", *words, *(["--track", *track] if track else [])])


def result(run):
    return (run / "best.json").read_bytes(), timeless((run / "trials.jsonl").read_bytes())


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    run = tmp_path_factory.mktemp("calm") / "run"
    assert searched(run) == 0
    return run


def test_nothing_is_written_or_imported_when_nobody_asks(servers, calm):
    assert not {FILE, *BOTH} & {path.name for path in calm.iterdir()}
    assert not any(server.points for server in servers.values())


def test_both_hear_of_every_trial_once_and_of_the_winner(tmp_path, servers, calm):
    run = tmp_path / "run"
    assert searched(run, *BOTH) == 0
    assert result(run) == result(calm)
    with TrialStore(run) as store:
        trials = list(store.trials())
    for name, server in servers.items():
        id = json.loads((run / FILE).read_bytes())[name]["id"]
        points = {(step, of): value for step, of, value in server.points[id]}
        assert len(points) == len(server.points[id])
        for trial in trials:
            outcome = trial.outcome
            told = {
                "reward": trial.reward,
                "accuracy": outcome.accuracy,
                "macs": outcome.flops,
                "seconds": outcome.seconds,
            }
            assert {of: points[trial.number, f"trial/{of}"] for of in told} == told
            best = max(each.reward for each in trials[: trial.number + 1])
            assert points[trial.number, "reward/best"] == best
        for end in (1, 3, 5):
            assert points[end, "reward/batch"] == pytest.approx((trials[end - 1].reward + trials[end].reward) / 2)
        assert server.steps(id, "batch/seconds") == server.steps(id, "learner/updates") == [1, 3, 5]
        assert str(server.params[id]["budget"]) == "6"
        assert server.winner[id]["winner"] == json.loads((run / "best.json").read_bytes())
        assert server.states[-1][1].lower() == "finished"
    assert servers["mlflow"].uri == f"sqlite:///{run}/mlflow/mlflow.db"


@pytest.mark.parametrize("call", ["open", "log", "finish"])
def test_a_tracker_that_fails_is_told_once_and_changes_nothing(tmp_path, servers, calm, caplog, call):
    for name, server in servers.items():
        server.fails[call] = (1 if call == "log" else 0, ConnectionError(f"{name} is away"))
    assert searched(tmp_path / "run", *BOTH) == 0
    assert result(tmp_path / "run") == result(calm)
    assert [f"--track {name} failed (ConnectionError: {name} is away)" in caplog.text for name in BOTH] == [True, True]
    assert len(caplog.records) == 2


def test_a_resumed_search_goes_on_in_the_same_run_and_tells_no_trial_twice(tmp_path, servers):
    run = tmp_path / "run"
    assert searched(run, *BOTH) == 0
    assert main(["resume", str(run), "--extend", "4"]) == 0
    assert main(["resume", str(run)]) == 0
    for server in servers.values():
        assert server.steps("run-0") == list(range(10))
        assert server.steps("run-0", "reward/batch") == [1, 3, 5, 7, 9]
        assert list(server.points) == ["run-0"]
    assert servers["mlflow"].states[1:3] == [("run-0", "RUNNING"), ("run-0", "FINISHED")]


@pytest.mark.parametrize("error", [ConnectionError("away"), KeyboardInterrupt()])
def test_after_a_cut_no_trial_is_told_twice(tmp_path, servers, calm, error):
    """MLflow is asked what it has; of W&B nobody can know, so what was under way then is not told again."""
    run = tmp_path / "run"
    for server in servers.values():
        server.fails["log"] = (1, error)
    for _ in range(3):  # W&B is not reached before MLflow is there again
        searched(run, *BOTH)
        for server in servers.values():
            server.fails.clear()
    assert result(run) == result(calm)
    assert servers["mlflow"].steps("run-0") == list(range(6))
    steps = servers["wandb"].steps("run-0")
    assert sorted(set(steps)) == steps
    assert steps[-1] == 5
    assert len(steps) >= 4


def test_trackers_may_come_later_and_leave(tmp_path, servers):
    run = tmp_path / "run"
    assert searched(run) == 0
    assert main(["resume", str(run), "--extend", "2", "--track", "mlflow"]) == 0
    assert servers["mlflow"].steps("run-0") == list(range(8)), "what it had not heard comes first"
    assert main(["resume", str(run), "--extend", "2", "--track", "none"]) == 0
    assert main(["resume", str(run), "--extend", "2"]) == 0
    assert servers["mlflow"].steps("run-0") == list(range(8))
    assert not servers["wandb"].points


@pytest.mark.parametrize("text", ["{", "[]", '{"wandb": 3}', '{"wandb": {"trials": "x"}}'])
def test_damaged_notes_end_the_tracking_alone(tmp_path, servers, calm, caplog, text):
    run = shutil.copytree(calm, tmp_path / "run")
    (run / FILE).write_text(text)
    assert main(["resume", str(run), "--extend", "2", "--track", "wandb"]) == 0
    assert len((run / "trials.jsonl").read_text().splitlines()) == 8
    assert "--track wandb failed" in caplog.text
    assert (run / FILE).read_text() == text


@pytest.mark.parametrize("found", [None, ModuleSpec("mlflow", None)])  # the latter is of a folder of this name
def test_without_the_extra_nothing_is_stored_and_it_is_named(tmp_path, monkeypatch, capsys, found):
    usual = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: found if name == "mlflow" else usual(name, *of))
    assert searched(tmp_path / "run", "mlflow") == 2
    assert "--track mlflow needs mlflow: pip install 'ma2ml[mlflow]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mlfow"], "--track: unknown tracker 'mlfow'; did you mean 'mlflow'?"),
        (["mlflow", "none"], "--track none stands alone"),
    ],
)
def test_words_that_are_no_trackers_are_refused(tmp_path, servers, capsys, words, said):
    assert searched(tmp_path / "run", *words) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def installed(name, monkeypatch):
    pytest.importorskip(name, reason=f"the extra {name} is not installed: pip install 'ma2ml[{name}]'")
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.slow
@pytest.mark.extra
@pytest.mark.filterwarnings("default")
def test_real_mlflow_in_a_database_of_the_runs_folder(tmp_path, monkeypatch):
    installed("mlflow", monkeypatch)
    run = tmp_path / "run"
    assert searched(run, "mlflow") == 0
    assert main(["resume", str(run), "--extend", "2"]) == 0
    with sqlite3.connect(run / "mlflow" / "mlflow.db") as database:
        points = database.execute("SELECT step, value FROM metrics WHERE key = 'trial/reward' ORDER BY step").fetchall()
        states = database.execute("SELECT status FROM runs").fetchall()
        budget = database.execute("SELECT value FROM params WHERE key = 'budget'").fetchall()
    database.close()
    with TrialStore(run) as store:
        assert points == [(trial.number, trial.reward) for trial in store.trials()]
    assert (len(points), states, budget) == (8, [("FINISHED",)], [("6",)])
    (winner,) = (run / "mlflow" / "artifacts").rglob("best.json")
    assert winner.read_bytes() == (run / "best.json").read_bytes()


@pytest.mark.slow
@pytest.mark.extra
@pytest.mark.filterwarnings("default")
def test_real_wandb_offline(tmp_path, monkeypatch):
    installed("wandb", monkeypatch)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    assert searched(run, "wandb") == 0
    assert main(["resume", str(run), "--extend", "2"]) == 0
    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 2
    assert len({file.name for file in files}) == 1, "both sessions are the same run"
    told = [record for file in files for record in records(file)]
    rewards = [values["trial/reward"] for record in told if (values := items(record.history.item))]
    with TrialStore(run) as store:
        assert rewards == [trial.reward for trial in store.trials()]
    winners = [value for record in told for name, value in items(record.summary.update).items() if name == "winner"]
    assert winners[-1] == json.loads((run / "best.json").read_bytes())


def items(of):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in of}


def records(path):
    """Of W&B's own file: LevelDB's log format, after seven bytes, with protocol buffers in it."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""
