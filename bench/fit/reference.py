#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The steps of the paper's Python reference, in numpy, beside qwha's initialisation on the same layer.

    reference.py build/release/bench/bench_fit_layer [--size 2048] [--rank 64] [--rows 64] [--threads 1]

Steps timed, as the reference takes them (https://github.com/vantaa89/qwha, src/init/initialize.py), on the CPU:
  eigen      damping by 1e-4 of the mean diagonal, eigendecomposition of S in double, square root R = sqrt(D) V^T
  transform  bases = R H / n, by butterflies over whole columns
  product    R E^T
  solve      the n x n system bases X = R E^T, in float
  rows       for each row: columns of largest energy, their Gram, a solve. Timed on --rows rows spread over the layer and
             multiplied up to all of them; the energies of the columns, which the reference sums anew for every row, are
             summed once here.
Both use --threads threads. The errors of both methods, by the same second moment, are printed: they must agree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", help="bench_fit_layer of the build")
parser.add_argument("--size", type=int, default=2048, help="out = in, a power of two")
parser.add_argument("--rank", type=int, default=64)
parser.add_argument("--rows", type=int, default=64, help="rows of the loop that are timed")
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(arguments.threads)  # before numpy starts its pool
try:
    import numpy as np
except ImportError:
    print("reference in numpy: skipped, numpy is not installed")
    sys.exit(0)


def make_layer(n):
    """Weights close to normal, their 2-bit quantization in groups of 64, and S of correlated tokens."""
    random = np.random.default_rng(1)
    w = random.standard_normal((n, n), dtype=np.float32)
    groups = w.reshape(n, n // 64, 64)
    low, high = np.minimum(groups.min(2, keepdims=True), 0), np.maximum(groups.max(2, keepdims=True), 0)
    scale = (high - low) / 3
    zero = np.rint(-low / scale)
    wq = ((np.clip(np.rint(groups / scale) + zero, 0, 3) - zero) * scale).reshape(n, n).astype(np.float32)
    s = np.zeros((n, n))
    for _ in range(4):
        x = random.standard_normal((n // 2, n), dtype=np.float32)
        x[:, :-8] += x[:, 8:].copy()
        x[:, :-1] += 0.5 * x[:, 1:].copy()
        s += x.T @ x
    return w, wq, (s + s.T) / 2


def hadamard_columns(a):
    """a H for Sylvester's H, in place: butterflies of columns."""
    n = a.shape[1]
    h = 1
    while h < n:
        pairs = a.reshape(a.shape[0], n // (2 * h), 2, h)
        total = pairs[:, :, 0] + pairs[:, :, 1]
        pairs[:, :, 1] = pairs[:, :, 0] - pairs[:, :, 1]
        pairs[:, :, 0] = total
        h *= 2
    return a


def allocate(ratio, parameters, cap):
    budget = np.minimum(np.floor(ratio / ratio.sum() * parameters).astype(int), cap)
    budget[np.argsort(budget, kind="stable")[: parameters - budget.sum()]] += 1
    return budget


class Clock:
    def __init__(self):
        self.seconds = {}
        self.last = time.perf_counter()

    def step(self, name):
        now = time.perf_counter()
        self.seconds[name] = now - self.last
        self.last = now


def reference(e, s, rank, sample):
    """Seconds of every step, and the error of the sampled rows before and after."""
    n = s.shape[0]
    clock = Clock()
    damped = s + np.eye(n) * (1e-4 * np.diag(s).mean())
    values, vectors = np.linalg.eigh(damped)
    root = (np.sqrt(np.maximum(values, 0))[:, None] * vectors.T).astype(np.float32)
    clock.step("eigen")
    bases = hadamard_columns(root.copy()) / n
    clock.step("transform")
    target = root @ e.T
    clock.step("product")
    spectrum = np.linalg.solve(bases, target)
    budgets = allocate(np.sqrt((spectrum**2).sum(0)), rank * 2 * n, n)
    clock.step("solve")
    energy = (bases**2).sum(0)
    before = after = 0.0
    clock.last = time.perf_counter()
    for i in sample:
        columns = np.argpartition(energy * spectrum[:, i] ** 2, n - budgets[i])[n - budgets[i] :]
        chosen = bases[:, columns]
        fitted = np.linalg.solve(chosen.T @ chosen, chosen.T @ target[:, i])
        after += float(((target[:, i] - chosen @ fitted) ** 2).sum())
        before += float((target[:, i] ** 2).sum())
    clock.step("rows")
    clock.seconds["rows"] *= n / len(sample)
    return clock.seconds, (after / before) ** 0.5


n, rank = arguments.size, arguments.rank
sample = np.linspace(0, n - 1, min(arguments.rows, n)).astype(int)
w, wq, s = make_layer(n)
with tempfile.TemporaryDirectory() as folder:
    paths = [os.path.join(folder, name) for name in ("w", "wq", "s")]
    for path, array in zip(paths, (w, wq, s)):
        array.tofile(path)
    ours = json.loads(subprocess.run([arguments.program, str(n), str(n), str(rank), *paths], check=True,
                                     capture_output=True, text=True).stdout)
seconds, error = reference(w - wq, s, rank, sample)
total, without_rows = sum(seconds.values()), sum(seconds.values()) - seconds["rows"]

print(f"{n}x{n}, rank {rank}, {arguments.threads} thread(s), numpy {np.__version__}; seconds")
for name, value in seconds.items():
    note = f"  ({len(sample)} of {n} rows timed)" if name == "rows" else ""
    print(f"  reference, {name:10} {value:9.2f}{note}")
print(f"  reference, total      {total:9.2f}   without its loop {without_rows:.2f}")
for name in ("paper", "pursuit"):
    t = ours[name]["seconds"]
    print(f"  qwha, {name:15} {t:9.2f}   {total / t:.0f}x faster, without the loop {without_rows / t:.1f}x")
print(f"  error after / before: reference {error:.5f} (those rows), qwha {ours['paper']['error']:.5f} (all), "
      f"pursuit {ours['pursuit']['error']:.5f}")
