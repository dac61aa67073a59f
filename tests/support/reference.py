"""A slow reference of the method, written from its text alone: plain loops, float64, nothing from ale_dask.numerics."""

from __future__ import annotations

import math
from collections import Counter, deque
from fractions import Fraction
from itertools import product

import numpy as np

A_MM, B_MM = (d / (2 * math.sqrt(2 / math.pi)) * math.sqrt(8 * math.log(2)) for d in (5.7, 11.6))


def fwhm(n):
    """FWHM in mm for a sample size (Eickhoff 2009)."""
    return math.sqrt(A_MM**2 + B_MM**2 / n)


def kernel(voxel, centre, sigma, support=math.inf):
    """K of one voxel for a focus, both in voxels; 0 beyond `support` standard deviations."""
    squared = [((v - c) / s) ** 2 for v, c, s in zip(voxel, centre, sigma, strict=True)]
    if squared[0] + squared[1] + squared[2] > support * support:
        return 0.0
    return math.exp(-sum(squared) / 2) / ((2 * math.pi) ** 1.5 * math.prod(sigma))


def modelled_activation(ijk, foci, sigma, *, additive=False, support=math.inf):
    """MA (voxel) of one experiment."""
    out = []
    for voxel in ijk.tolist():
        ks = [kernel(voxel, focus, sigma, support) for focus in foci]
        out.append(1 - math.prod(1 - k for k in ks) if additive else max(ks))
    return np.array(out)


def union(mas):
    """ALE (voxel) of MA (experiment, voxel)."""
    return 1 - np.prod(1 - np.asarray(mas), axis=0)


def stamp(sigma, *, support, bits):
    """{offset: rint(-log1p(-K) * 2^bits)} of a kernel centred on a voxel."""
    reach = [math.floor(support * s) for s in sigma]
    found = {}
    for x in range(-reach[0], reach[0] + 1):
        for y in range(-reach[1], reach[1] + 1):
            for z in range(-reach[2], reach[2] + 1):
                k = kernel((x, y, z), (0, 0, 0), sigma, support)
                found[x, y, z] = round(-math.log1p(-k) * 2**bits)
    return found


def permuted_sum(ijk, experiments, *, additive):
    """S (voxel) of experiments, each a stamp and the voxel positions (focus, axis) of its foci."""
    at = {tuple(v): i for i, v in enumerate(ijk.tolist())}
    total = [0] * len(at)
    for values, foci in experiments:
        own = Counter()
        for x, y, z in foci:
            for (dx, dy, dz), value in values.items():
                i = at.get((x + dx, y + dy, z + dz))
                if i is not None:
                    own[i] = own[i] + value if additive else max(own[i], value)
        for i, value in own.items():
            total[i] += value
    return np.array(total)


def clusters(cells, *, edges=False):
    """Sets of the given (x, y, z) connected by faces, or also by edges, by breadth-first search."""
    steps = [s for s in product((-1, 0, 1), repeat=3) if 1 <= sum(map(abs, s)) <= (2 if edges else 1)]
    left, found = set(cells), []
    while left:
        start = left.pop()
        group, queue = {start}, deque([start])
        while queue:
            x, y, z = queue.popleft()
            for near in ((x + i, y + j, z + k) for i, j, k in steps):
                if near in left:
                    left.remove(near)
                    group.add(near)
                    queue.append(near)
        found.append(group)
    return found


def cluster_statistics(ijk, s, threshold, *, edges=False):
    """Largest S, cluster size and cluster mass of a map (voxel)."""
    value = {tuple(v): int(x) for v, x in zip(ijk.tolist(), s, strict=True)}
    groups = clusters((v for v, x in value.items() if x >= threshold), edges=edges)
    mass = [sum(value[v] - threshold for v in group) for group in groups]
    return [int(max(s)), max(map(len, groups), default=0), max(mass, default=0)]


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011, figure 2) of four counter words and two key words."""
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(right >> 32) ^ c[1] ^ k[0], right % 2**32, (left >> 32) ^ c[3] ^ k[1], left % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def draw_voxels(key, iteration, n_voxels, n_foci):
    """Voxels of an experiment's foci: 64-bit words, low word first, two per counter, scaled to n_voxels."""
    found = []
    for pair in range((n_foci + 1) // 2):
        w = philox((iteration % 2**32, iteration >> 32, pair, 0), (key % 2**32, key >> 32))
        found += [((w[0] + (w[1] << 32)) * n_voxels) >> 64, ((w[2] + (w[3] << 32)) * n_voxels) >> 64]
    return found[:n_foci]


def tail_by_enumeration(values):
    """Sorted sums and P(S >= each) over all combinations of voxels, for X (experiment, voxel)."""
    sums = np.zeros(1)
    for x in values:
        sums = (sums[:, None] + np.asarray(x)[None, :]).reshape(-1)
    sums.sort()
    return sums, np.arange(len(sums), 0, -1) / len(sums)


def tail_by_fractions(laws):
    """P(S >= j) (j), exact, of independent laws {value: Fraction}."""
    total = {0: Fraction(1)}
    for law in laws:
        new = {}
        for s, p in total.items():
            for x, q in law.items():
                new[s + x] = new.get(s + x, Fraction(0)) + p * q
        total = new
    tail, out = Fraction(0), {}
    for j in range(max(total), -1, -1):
        tail += total.get(j, Fraction(0))
        out[j] = tail
    return [out[j] for j in range(max(total) + 1)]


def contrast(s, chosen, in_a):
    """Exceedance counts (2, voxel) and largest differences (relabelling, 2) from float64 S (experiment, voxel)."""

    def difference(first):
        return np.exp(-s[~first].sum(axis=0)) - np.exp(-s[first].sum(axis=0))

    observed, near = difference(in_a), 1e-12
    permuted = np.array([difference(first) for first in chosen])
    exceed = [(permuted >= observed - near).sum(axis=0), (permuted <= observed + near).sum(axis=0)]
    return np.array(exceed), np.stack([permuted.max(axis=1), (-permuted).max(axis=1)], axis=1)
