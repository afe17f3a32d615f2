"""F1: the driver is killed forty times, in all commands of a run. `benchmarks/kills.py` does it a thousand times."""

import json

import kills
import pytest
from killing import Ended, draw
from parts import HERE, python
from same_run import lost_or_changed, timeless

PROGRAM = HERE.parent.parent / "benchmarks" / "kills.py"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_f1_forty_kills_lose_nothing_and_the_controls_are_found(tmp_path):
    """The digits trained for real, and a search of a landscape; a process of its own, for one that has threads cannot fork."""
    told = ["--kills", "40", "--seeds", "1", "--only", "digits", "synthetic, evolution"]
    done = python(PROGRAM, *told, "--out", tmp_path / "runs", "--results", tmp_path / "kills.jsonl")
    assert done.wait(1400) == 0, (tmp_path / "kills.md").read_text()
    found = json.loads((tmp_path / "kills.json").read_text())
    counted = found["scenarios"]["all"]
    assert counted["kills"] >= 40
    assert [counted[key] for key in ("lost", "changed", "again", "differences")] == [0, 0, 0, 0]
    assert min(counted[kind] for kind in kills.KINDS) > 0, "each command was killed"
    assert set(found["controls"]) == set(kills.CONTROLS)
    assert "NOT FOUND" not in found["controls"].values()


def test_time_alone_is_let_through():
    line = b'{"accuracy": 0.5, "seconds": 1.25e-02, "digest": "0af3"}'
    assert timeless(line) == timeless(line.replace(b"1.25e-02", b"7").replace(b"0af3", b"99"))
    assert timeless(line) != timeless(line.replace(b"0.5", b"0.6"))


def row(control="", **wrong):
    nothing = {key: [] for key in ("lost", "changed", "again", "differences")}
    about = {"scenario": "digits", "control": control, "commit": "c", "at_points": 1, "acknowledged": 5}
    return {**about, **nothing, **wrong, "kills": {"search": 2, "export": 1}}


def test_the_table_counts_what_is_wrong_and_which_control_was_blind():
    rows = [row(), row(lost=["3 is lost"]), row("dropped", again=["1 is done again"]), row("not committed")]
    found = kills.table(rows)
    assert found["scenarios"]["all"]["kills"] == 6
    assert (found["scenarios"]["digits"]["search"], found["scenarios"]["digits"]["lost"]) == (4, 1)
    assert found["faults"] == ["3 is lost"]
    assert found["controls"] == {"dropped": "1 is done again", "not committed": "NOT FOUND"}
    assert "| digits | 2 | 6 | 4 | 0 | 0 | 2 |" in kills.as_markdown(found, "")


def test_a_kill_comes_at_a_moment_or_at_a_point_that_is_passed():
    class First:
        def __init__(self, share):
            self.share = share

        def random(self):
            return self.share

        def uniform(self, low, high):
            return high

        def choice(self, names):
            return names[-1]

        def randint(self, low, high):
            return high

    calm = Ended(0, 2.0, {"fsync": 3, "rename": 0})
    assert draw(First(0.1), calm, 5) == {"after": 4.0}
    for share, attempt in ((0.1, 0), (0.9, 5)):
        trap = draw(First(share), calm, attempt)["trap"]
        assert (trap.name, trap.when, trap.n) == ("fsync", "after", 3)


def test_what_was_acknowledged_is_looked_for_to_the_last_digit(tmp_path):
    from ma2ml_env.store.store import TrialStore
    from ma2ml_env.trial import Outcome, Proposal

    one, two = (Outcome(accuracy=0.5, seconds=seconds).to_json() for seconds in (1.0, 1.0 + 1e-15))
    with TrialStore(tmp_path) as store:
        store.configure({"game": "digits-v0"})
        store.propose(0, 0, [Proposal({"a": (0,)})], [1])
        store.add_outcome(0, Outcome.from_json(one))
    told = [{"what": 0, "outcome": one}]
    assert lost_or_changed(tmp_path, told) == ([], [], [])
    assert lost_or_changed(tmp_path, [{"what": 0, "outcome": two}])[1] == ["0 is another"]
    assert lost_or_changed(tmp_path, [{"what": 1, "outcome": one}])[0] == ["1 is lost"]
    assert lost_or_changed(tmp_path, told * 2)[2] == ["0 is done again"]
