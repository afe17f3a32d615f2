"""Shared by all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread each: tests run beside each other
