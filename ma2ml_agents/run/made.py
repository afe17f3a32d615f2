"""What trained a run: versions and processor. Bits of a training depend on them, so they belong to its numbers."""

import platform
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ma2ml_env
from ma2ml_env.store.store import TrialStore

SECTION = "made"


def made_with(device: str | None = None) -> dict[str, str]:
    """Versions, the processor with what torch uses of it, and where trainings run.

    Args:
        device: by the words of `--device`; None where nothing is trained, or nobody knows on which machine.

    Raises:
        ValueError: if there is no such device.
    """
    import torch  # who only reads what was noted needs none

    return ({} if device is None else {"device": _device(device)}) | {
        "ma2ml": ma2ml_env.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "processor": f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}",
    }


def note_made(store: TrialStore, device: str | None = None, again: Collection[int] = ()) -> None:
    """Note it with a run, where it is another than when the run began or was gone on with last.

    Args:
        store: of the run; nobody else drives it.
        device: as of `made_with`.
        again: numbers of trials that are going to be played again.
    """
    before, now = sessions(store), made_with(device)
    if not before or {name: before[-1].get(name) for name in now} != now:
        there = sorted(store.numbers() - set(again))
        first = next((number for number, each in enumerate(there) if number != each), len(there))
        told = {**now, "from": first, "has": there[first:]}
        store.configure({"sessions": [*before, told]}, section=SECTION, safe=("sessions",))


def sessions(store: TrialStore) -> list[dict[str, Any]]:
    """What was noted, in order: `from` is the first trial without an outcome then, `has` are later ones with one.

    [] of runs of earlier versions.
    """
    told = store.section(SECTION).get("sessions", [])
    return [dict(each) for each in told] if isinstance(told, list) else []


def session_of(number: int, told: Sequence[Mapping[str, Any]]) -> int:
    """The index of the session that trained a trial; -1 if that was before any was noted."""
    later = [index for index, each in enumerate(told) if number >= each["from"] and number not in each["has"]]
    return max(later, default=-1)


def _device(told: str) -> str:
    """`cpu`, or the GPU's name."""
    import torch

    from ma2ml_env.evaluators.train import device_named

    device = device_named(told)
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def _processor() -> str:
    """Its name, where the system tells one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
