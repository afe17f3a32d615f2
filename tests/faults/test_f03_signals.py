"""F3: SIGTERM, SIGUSR1 or Ctrl-C stops a search cleanly, and it goes on to the same end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ma2ml_agents.cli.main import main
from ma2ml_env.store.store import TrialStore

SURROGATE = ["--evaluator", "surrogate", "--learner", "random", "--batch", "4"]


def trials(run):
    with TrialStore(run) as store:
        return [trial.to_json() for trial in store.trials()]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=["TERM", "USR1", "INT"]
)
def test_f3_a_signal_stops_cleanly_and_resume_ends_as_a_calm_run(number, code, tmp_path, capsys):
    run, calm = tmp_path / "run", tmp_path / "calm"
    args = ["search", "digits-v0", *SURROGATE, "--budget", "24", "--run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ma2ml_agents.cli.main", *args, str(run), "--set", "delay=0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (run.exists() and trials(run)):
            time.sleep(0.05)
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code, out
    assert f"ma2ml resume {run}" in out
    assert 0 < len(trials(run)) < 24
    assert main(["resume", str(run)]) == 0
    assert main([*args, str(calm)]) == 0
    for stopped, undisturbed in zip(trials(run), trials(calm), strict=True):
        for trial in (stopped, undisturbed):
            del trial["outcome"]["seconds"]
        assert stopped == undisturbed
