"""F1 on the real thing: a search that trains digits with two workers is killed three times, and goes on."""

import json
import random
import signal
import subprocess

import pytest
from parts import python, result, until

from ma2ml_env.store.store import TrialStore


def command(*words, **options):
    return python("-m", "ma2ml_agents.cli.main", *words, **options)


def search(folder):
    words = [
        "search",
        "digits-v0",
        "--run",
        folder,
        "--budget",
        24,
        "--batch",
        8,
        "--workers",
        2,
        "--set",
        "proxy_epochs=1",
    ]
    return command(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stored(folder):
    """Number of outcomes that are stored."""
    if not (folder / "run.sqlite").exists():
        return 0
    with TrialStore(folder, create=False) as store:
        return sum(len(store.outcomes(batch)) for batch in range(3))


def listing(folder):
    """`ma2ml trials --json` but for times."""
    out = command("trials", folder, "--json", stdout=subprocess.PIPE).communicate(timeout=60)[0]
    trials = [json.loads(line) for line in out.splitlines()]
    for trial in trials:
        trial["outcome"].pop("seconds")
        trial["outcome"].pop("attempts")
    return trials


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_f1_killed_while_it_trains_digits_with_two_workers(tmp_path):
    calm, storm = tmp_path / "calm", tmp_path / "storm"
    assert search(calm).wait(400) == 0
    rng = random.Random(3)
    for kill in range(3):
        process = search(storm)
        wanted = 6 * kill + rng.randint(1, 6)
        assert until(lambda w=wanted: stored(storm) >= w, 300)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    assert search(storm).wait(400) == 0
    assert len(listing(calm)) == 24
    assert listing(storm) == listing(calm)
    assert result(storm) == result(calm)  # trials, learner tensors to the bit, best pipeline
