"""F24: whoever wrote a file that is read here, no code of theirs runs, nothing is written elsewhere, memory is bounded.

Digests do not help against them: who writes a file can compute its digest. Each fuzz has a fast and a `slow` number of inputs.
"""

import json
import shutil
import sqlite3
import subprocess
import tomllib
import tracemalloc
from contextlib import closing

import numpy as np
import pytest
from hostile import Watch, broken, overwrite, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts import make_game
from suite import HERE, load

from ma2ml_agents.after.export import export
from ma2ml_agents.cli.main import main
from ma2ml_agents.registry import learner_names, make_learner
from ma2ml_agents.run.loop import search
from ma2ml_agents.run.stored import build_without_evaluator, stored_config
from ma2ml_env.io.state import pack, unpack
from ma2ml_env.recipe import Recipe
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Proposal, Trial

WATCH = Watch()
SLOW = (pytest.mark.slow, pytest.mark.timeout(1800))
TRIAL = Trial(0, 1, Proposal({"a": (0, 1)}, {"a": (0.5, 0.1)}, {"a": -1.0}), Outcome(metrics={"x": 1.0}), 0.5)


def inputs(fast, slow):
    return pytest.mark.parametrize("number", [fast, pytest.param(slow, marks=SLOW)])


def fuzz(number, *strategies):
    """Run a function on so many inputs, the same ones each time."""

    def run(check):
        quiet = settings(
            max_examples=number, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        quiet(given(*strategies)(check))()

    return run


def tells(read, *args):
    """The message of a ValueError, or None if nothing is wrong. Anything else that is raised goes through."""
    try:
        read(*args)
    except ValueError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "run"
    words = [
        "--evaluator",
        "surrogate",
        "--learner",
        "evolution",
        "--budget",
        "6",
        "--batch",
        "3",
        "--run",
        str(folder),
    ]
    assert main(["search", "digits-v0", *words]) == 0
    return folder


@pytest.fixture
def work(calm, tmp_path):
    return shutil.copytree(calm, tmp_path / "run")


def test_control_the_watch_sees(tmp_path):
    with WATCH(tmp_path / "in") as seen:
        (tmp_path / "out").write_text("")
        subprocess.run(["true"], check=True)
    assert {event for event, _ in seen} >= {"open", "subprocess.Popen"}


@inputs(100, 2_500)
@pytest.mark.parametrize(
    ("kind", "real"),
    [(Outcome, TRIAL.outcome), (Proposal, TRIAL.proposal), (Trial, TRIAL), (Recipe, Recipe())],
    ids=["outcome", "proposal", "trial", "recipe"],
)
def test_f24_json_of_records(kind, real, number):
    text = json.loads(json.dumps(real.to_json()))
    assert kind.from_json(text) == real
    found = []

    @fuzz(number, broken(text))
    def _(data):
        found.append(tells(lambda: json.dumps(kind.from_json(data).to_json())))

    assert sum(message is not None for message in found) > number / 3


@inputs(100, 10_000)
def test_f24_state_of_a_learner(number):
    torch = pytest.importorskip("torch")
    state = {"a": np.arange(3.0), "b": [torch.zeros(2), 1, 2.0, float("inf")], "c": (1,), "d": {1: np.float32(3)}}
    text, blob = pack(state)

    @fuzz(number, broken(json.loads(text)), st.integers(0, len(blob) - 1), st.binary(max_size=8))
    def _(data, at, patch):
        tells(unpack, json.dumps(data), blob)
        tells(unpack, text, blob[:at] + patch + blob[at + len(patch) :])


def test_f24_a_small_state_cannot_ask_for_much_memory():
    _, blob = pack({"a": np.zeros(1_000_000)})
    tracemalloc.start()
    try:
        message = tells(unpack, json.dumps([{"$array": "0"}] * 100), blob)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "not a packed state" in message
    assert peak < 5 * len(blob)  # read, copied once; a hundred copies would be 100


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "\x80", b"\x80\x04cos\nsystem\n."])
def test_f24_what_is_no_json_is_a_value_error(text, work):
    assert tells(unpack, text, pack({})[1])
    if isinstance(text, str):
        cases = [
            (table, row) for table in ("proposals", "outcomes", "learner", "meta") for row in rows(work, table)[:3]
        ]
        for table, row in sorted(
            cases, key=lambda case: case[1].get("key") == "id"
        ):  # without its id nothing is looked at
            assert overwrite(work, table, row, "json", text)
            assert main(["resume", str(work)]) == 2
    data = text.encode() if isinstance(text, str) else text
    for name in ("best.json", "trials.jsonl"):
        (work / name).write_bytes(data)
    assert main(["check", str(work)]) == 1


