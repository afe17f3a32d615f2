"""Output whose reader is gone ends nothing; output that is lost although somebody wants it is an error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ma2ml_agents.cli.main import main
from ma2ml_env.store.store import TrialStore

SEARCH = ["search", "digits-v0", "--evaluator", "surrogate", "--learner", "random", "--batch", "4", "--budget", "8"]
PRINTING = """
import sys
from ma2ml_env.io.output import outlive_readers
{outlive}
for stream in (sys.stdout, sys.stderr):
    print("line " * 3000, file=stream)
    print("another", file=stream, flush=True)
"""


def unread(*words, both=False, **options):
    """Exit code and stderr of a Python whose stdout nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        error = writer if both else subprocess.PIPE
        done = subprocess.run([sys.executable, *words], stdout=writer, stderr=error, timeout=100, **options)
    finally:
        os.close(writer)
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_that_nobody_reads_end_nothing(unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    code = PRINTING.format(outlive="outlive_readers()")
    assert unread("-c", code, both=True, env=environment) == (0, "")
    assert unread("-c", PRINTING.format(outlive=""), both=True, env=environment)[0] != 0  # the control


def test_unbuffered_stays_unbuffered():
    code = "import os; from ma2ml_env.io.output import outlive_readers; outlive_readers(); print('there'); os._exit(0)"
    for unbuffered, told in (("", b""), ("1", b"there\n")):
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, check=True)
        assert done.stdout == told


def test_no_file_takes_the_place_of_closed_output(tmp_path):
    code = f"""
from ma2ml_env.io.output import outlive_readers
outlive_readers()
with open({str(tmp_path / "file")!r}, "w") as file:
    print("a line for nobody", flush=True)
    file.write(str(file.fileno()))
"""

    def close():
        for descriptor in (0, 1, 2):
            os.close(descriptor)

    assert subprocess.run([sys.executable, "-c", code], preexec_fn=close).returncode == 0
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
@pytest.mark.parametrize("lossy", [False, True])
def test_a_full_disk_is_an_error_where_the_lines_are_what_was_asked_for(lossy):
    code = PRINTING.format(outlive=f"outlive_readers(lossy={lossy})")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == (0 if lossy else 1)
    assert ("the output cannot be written: No space left on device" in done.stderr) == (not lossy)


@pytest.mark.slow
def test_a_search_whose_reader_leaves_goes_on_to_its_end(tmp_path):
    """`ma2ml search ... | head -1`."""
    words = ["-m", "ma2ml_agents.cli.main", *SEARCH, "--run", str(tmp_path / "run"), "--set", "delay=0.2"]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert b"digits-v0" in process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait(100)) == (b"", 0)
    with TrialStore(tmp_path / "run") as store:
        assert len(list(store.trials())) == 8


@pytest.mark.slow
def test_a_list_that_nobody_reads_is_no_error():
    assert unread("-m", "ma2ml_agents.cli.main", "list") == (0, "")


@pytest.mark.slow
def test_a_run_that_is_only_read_in_part_is_no_error(tmp_path):
    """`ma2ml trials RUN | head -1`."""
    assert main([*SEARCH, "--run", str(tmp_path / "run")]) == 0
    for words in (["trials", str(tmp_path / "run")], ["trials", str(tmp_path / "run"), "--json"], ["--help"]):
        assert unread("-m", "ma2ml_agents.cli.main", *words) == (0, "")
    (tmp_path / "run" / "best.json").write_text("{}")
    assert unread("-m", "ma2ml_agents.cli.main", "check", str(tmp_path / "run")) == (1, "")  # its own exit code


POOL = """
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.recipe import Recipe
from ma2ml_env.trial import Outcome

class Talks(Evaluator):
    def evaluate(self, jobs):
        for index, job in enumerate(jobs):
            print("epoch 1", flush=True)
            yield index, Outcome(accuracy=0.5)

if __name__ == "__main__":
    with open("said", "w") as said:
        pool = Pool(Talks, 1)
        said.write(str(list(pool.evaluate([Job(0, Recipe(), {}, 1, 1.0)]))))
        pool.close()
"""


def test_a_training_that_prints_does_not_fail_because_nobody_reads_it(tmp_path):
    (tmp_path / "talks.py").write_text(POOL)
    assert unread("talks.py", cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) == (0, "")
    assert "status='ok'" in (tmp_path / "said").read_text()
