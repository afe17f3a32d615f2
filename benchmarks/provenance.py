"""What a figure was measured with: every kept result says it."""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ma2ml_env


def header() -> dict[str, Any]:
    """Versions, commit (with a + where files have changed since) and machine."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
    ).stdout
    return {
        "version": ma2ml_env.__version__, "commit": commit + ("+" if changed else ""), "python": platform.python_version(),
        "numpy": np.__version__, "torch": torch.__version__, "machine": f"{platform.machine()} {platform.system()}",
    }  # fmt: skip


def tell(result: dict[str, Any], out: Path | None = None) -> None:
    """Print a result, with the cores of the machine and what else had been using them, and keep it if wanted."""
    load = [round(each, 1) for each in os.getloadavg()]
    text = json.dumps({**header(), "cores": os.cpu_count(), "load_average": load, **result}, indent=2)
    print(text)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
