"""F3: SIGTERM, SIGUSR1 or Ctrl-C stops a search cleanly, and it goes on to the same end."""

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from ma2ml_agents.cli.main import main
from ma2ml_env.store.store import TrialStore

pytestmark = pytest.mark.usefixtures("nothing_ignored")

CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGHUP: 75, signal.SIGINT: 130}
BEGUN = """
import os, sys
from ma2ml_agents.cli import main
class Told(main.Signals):
    def __enter__(self):
        super().__enter__()
        os.write(1, b".")
        return self
main.Signals = Told
sys.exit(main.main())
"""
"""what the installed script does, and a sign at the command's own first line: who sends a signal before meets Python's start"""
SURROGATE = ["--evaluator", "surrogate", "--learner", "random", "--batch", "4"]


def trials(run):
    with TrialStore(run) as store:
        return [trial.to_json() for trial in store.trials()]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 75, id="TERM"),
        pytest.param(signal.SIGUSR1, 75, id="USR1", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 75, id="HUP", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, id="INT", marks=pytest.mark.slow),
    ],
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


def early(number, delay, run, before=lambda: None):
    """A search that gets a signal so many seconds after its first line."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and so would children
    process = subprocess.Popen(
        [sys.executable, "-c", BEGUN, "search", "digits-v0", *SURROGATE, "--set", "delay=0.2", "--run", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=before,
    )
    try:
        assert os.read(process.stdout.fileno(), 1) == b"."
        time.sleep(delay)
        process.send_signal(number)
        out, told = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert b"Traceback" not in out + told
    assert b"ignored in" not in told
    return process.returncode, (out + told).decode().strip()


FAST = [(signal.SIGTERM, 0.0), (signal.SIGINT, 0.05), (signal.SIGHUP, 0.5)]
GRID = [(number, delay) for number in CODES for delay in (0.0, 0.05, 0.5, 1.5, 3.0)]


@pytest.mark.parametrize(("number", "delay"), [
    case if case in FAST else pytest.param(*case, marks=pytest.mark.slow) for case in GRID
])  # fmt: skip
def test_f3_a_signal_soon_after_the_start(number, delay, tmp_path):
    code, told = early(number, delay, tmp_path / "run")
    assert code == CODES[number], told
    assert f"stopped by {number.name}" in told


@pytest.mark.slow
def test_f3_a_hangup_that_nohup_ignores_stays_ignored(tmp_path):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = subprocess.Popen(
        [sys.executable, "-m", "ma2ml_agents.cli.main", "search", "digits-v0", *SURROGATE, "--budget", "8", "--run",
         str(tmp_path / "run"), "--set", "delay=0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=nohup,
    )  # fmt: skip
    try:
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert len(trials(tmp_path / "run")) == 8


@contextmanager
def on_a_terminal(*words):
    """Start Python on a terminal of its own: gives the terminal, and what closes it and waits for the exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, *words])

    def closed():
        os.close(terminal)  # the kernel sends SIGHUP
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    try:
        yield terminal, closed
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def until_trials(terminal, run):
    """Read what is said until the run has trials; what is not read would hold it up."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (run.exists() and trials(run)):
        os.read(terminal, 10_000)


@pytest.mark.slow
def test_f3_a_closed_terminal_stops_the_search_as_sigterm_does(tmp_path):
    """Nobody reads the last words then, and writing them fails."""
    run = tmp_path / "run"
    words = ["search", "digits-v0", *SURROGATE, "--set", "delay=0.1", "--run", str(run)]
    with on_a_terminal("-m", "ma2ml_agents.cli.main", *words) as (terminal, closed):
        until_trials(terminal, run)
        assert closed() == 75
    assert trials(run)


@pytest.mark.slow
def test_f3_a_terminal_that_is_closed_while_its_hangup_is_ignored_stops_nothing(tmp_path):
    """As of a job that a shell has disowned: its lines go to nowhere."""
    run = tmp_path / "run"
    words = ["search", "digits-v0", *SURROGATE, "--set", "delay=0.1", "--budget", "16", "--run", str(run)]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # children inherit it; the fixture puts it back
    with on_a_terminal("-m", "ma2ml_agents.cli.main", *words) as (terminal, closed):
        until_trials(terminal, run)
        assert closed() == 0
    assert len(trials(run)) == 16


def test_f3_a_terminal_that_is_closed_while_the_command_loads():
    with on_a_terminal("-c", BEGUN, "search", "digits-v0", *SURROGATE) as (terminal, closed):
        assert os.read(terminal, 1) == b"."
        assert closed() == 75


def test_f3_the_entry_imports_nothing_heavy():
    code = "import sys; import ma2ml_agents.cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "tyro", "rich", "gymnasium", "ma2ml_env"} & set(done.stdout.split())


LOADS = """
import os, signal, sys, threading, time
from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.recipe import Recipe
from ma2ml_env.trial import Outcome

if __name__ != "__main__":
    os.kill(os.getppid(), signal.SIGUSR1)  # says that a worker loads
    time.sleep(1)

class Light(Evaluator):
    def evaluate(self, jobs):
        for index, job in enumerate(jobs):
            yield index, Outcome(accuracy=0.5)

if __name__ == "__main__":
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append("INT"))
    signal.signal(signal.SIGUSR1, lambda *_: os.killpg(0, signal.SIGINT))
    pool = Pool(Light, 1)
    ((_, outcome),) = pool.evaluate([Job(0, Recipe(), {}, 1, 1.0)])
    pool.close()
    print(heard, outcome.status)
"""


def test_f3_ctrl_c_is_the_drivers_alone_also_while_workers_load(tmp_path):
    """A terminal sends it to the whole group, of which a worker is until it has loaded."""
    (tmp_path / "loads.py").write_text(LOADS)
    done = subprocess.run(
        [sys.executable, "loads.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        start_new_session=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("['INT'] ok\n", "")
