"""Libraries whose versions clash with ours, each in an environment of its own: `make frameworks`.

RLlib pins another Gymnasium, AgileRL another PettingZoo and TensorDict, tianshou brings much that nobody else needs. An
environment lies in `.venv-frameworks/NAME` above the one that runs this file: torch, several gigabytes, is not installed again.
In each, the tests of `tests/frameworks_apart/test_NAME.py` run, and then the library's algorithm is trained
(`train_frameworks.py`, which gets all other arguments). `--only NAME ...` picks; `--no-training` leaves the trainings out.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = ROOT / ".venv-frameworks"
LIBRARIES = {
    "rllib": ("rllib-ppo", ["ray[rllib]==2.60.0"]),
    "agilerl": ("agilerl-ippo", ["agilerl==2.58.0", "peft"]),  # it imports peft and does not ask for it
    "tianshou": ("tianshou-dqn", ["tianshou==2.0.1"]),
}
"""name -> (algorithm of `train_frameworks.py`, requirements)"""
SHARED = ("torch", "torchvision")
"""what comes from the environment below"""


def build(name: str) -> Path:
    """The Python of an environment; made if it is not there."""
    folder, requirements = HERE / name, LIBRARIES[name][1]
    python, stamp = folder / "bin" / "python", folder / "installed"
    if stamp.exists() and stamp.read_text() == "\n".join(requirements):
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], check=True)
    without = folder / "shared.txt"
    without.write_text("".join(f"{each}; python_version < '3'\n" for each in SHARED))  # on no Python of today
    install = [folder / "bin" / "uv", "pip", "install", "--quiet", "--python", python, "--override", without]
    subprocess.run([*install, *requirements], check=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    (site / "below.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    stamp.write_text("\n".join(requirements))
    return python


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="*", default=list(LIBRARIES), choices=list(LIBRARIES), help="these libraries alone"
    )
    parser.add_argument("--no-training", action="store_true", help="tests alone")
    args, more = parser.parse_known_args(argv)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}
    failed = []
    for name in args.only:
        python = build(name)
        test = [
            python,
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-W",
            "default",
            "-m",
            "",
            ROOT / "tests" / "frameworks_apart" / f"test_{name}.py",
        ]
        train = [python, ROOT / "benchmarks" / "train_frameworks.py", LIBRARIES[name][0], *more]
        for command in [test] if args.no_training else [test, train]:
            if subprocess.run(command, cwd=ROOT, env=environment).returncode:
                failed.append(name)
    print(f"failed: {', '.join(dict.fromkeys(failed))}" if failed else f"{', '.join(args.only)}: all well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
