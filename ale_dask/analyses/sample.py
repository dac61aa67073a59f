"""Check the experiments of a sample, and convert them to the arrays of the numerics, in voxels of the mask."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.config.inference import CHANGES_NULL, Inference
from ale_dask.coordinates import foci as foci_data
from ale_dask.coordinates.outside import placed
from ale_dask.coordinates.selection import drop_empty
from ale_dask.coordinates.subject_groups import subject_groups
from ale_dask.errors import InputError
from ale_dask.numerics import NUMERICS_VERSION
from ale_dask.numerics.ale import Row, cell_index, fixed_point_rows, full_support, scale_bits
from ale_dask.numerics.gaussian import FWHM_PER_SIGMA, kernel_box, shape_of, sigma_mm
from ale_dask.numerics.space import Mask, rounded
from ale_dask.schema import FOCI, check

FEWEST = 2
"""The smallest number of experiments of a main effect."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Experiments with at least one focus, a mask and settings.

    Experiments are ordered by key, so that results do not depend on their order in a file.
    """

    foci: xr.Dataset
    mask: Mask
    inference: Inference

    @cached_property
    def key(self) -> npt.NDArray[np.uint64]:
        """Draw keys (experiment), uint64, ascending."""
        return self.foci["experiment_key"].values.astype(np.uint64)

    @cached_property
    def groups(self) -> npt.NDArray[np.int64]:
        """Number of the subject group (experiment), from 0; without groups in the settings, one per experiment."""
        return np.arange(len(self.key)) if self.inference.same_subjects is None else subject_groups(self.foci)

    @cached_property
    def points(self) -> list[npt.NDArray[np.float64]]:
        """Foci in voxels, one array (focus, axis) per experiment, rounded according to the settings."""
        grid = rounded(self.mask.to_grid(self.foci["focus_xyz"].values), self.inference.rounding)
        placed = self.foci.assign(focus_xyz=(("focus", "axis"), grid))
        return foci_data.foci_of(placed)

    @cached_property
    def n_foci(self) -> npt.NDArray[np.int64]:
        """Number of foci (experiment)."""
        return np.array([len(p) for p in self.points], dtype=np.int64)

    @cached_property
    def sigma(self) -> npt.NDArray[np.float64]:
        """Kernel standard deviations (experiment, axis) in voxels."""
        if self.inference.fwhm is not None:
            mm = np.full(len(self.key), self.inference.fwhm / FWHM_PER_SIGMA)
        else:
            mm = sigma_mm(self.foci["experiment_n_subjects"].values)
        return np.asarray(mm[:, None] / self.mask.voxel_size)

    @cached_property
    def kernels(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Standard deviations of the distinct kernels (kernel, axis) in voxels, and the kernel number (experiment)."""
        distinct, inverse = np.unique(self.sigma, axis=0, return_inverse=True)
        return distinct, inverse.reshape(-1).astype(np.int64)

    def peaks(self) -> npt.NDArray[np.float64]:
        """Return the largest kernel value of each term (term) that can add to one voxel; it bounds the fixed point."""
        i = self.inference
        sigma, kernel = self.kernels
        per_experiment = np.array([shape_of(s, support=i.support, kernel=i.kernel).height for s in sigma])[kernel]
        return np.repeat(per_experiment, self.n_foci) if self.additive else per_experiment

    def boxes(self, bits: int) -> list[npt.NDArray[np.int32]]:
        """Return the fixed-point values of each distinct kernel of the null as an int32 array (x, y, z)."""
        i = self.inference
        return [kernel_box(s, support=i.support, bits=bits, kernel=i.kernel) for s in self.kernels[0]]

    @property
    def additive(self) -> bool:
        """Whether the foci of an experiment add up, MA = 1 - prod(1 - K), instead of MA = max K."""
        return self.inference.within == "additive"

    def rows(self, bits: int, *, exact: bool = False) -> Iterator[Row]:
        """Yield the nonzero voxels and fixed-point values (entry), int32, of each experiment.

        Kernels are cut off where those of the null are, or with `exact` below half a unit of the fixed point.
        """
        support = np.full(len(self.key), self.inference.support)
        if exact:
            i = self.inference
            floor = 2.0 ** -(bits + 1)
            support = np.array([full_support(s, support=i.support, kernel=i.kernel, floor=floor) for s in self.sigma])
        return fixed_point_rows(
            self.points,
            sigma=self.sigma,
            support=support,
            voxel_of_cell=cell_index(self.mask.volume),
            bits=bits,
            additive=self.additive,
            kernel=self.inference.kernel,
        )

    def rows_at(self, wanted: npt.NDArray[np.bool_], *, bits: int) -> Iterator[tuple[int, Row]]:
        """Yield the experiments that reach some of the voxels (voxel), by number, with what `rows` has of them there.

        Foci that reach none of these voxels are not looked at.
        """
        from scipy.spatial import cKDTree

        i = self.inference
        index = cell_index(self.mask.volume)
        index[self.mask.volume] = np.where(wanted, index[self.mask.volume], -1)
        away, _ = cKDTree(self.mask.voxel_ijk[wanted]).query(np.concatenate(self.points), p=np.inf)
        reach = [float(shape_of(s, support=i.support, kernel=i.kernel).reach.max()) for s in self.sigma]
        # One voxel more than the reach, so that rounding leaves out no focus.
        near = np.split(away <= np.repeat(reach, self.n_foci) + 1, np.cumsum(self.n_foci)[:-1])
        reaching = [e for e, of_experiment in enumerate(near) if of_experiment.any()]
        rows = fixed_point_rows(
            [self.points[e][near[e]] for e in reaching],
            sigma=self.sigma[reaching],
            support=np.full(len(reaching), i.support),
            voxel_of_cell=index,
            bits=bits,
            additive=self.additive,
            kernel=i.kernel,
        )
        return zip(reaching, rows, strict=True)

    def conventions(self, bits: int) -> dict[str, object]:
        """Return every setting that changes a number of a plan; the identity of the plan is a hash of them."""
        i = self.inference
        digest = hashlib.sha256()
        sizes = self.foci["experiment_n_subjects"].values
        for key, n, points in zip(self.key, sizes, foci_data.foci_of(self.foci), strict=True):
            digest.update(f"{key}:{n}:{len(points)}:".encode())
            digest.update(np.ascontiguousarray(points, dtype="<f8").tobytes())
        return {
            "foci": digest.hexdigest(),
            "mask": self.mask.sha256,
            **({} if self.mask.search is None else {"search": self.mask.search_sha256}),
            "within": i.within,
            "fwhm": i.fwhm,
            "support": i.support,
            "voxel_p": i.voxel_p,
            "seed": i.seed,
            "scale_bits": bits,
            "numerics": NUMERICS_VERSION,
            # TFCE takes ten times as long for a small sample, so that it is part of a null only if asked for.
            **dict(CORRECTION_OF[i.correction].identity),
            # Defaults are left out: nulls computed before there was a choice stay valid.
            **{k: v for k in CHANGES_NULL if (v := getattr(i, k)) != Inference.model_fields[k].default},
        }

    def key_without(self, *settings: str, bits: int) -> str:
        """Return a key that samples have in common whose conventions differ in these settings alone."""
        return json.dumps({k: v for k, v in self.conventions(bits).items() if k not in settings}, sort_keys=True)


