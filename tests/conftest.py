"""Shared by all tests."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread each: tests run beside each other

# Tables of others, where they stand beside the checkout; without them their tests skip and say so.
_landscapes = Path(__file__).parents[2] / "shared" / "landscapes"
if _landscapes.is_dir():
    os.environ.setdefault("MA2ML_LANDSCAPES", str(_landscapes))
