"""`ma2ml study`: a run as a study of Optuna."""

import pytest
from reported import failed, good, make_run

from ma2ml_agents.cli.main import main
from ma2ml_env.store.store import TrialStore

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")
pytestmark = pytest.mark.extra


def mixed(number, rng):
    return failed(number, rng) if number == 3 else good(number, rng)


@pytest.mark.parametrize("name", [pytest.param("study.db", marks=pytest.mark.slow), "study.log"])
def test_study_holds_the_trials(name, tmp_path, capsys):
    run, out = make_run(tmp_path / "run", 12, mixed, game="digits-continuous-v0"), tmp_path / name
    assert main(["study", str(run), "--out", str(out)]) == 0
    assert f"optuna-dashboard {'' if name.endswith('log') else 'sqlite:///'}{out}" in capsys.readouterr().out
    if name.endswith("log"):
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(out)))
    else:
        storage = f"sqlite:///{out}"
    study = optuna.load_study(study_name="run", storage=storage)
    with TrialStore(run) as store:
        trials = list(store.trials())
    assert study.metric_names == ["reward"]
    found = study.get_trials()
    assert len(found) == len(trials) == 12
    assert study.best_value == max(trial.reward for trial in trials)
    assert study.user_attrs["game"] == "digits-continuous-v0"
    assert [one.state.name for one in found].count("FAIL") == 1
    assert found[3].user_attrs["note"] == "note 0"
    assert set(found[0].params) >= {"hpo.learning_rate", "hpo.weight_decay"}
    assert isinstance(found[0].params["hpo.learning_rate"], float)
    assert sorted(tmp_path.iterdir()) == sorted([run, out]), "nothing half-written is left"


def test_study_refuses_what_it_cannot_write(tmp_path, capsys):
    run = make_run(tmp_path / "run", 2)
    (tmp_path / "there.db").write_text("mine")
    for name, why in (
        ("there.db", "exists"),
        ("study.txt", "a study's name ends in"),
        ("no/study.db", "there is no folder"),
    ):
        assert main(["study", str(run), "--out", str(tmp_path / name)]) == 2
        assert why in capsys.readouterr().err
    assert (tmp_path / "there.db").read_text() == "mine"