LOOK = ("check", "trials", "show", "pareto", "report", "resume", "retrain", "export", "fidelity")


@inputs(60, 2_000)
def test_f24_rows_of_a_run(calm, tmp_path, number, capsys):
    """Every command ends with an exit code of its own, and says why; the run's config is what most of them start from."""
    cases = [(table, row, column) for table in ("meta", "proposals", "outcomes", "learner") for row in rows(calm, table)[:2]
             for column in row if column != "digest"]  # fmt: skip
    (config,) = [row for row in rows(calm, "meta") if row["key"] == "run"]
    codes = []
    for command in LOOK:  # what is imported late is imported now: imports run code
        main([command, str(calm)])

    @fuzz(number, st.sampled_from([("meta", config, "json")] * 8 + cases), st.data(), st.sampled_from(LOOK))
    def _(case, data, command):
        table, row, column = case
        if column == "json" and row[column][0] in "{[":
            value = json.dumps(data.draw(broken(json.loads(row[column]))))
        else:
            value = data.draw(
                st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5) | st.floats() | st.none() | st.binary()
            )
        folder = shutil.copytree(calm, tmp_path / "run", dirs_exist_ok=True)
        if overwrite(folder, table, row, column, value):
            with WATCH(folder) as seen:
                codes.append(main([command, str(folder)]))
            assert seen == []
        shutil.rmtree(folder)

    assert set(codes) == {0, 1, 2}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("batch", [b"", "a", 0.5, None])
def test_f24_a_batch_that_is_no_number_is_refused(work, batch, capsys):
    assert overwrite(work, "proposals", rows(work, "proposals")[0], "batch", batch)
    for command in ("resume", "trials"):
        assert main([command, str(work)]) == 2
    assert "Traceback" not in capsys.readouterr().err


