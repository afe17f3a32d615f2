"""How fast a measured game answers: pipelines a second in batches, microseconds of one, and seconds until the first answer.

    python benchmarks/queries.py trio-digits-v0 [--data FILE]

One core, one thread. The first answer is timed in a process of its own, after `import ma2ml_env`.
"""

import argparse
import subprocess
import sys
import time

import numpy as np

import ma2ml_env

_LOAD = """
import sys, time
import ma2ml_env
began = time.perf_counter()
ma2ml_env.benchmark({id!r}, data={data!r}).query_batch([[0] * {decisions}])
print(time.perf_counter() - began, "torch" in sys.modules)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("id")
    parser.add_argument("--data", default=None, help="a file of trainings; without it, what comes with the package")
    parser.add_argument("--rows", type=int, default=1_000_000)
    told = parser.parse_args()
    for noise in (False, True):
        bench = ma2ml_env.benchmark(told.id, data=told.data, noise=noise)
        codes, seeds = bench.sample(told.rows, seed=0), np.arange(told.rows) if noise else None
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            bench.query_batch(codes, seeds=seeds)
            taken.append(time.perf_counter() - began)
        print(f"{'one measurement' if noise else 'the mean'}: {told.rows / min(taken):,.0f} pipelines a second")
    bench = ma2ml_env.benchmark(told.id, data=told.data)
    began = time.perf_counter()
    for code in codes[:1000]:
        bench.query(code)
    print(f"one at a time: {(time.perf_counter() - began) * 1e3:,.0f} us each")
    program = _LOAD.format(id=told.id, data=told.data, decisions=codes.shape[1])
    found = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(5)
    ]
    rows = [each.stdout.split() for each in found]
    print(f"first answer after {min(float(seconds) for seconds, _ in rows):.3f} s; torch imported: {rows[0][1]}")


if __name__ == "__main__":
    main()