def sample(foci: xr.Dataset, *, mask: Mask, inference: Inference, name: str = "foci") -> Sample:
    """Return the sample of a foci Dataset: its experiments with a focus, in the order of their keys.

    Raises
    ------
    InputError
        when an experiment has no sample size or appears twice, no experiment has a focus, or most foci are outside the
        mask.
    """
    check(foci, *FOCI)
    used = drop_empty(placed(foci, mask=mask, outside=inference.outside, name=name))
    if used.sizes["experiment"] == 0:
        where = " in the mask" if inference.outside == "drop" else ""
        raise InputError(f"{name}: no experiment has a focus{where}; check the files")
    order = np.argsort(used["experiment_key"].values, kind="stable")
    used = reorder(used, order)
    key = used["experiment_key"].values
    twice = np.flatnonzero(key[1:] == key[:-1])
    if twice.size:
        at = int(twice[0])
        ids, sources = used["experiment_id"].values, used["experiment_source"].values
        raise InputError(
            f"{name}: the same experiment appears twice: '{ids[at]}' ({sources[at]}) and '{ids[at + 1]}' "
            f"({sources[at + 1]}); remove one: an experiment may count once"
        )
    if inference.fwhm is None:
        unknown = used["experiment_id"].values[used["experiment_n_subjects"].values <= 0]
        if unknown.size:
            shown = ", ".join(f"'{u}'" for u in unknown[:10]) + (" …" if unknown.size > 10 else "")
            raise InputError(f"{name}: no sample size for {shown}; add it, or set n or fwhm")
    return Sample(used, mask, inference)


def enough(sample: Sample, *, name: str) -> Sample:
    """Return the sample unchanged if it has the two experiments that a main effect needs.

    Raises
    ------
    InputError
        for a single experiment, whose foci cannot converge with those of others.
    """
    if len(sample.key) < FEWEST:
        (only,) = sample.foci["experiment_id"].values
        raise InputError(
            f"{name}: '{only}' is its only experiment with a focus; convergence is over experiments, so give at least "
            f"{FEWEST}"
        )
    return sample


def reorder(foci: xr.Dataset, order: npt.NDArray[np.int64]) -> xr.Dataset:
    """Return a foci Dataset with its experiments, and their foci, in another order (experiment)."""
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    moved = foci.isel(experiment=order)
    belongs = position[foci["focus_experiment"].values]
    focus_order = np.argsort(belongs, kind="stable")
    moved = moved.isel(focus=focus_order)
    return moved.assign(focus_experiment=("focus", belongs[focus_order].astype(np.int32)))


def study_bits(samples: Iterable[Sample]) -> int:
    """Return the number of fixed-point bits at which the union of all samples cannot overflow an int32."""
    return scale_bits(np.concatenate([s.peaks() for s in samples]))