VIEW = "CREATE VIEW learner AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i, '', '', '' FROM n"


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE learner", VIEW],
        ["CREATE TRIGGER t AFTER INSERT ON outcomes BEGIN DELETE FROM proposals; END"],
        ["ALTER TABLE meta ADD COLUMN more TEXT"],
    ],
    ids=["endless view", "trigger", "column"],
)
def test_f24_a_database_with_another_schema_is_not_read(work, statements, capsys):
    with closing(sqlite3.connect(work / "run.sqlite")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()
    for command in ("trials", "resume", "check"):
        assert main([command, str(work)]) == (1 if command == "check" else 2)
    assert "is not a run's" in capsys.readouterr().err


@inputs(3, 200)
@pytest.mark.parametrize("name", learner_names())
def test_f24_stored_learner_of_another_making(tmp_path, name, number):
    """Loading it is refused or succeeds: it never ends in an error that nobody can read."""
    game = make_game()
    with TrialStore(tmp_path) as store:
        search(game, make_learner(name, game.spec), budget=4, batch=2, store=store)
    (row,) = rows(tmp_path, "learner")

    @fuzz(number, broken(json.loads(row["json"])))
    def _(data):
        assert overwrite(tmp_path, "learner", row, "json", json.dumps(data))
        with TrialStore(tmp_path) as store:
            tells(lambda: search(game, make_learner(name, game.spec), budget=4, batch=2, store=store))


def toml(value):
    """A value as TOML; what TOML has no word for is an empty text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, (bool, int, float)):
        return repr(value).lower()
    return text(value or "")


def text(value):
    return json.dumps(value).replace("\\ud800", "x").replace("\\u007f", "x")


@inputs(100, 10_000)
def test_f24_suites(tmp_path, number):
    path = tmp_path / "s.toml"
    real = tomllib.loads((HERE / "suites" / "smoke.toml").read_text())

    def write(data):
        path.write_text("\n".join(f"{text(key)} = {toml(value)}" for key, value in data.items()))

    write(real)
    assert len(load(str(path)).runs) == 36
    found = []

    @fuzz(number, broken(real).filter(lambda data: isinstance(data, dict)))
    def _(data):
        write(data)
        found.append(tells(load, str(path)))

    assert any(found)
    assert not all(found)


def test_f24_a_small_suite_cannot_ask_for_endless_runs(tmp_path):
    smoke = (HERE / "suites" / "smoke.toml").read_text()
    for more in (smoke.replace("seeds = 3", f"seeds = {10**30}"), f"{smoke}\nx = {'[' * 5000}"):
        (tmp_path / "s.toml").write_text(more)
        with pytest.raises(ValueError, match=r"s\.toml|more than 100,000 runs"):
            load(str(tmp_path / "s.toml"))


ROW = {
    "trial": 1, "seed": 1, "weights": "top/1.safetensors", "recipe": Recipe().to_json(),
    "outcome": Outcome(test_accuracy=0.5).to_json(),
}  # fmt: skip
SUMMARY = {
    "select": "validation", "winner": 1, "mean": 0.5, "deviation": 0.0, "top": [ROW], "repeats": [ROW], "levels": [],
    "baseline": {"mean": None, "deviation": None, "trainings": []}, "metric": "accuracy", "metrics": {},
    "classes": {"trainings": 1, "rows": [{"name": "a", "images": 3, "precision": 0.5, "recall": 0.5, "f1": 0.5}] * 2,
                "confusion": [[1, 2], [2, 1]]},
}  # fmt: skip
IDENTITY = {
    "name": "digits",
    "digest": "",
    "class_names": ["a", "b"],
    "counts": {"train": [1, 2]},
    "pixels": {"size": 8},
}
DATA = {
    "name": "digits",
    "classes": 2,
    "class_names": ["a", "b"],
    "channels": 1,
    "size": 8,
    "mean": [0.5],
    "std": [0.5],
    "data_identity": {"identity": IDENTITY, "verified": True, "changed": ["after 2 trials: train 3 -> 2"]},
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": SUMMARY["classes"]["rows"][:1]},
        {"confusion": [[1, 2]]},
        {"confusion": [[1, 2], [2]]},
        {"confusion": [[-1, 4], [2, 1]]},
        {"trainings": 0},
        {"rows": [SUMMARY["classes"]["rows"][0] | {"images": -3}] * 2},
    ],
    ids=["rows", "short", "ragged", "negative", "trainings", "images"],
)
def test_f24_classes_that_contradict_each_other(work, capsys, wrong):
    (work / "retrain").mkdir()
    summary = SUMMARY | {"classes": SUMMARY["classes"] | wrong}
    (work / "retrain" / "summary.json").write_text(json.dumps(summary))
    assert main(["report", str(work)]) == 2
    assert "summary.json is damaged" in capsys.readouterr().err


@inputs(5, 300)
def test_f24_what_a_retraining_left(work, number):
    (work / "retrain").mkdir()
    main(["report", str(work)])

    def commands(summary, data):
        (work / "retrain" / "summary.json").write_text(json.dumps(summary))
        (work / "retrain" / "data.json").write_text(json.dumps(data))
        with WATCH(work) as seen:
            codes = [
                main([*words, str(work)])
                for words in (["export"], ["report"], ["paper", "table3"], ["paper", "table2"], ["show"])
            ]
        assert seen == []
        return codes

    assert commands(SUMMARY, DATA) == [2, 0, 0, 2, 0]  # no weights, and no levels

    @fuzz(number, broken(SUMMARY), broken(DATA), st.sampled_from([0, 1]))
    def _(summary, data, which):
        assert set(commands(*((summary, DATA), (SUMMARY, data))[which])) <= {0, 2}


def test_f24_weights_are_not_taken_from_elsewhere(work, tmp_path):
    (tmp_path / "secret").write_bytes(b"")
    (work / "retrain").mkdir()
    (work / "retrain" / "data.json").write_text(json.dumps(DATA))
    for path in ("../../secret", str(tmp_path / "secret"), "/dev/zero"):
        summary = {**SUMMARY, "repeats": [{**ROW, "weights": path}]}
        (work / "retrain" / "summary.json").write_text(json.dumps(summary))
        with pytest.raises(ValueError, match=r"is not in .*retrain"):
            export(work)


def test_f24_a_report_holds_no_script_of_others(work):
    """Nor do names of a config choose what is imported."""
    (config,) = [row for row in rows(work, "meta") if row["key"] == "run"]
    script = "<script>alert(1)</script>"
    told = json.loads(config["json"])
    overwrite(work, "meta", config, "json", json.dumps({**told, "learner": script}))
    (work / "retrain").mkdir()
    (work / "retrain" / "summary.json").write_text(json.dumps({**SUMMARY, "winner": script}))
    assert main(["report", str(work)]) == 2
    (work / "retrain" / "summary.json").write_text(json.dumps({**SUMMARY, "select": script}))
    assert main(["report", str(work)]) == 0
    page = (work / "report.html").read_text()
    assert page.count("<script") == 3, "those of every page"
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    overwrite(work, "meta", config, "json", json.dumps({**told, "game": "os:system"}))
    with TrialStore(work) as store, pytest.raises(ValueError, match="unknown game 'os:system'"):
        build_without_evaluator(stored_config(store))
