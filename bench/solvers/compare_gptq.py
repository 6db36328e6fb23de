#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our GPTQ against GPTQModel's, on the layers of a model.

GPTQModel's algorithm is written down here in numpy from the steps of its gptq.py (version 7.7.0, `quantize` and
`hessian_inverse`): float32 throughout, H = 2 / n X X', damping by its diagonal's mean, the upper Cholesky factor of the
inverse, blocks of 128 columns. It runs on the second moments, weights and grids that `gptq_layers` writes, so both see
the same numbers; the loss of both is tr(E S E') in double, which `gptq_layers` computes from the decoded weights.

On one grid the two are the same algorithm, and rows differ where a weight falls next to the middle between two codes, a
few in a thousand, either way. Beyond float32 one thing moves such weights: a channel that no token excites counts as 1 in
the mean that H is damped with, as 0 in ours. --double --our-mean shows what is left without both.

    compare_gptq.py --program build/release/bench/gptq_layers --model MODEL --text TEXT [--layers 0 5] [--double]

Prints a table in Markdown: ratio of the sums over all matrices, and the least and largest of single matrices.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy

GROUP = 64
BITS = (2, 3, 4)


def read_moment(path):
    """S and the number of tokens (layout in second_moment_file.hpp)."""
    words = numpy.fromfile(path, dtype="<u8")
    n, tokens = int(words[1]), int(words[2])
    s = numpy.zeros((n, n))
    s[numpy.tril_indices(n)] = words[3:-1].view("<f8")
    return s + numpy.tril(s, -1).T, tokens


def inverse_factor(s, tokens, damping, real, our_mean=False):
    """Upper Cholesky factor of the inverse of the damped H."""
    h = (s * (2.0 / tokens)).astype(real)
    diagonal = numpy.diag(h).copy()
    mean = diagonal.mean()
    diagonal[diagonal == 0] = 1
    numpy.fill_diagonal(h, diagonal + real(damping) * (mean if our_mean else diagonal.mean()))
    lower = numpy.linalg.cholesky(h)
    inverse_of_lower = numpy.linalg.solve(lower, numpy.eye(len(h), dtype=real))
    return numpy.linalg.cholesky(inverse_of_lower.T @ inverse_of_lower).T.copy()


def quantize(w, scale, zero, top):
    return scale * (numpy.clip(numpy.rint(w / scale) + zero, 0, top) - zero)


def find_grid(w, top, norm=2.4, grid=100, shrink=0.8):
    """Its search for the grid of a group: shrunk ranges, |error|^norm."""
    low, high = numpy.minimum(w.min(1), 0), numpy.maximum(w.max(1), 0)
    empty = (low == 0) & (high == 0)
    low, high = low - empty, high + empty
    scale = (high - low) / top
    zero = numpy.rint(-low / scale)
    best = numpy.full(len(w), numpy.inf, dtype=w.dtype)
    for i in range(int(shrink * grid)):
        p = w.dtype.type(1 - i / grid)
        scale_i = (p * high - p * low) / top
        ideal = -p * low / scale_i
        zeros = [numpy.rint(ideal)]
        if top == 3:  # at 2 bits it looks at the other neighbour too
            lower, upper = (numpy.clip(f(ideal), 0, top) for f in (numpy.floor, numpy.ceil))
            zeros.append(numpy.where(zeros[0] == lower, upper, lower))
        for zero_i in zeros:
            error = numpy.abs(quantize(w, scale_i[:, None], zero_i[:, None], top) - w) ** w.dtype.type(norm)
            error = error.sum(1)
            better = error < best
            best = numpy.where(better, error, best)
            scale, zero = numpy.where(better, scale_i, scale), numpy.where(better, zero_i, zero)
    return scale, zero


def gptq(w, u, top, grids=None, order=None, block=128):
    """@param grids  [out, groups, 2]; None: its own search at the first column of each group"""
    w = w.copy()
    q = numpy.zeros_like(w)
    columns = w.shape[1]
    for first in range(0, columns, block):
        last = min(first + block, columns)
        part, errors, factor = w[:, first:last].copy(), numpy.zeros_like(w[:, first:last]), u[first:last, first:last]
        for i in range(last - first):
            column = first + i if order is None else order[first + i]
            if grids is not None:
                scale, zero = grids[:, column // GROUP, 0], grids[:, column // GROUP, 1]
            elif column % GROUP == 0:  # from W, which the block has not touched yet: as it does
                scale, zero = find_grid(w[:, column : column + GROUP], top)
            q[:, first + i] = quantize(part[:, i], scale, zero, top)
            errors[:, i] = (part[:, i] - q[:, first + i]) / factor[i, i]
            part[:, i:] -= errors[:, i : i + 1] * factor[i : i + 1, i:]
        w[:, last:] -= errors @ u[first:last, last:]
    return q


def loss(w, q, s):
    e = w.astype(float) - q.astype(float)
    return float(((e @ s) * e).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 3, 6, 9, 12, 15, 17])
    parser.add_argument("--bits", type=int, nargs="+", default=BITS)
    parser.add_argument("--own", action="store_true", help="also with its own grids and with its order of activations")
    parser.add_argument("--double", action="store_true", help="its steps in double, which shows what rounding does")
    parser.add_argument("--our-mean", action="store_true",
                        help="damp by the mean before channels that no token excites count as 1, as we do")
    parser.add_argument("--matrices", action="store_true", help="a line for every matrix")
    arguments = parser.parse_args()
    real = numpy.float64 if arguments.double else numpy.float32
    pairs = {"same grid": ("same_grid", "same"), "same grid, ours with a descent pass": ("same_grid_descent", "same")}
    if arguments.own:
        pairs["own grids"] = ("own_grid", "own")
        pairs["own grids, ours with a descent pass"] = ("own_grid_descent", "own")
        pairs["own grids, ours with a descent pass on codes and scales"] = ("own_grid_scales", "own")
        pairs["order of activations, ours on grids weighted for it"] = ("act_order", "order")

    ratios = {(bits, pair): [] for bits in arguments.bits for pair in pairs}
    totals = {key: [0.0, 0.0] for key in ratios}
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.program, arguments.model, arguments.text, folder, str(arguments.tokens)]
        lines = subprocess.run(command + [str(i) for i in arguments.layers], check=True, stdout=subprocess.PIPE).stdout
        folder = pathlib.Path(folder)
        moments = {}
        for line in map(json.loads, lines.splitlines()):
            name, rows, columns = line["matrix"], line["out"], line["in"]
            if line["input"] not in moments:
                s, tokens = read_moment(folder / f"{line['input']}.moment")
                order = numpy.argsort(-numpy.diag(s), kind="stable")
                factor = inverse_factor(s, tokens, 0.01, real, arguments.our_mean)
                by_order = s[order][:, order]
                ordered = inverse_factor(by_order, tokens, 0.01, real, arguments.our_mean) if arguments.own else None
                moments = {line["input"]: (s, factor, order, ordered)}
            s, factor, order, ordered = moments[line["input"]]
            w = numpy.fromfile(folder / f"{name}.weight", dtype="<f4").reshape(rows, columns)
            for bits in arguments.bits:
                grids = numpy.fromfile(folder / f"{name}.{bits}.grid", dtype="<f4").reshape(rows, -1, 2).astype(real)
                theirs = {"same": loss(w, gptq(w.astype(real), factor, 2**bits - 1, grids), s)}
                if arguments.own:
                    theirs["own"] = loss(w, gptq(w.astype(real), factor, 2**bits - 1), s)
                    q = numpy.empty_like(w)
                    q[:, order] = gptq(w[:, order].astype(real), ordered, 2**bits - 1, grids, order)
                    theirs["order"] = loss(w, q, s)
                for pair, (ours, other) in pairs.items():
                    ratio = line[str(bits)][ours] / theirs[other]
                    ratios[bits, pair].append(ratio)
                    totals[bits, pair][0] += line[str(bits)][ours]
                    totals[bits, pair][1] += theirs[other]
                    if arguments.matrices:
                        print(f"{name} {bits} bit, {pair}: {ratio:.6f}", flush=True)
            print(f"{name} done", file=sys.stderr)

    print("| bits | | matrices | ratio of sums | mean | least | largest |\n|---|---|---|---|---|---|---|")
    for (bits, pair), r in ratios.items():
        ours, theirs = totals[bits, pair]
        print(f"| {bits} | {pair} | {len(r)} | {ours / theirs:.5f} | {numpy.mean(r):.5f} | {min(r):.5f} | {max(r):.5f} |")


if __name__ == "__main__":
    main()
