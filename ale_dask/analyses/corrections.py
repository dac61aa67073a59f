"""The registry of family-wise statistics: whatever names, computes or shows a correction reads its row here.

A new statistic needs its numerics, a row here, its word in `config.inference` and its maps in `schema`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.config.inference import ENHANCED, OF_CLUSTERS
from ale_dask.numerics import clusters
from ale_dask.numerics.ale import ale_from_s
from ale_dask.numerics.density_levels import Z_UNIT
from ale_dask.numerics.tfce import GRID_BITS, Levels, tfce_map
from ale_dask.numerics.tfce_null import tfce_iterations

I64 = npt.NDArray[np.int64]
TFCE = "max_tfce"
STATISTICS = ("max_s", "max_size", "max_mass")
"""The statistics that every uniform null of a main effect holds, in the order of its columns."""
BASE_RATE_STATISTICS = ("max_z", "max_size", "max_mass")
"""Those of a base-rate null."""


@dataclass(frozen=True, eq=False)
class Observed:
    """Hold the fixed-point sums (voxel) of a main effect and the clusters that they form at a threshold."""

    s: I64
    threshold: int
    labels: npt.NDArray[np.int32]
    inside: npt.NDArray[np.bool_]
    """The voxels (voxel) in which inference is made."""
    volume: npt.NDArray[np.bool_]
    levels: Levels | None = None
    """The levels of TFCE, where it is the correction."""

    def spread(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return values of the voxels inside as values (voxel) of the mask, 0 in the others."""
        out = np.zeros(len(self.inside), dtype=values.dtype)
        out[self.inside] = values
        return out


@dataclass(frozen=True)
class Scales:
    """Hold what turns the whole numbers of a null into units: fixed-point bits, mm³ of a voxel, units of TFCE."""

    bits: int
    mm3: float = np.nan
    tfce: float = np.nan
    base_rate_tfce: float = np.nan


@dataclass(frozen=True)
class NullStatistic:
    """Describe a family-wise statistic under one null."""

    statistic: str
    """The name of its column of the null."""
    map: str
    """The map of what survives."""
    cut: str
    """The attribute with the least whole number that survives."""
    unit: str
    factor: Callable[[Scales], float]
    """What a whole number of the null is in the unit; ALE is 1 - exp(-S)."""
    title: str
    """The name of the smallest surviving value."""
    suffix: str
    """The ending of the name of the file of the map."""
    meaning: str
    """Where the map shows z."""
    controls: str
    """The error rate that the map controls, as a template for settings."""
    attributes: tuple[str, ...]
    """The sentence on the threshold in the JSON file of the map."""
    columns: tuple[str, ...]
    """Columns of the table of a sweep: the least surviving value, of a size in voxels and in mm³."""
    digits: int = 4

    def value(self, k: float, scales: Scales) -> float:
        """Return a whole number of the null in the statistic's unit."""
        if self.unit == "ALE":
            return float(ale_from_s(np.array([int(k)]), bits=scales.bits)[0])
        return k * self.factor(scales)

    def words(self, k: float, scales: Scales) -> str:
        """Return a whole number of the null in words; a size in voxels and mm³."""
        if self.unit == "voxels":
            return f"{k:.0f} voxels = {k * scales.mm3:.0f} mm³"
        return f"{self.value(k, scales):.{self.digits}g}"


@dataclass(frozen=True)
class Correction:
    """Describe a correction for family-wise error: its words, and its statistic under each null."""

    word: str
    """In study.toml."""
    label: str
    short: str
    """In names of variables and of columns."""
    uniform: NullStatistic
    base_rate: NullStatistic
    measure: Callable[[Observed], I64]
    """Its values of the observed map: (cluster) where it is of clusters, else (voxel)."""
    base_rate_short: str
    """Of what is tested of a cluster of the base-rate null: size, mass or peak."""
    largest: str
    """The sentence on the value that the null has for each iteration."""
    gingerale: str
    """Its letters in a file name of GingerALE."""
    table_column: str
    """The column of a cluster table with the measure of a cluster, or with the number of its surviving voxels."""
    iterate: Callable[[int, int, int, Any, Levels | None, I64], None] | None = None
    """(first, count, cluster-forming S, design and rows and geometry, levels, out) -> nothing.

    Fills out (iteration, 4) with the statistics of every uniform null and with this one, where that takes so much
    longer that it is computed only if it is the correction; None of a statistic that every null has.
    """
    identity: tuple[tuple[str, int], ...] = ()
    """What it adds to the identity of the plan whose null has it only if asked for."""

    @property
    def only_if_asked(self) -> bool:
        """Whether it is computed only where it is the correction."""
        return self.iterate is not None

    @property
    def statistics(self) -> tuple[str, ...]:
        """The columns of a uniform null of a main effect with this correction."""
        return (*STATISTICS, self.uniform.statistic) if self.only_if_asked else STATISTICS

    @property
    def of_clusters(self) -> bool:
        """Whether its statistic is a measure of clusters."""
        return self.word in OF_CLUSTERS

    @property
    def by_mass(self) -> bool:
        """Whether its statistic is the mass of a cluster."""
        return self.short == "mass"

    @property
    def enhanced(self) -> bool:
        """Whether its statistic of a voxel counts what lies around it: its null looks at every voxel of each map."""
        return self.word in ENHANCED

    @property
    def of_single_voxels(self) -> bool:
        """Whether one voxel beyond the cut is enough by itself."""
        return not (self.of_clusters or self.enhanced)

    @property
    def decision_column(self) -> str:
        """The column of a cluster table with the decision."""
        return "decision" if self.short == "size" else f"decision {self.short}"

    def survives(self, observed: Observed, measured: I64, cut: int) -> npt.NDArray[np.bool_]:
        """Return the surviving voxels (voxel) where values that were measured must reach a cut."""
        if self.of_clusters:
            return clusters.keep_clusters(observed.labels, measured >= cut)
        return np.asarray((measured >= cut) & observed.inside)


def _tfce(observed: Observed) -> I64:
    assert observed.levels is not None
    searched = np.zeros_like(observed.volume)
    searched[observed.volume] = observed.inside
    units = tfce_map(observed.s[observed.inside], levels=observed.levels, volume=searched)
    return np.asarray(observed.spread(units), dtype=np.int64)


def _tfce_null(first: int, count: int, threshold: int, tables: Any, levels: Levels | None, out: I64) -> None:
    tfce_iterations(first, count, np.int32(threshold), *tables, levels, out)


_RANDOM = "were the foci at random, the chance of one such {} or more anywhere in the mask is at most {{cluster_p:g}}"
_LITERATURE = (
    "were the foci where the literature reports them anyway, the chance of one such {} or more anywhere in the mask "
    "is at most {{cluster_p:g}}"
)
_OF_CLUSTERS = "family-wise error of clusters at {{cluster_p:g}}{}: {}; it does not say which of its voxels are active"
_OF_VOXELS = "family-wise error of voxels at {{cluster_p:g}}{}: {}"
_OF_TFCE = (
    "family-wise error of threshold-free cluster enhancement at {{cluster_p:g}}{}: {}; what lies around a voxel counts "
    "for it"
)
_AGAINST = " against the base rate"
_MC = "corr-FWE_method-montecarlo"
CORRECTIONS = (
    Correction(
        word="cluster-size",
        label="cluster-size FWE",
        short="size",
        uniform=NullStatistic(
            statistic="max_size",
            map="z_size_fwe",
            cut="cut_size",
            unit="voxels",
            factor=lambda _: 1.0,
            title="Smallest cluster, size FWE",
            suffix=f"z_desc-size_level-cluster_{_MC}",
            meaning="the cluster survives cluster-size FWE",
            controls=_OF_CLUSTERS.format("", _RANDOM.format("cluster")),
            attributes=("cut_size", "cut_size_interval"),
            columns=("cut_size_voxels", "cut_size_mm3"),
        ),
        base_rate=NullStatistic(
            statistic="max_size",
            map="z_base_rate_size_fwe",
            cut="base_rate_cut_size",
            unit="voxels",
            factor=lambda _: 1.0,
            title="Smallest cluster, size FWE, base rate",
            suffix=f"z_desc-baseRateSize_level-cluster_{_MC}",
            meaning="the cluster survives it by cluster-size FWE",
            controls=_OF_CLUSTERS.format(_AGAINST, _LITERATURE.format("cluster")),
            attributes=("base_rate_cut_size",),
            columns=("cut_base_rate_size_voxels", "cut_base_rate_size_mm3"),
        ),
        measure=lambda observed: clusters.sizes(observed.labels),
        base_rate_short="size",
        largest="size of the largest cluster",
        gingerale="C",
        table_column="Cluster Size (voxels)",
    ),
    Correction(
        word="cluster-mass",
        label="cluster-mass FWE",
        short="mass",
        uniform=NullStatistic(
            statistic="max_mass",
            map="z_mass_fwe",
            cut="cut_mass",
            unit="mass",
            factor=lambda scales: 2.0 ** (-scales.bits),
            title="Smallest cluster, mass FWE",
            suffix=f"z_desc-mass_level-cluster_{_MC}",
            meaning="the cluster survives cluster-mass FWE",
            controls=_OF_CLUSTERS.format("", _RANDOM.format("cluster")),
            attributes=("cut_mass", "cut_mass_interval"),
            columns=("cut_mass",),
        ),
        base_rate=NullStatistic(
            statistic="max_mass",
            map="z_base_rate_mass_fwe",
            cut="base_rate_cut_mass",
            unit="summed z",
            factor=lambda _: 1 / Z_UNIT,
            title="Smallest cluster, mass FWE, base rate",
            suffix=f"z_desc-baseRateMass_level-cluster_{_MC}",
            meaning="the cluster survives it by cluster-mass FWE",
            controls=_OF_CLUSTERS.format(_AGAINST, _LITERATURE.format("cluster")),
            attributes=("base_rate_cut_mass",),
            columns=("cut_base_rate_mass",),
        ),
        measure=lambda observed: clusters.masses(observed.labels, s=observed.s, threshold=observed.threshold),
        base_rate_short="mass",
        largest=(
            "largest cluster mass, the sum over a cluster's voxels of how far −ln(1 − ALE) lay above its "
            "cluster-forming value [@bullmore1999],"
        ),
        gingerale="M",
        table_column="Cluster Mass",
    ),
    Correction(
        word="voxel",
        label="voxel FWE",
        short="voxel",
        uniform=NullStatistic(
            statistic="max_s",
            map="z_voxel_fwe",
            cut="cut_s",
            unit="ALE",
            factor=lambda scales: 2.0 ** (-scales.bits),
            title="Smallest ALE, voxel FWE",
            suffix=f"z_level-voxel_{_MC}",
            meaning="the voxel survives FWE by the maximum ALE",
            controls=_OF_VOXELS.format("", _RANDOM.format("voxel")),
            attributes=("cut_ale", "cut_s", "cut_s_interval"),
            columns=("cut_ale",),
        ),
        base_rate=NullStatistic(
            statistic="max_z",
            map="z_base_rate_voxel_fwe",
            cut="base_rate_cut_peak",
            unit="z",
            factor=lambda _: 1 / Z_UNIT,
            title="Smallest z, voxel FWE, base rate",
            suffix=f"z_desc-baseRateVoxel_level-voxel_{_MC}",
            meaning="the voxel survives it by FWE by the largest z",
            controls=_OF_VOXELS.format(_AGAINST, _LITERATURE.format("voxel")),
            attributes=("base_rate_cut_peak",),
            columns=("cut_base_rate_z",),
            digits=3,
        ),
        measure=lambda observed: observed.s,
        base_rate_short="peak",
        largest="largest ALE",
        gingerale="FWE",
        table_column="Voxels FWE",
    ),
    Correction(
        word="tfce",
        label="TFCE FWE",
        short="tfce",
        uniform=NullStatistic(
            statistic=TFCE,
            map="z_tfce_fwe",
            cut="cut_tfce",
            unit="TFCE",
            factor=lambda scales: scales.tfce,
            title="Smallest TFCE, FWE",
            suffix=f"z_desc-tfce_level-voxel_{_MC}",
            meaning="the voxel survives FWE by the maximum TFCE",
            controls=_OF_TFCE.format("", _RANDOM.format("voxel")),
            attributes=("cut_tfce", "cut_tfce_interval", "tfce_unit"),
            columns=("cut_tfce",),
        ),
        base_rate=NullStatistic(
            statistic=TFCE,
            map="z_base_rate_tfce_fwe",
            cut="base_rate_cut_tfce",
            unit="TFCE",
            factor=lambda scales: scales.base_rate_tfce,
            title="Smallest TFCE, FWE, base rate",
            suffix=f"z_desc-baseRateTfce_level-voxel_{_MC}",
            meaning="the voxel survives it by FWE by the largest TFCE",
            controls=_OF_TFCE.format(_AGAINST, _LITERATURE.format("voxel")),
            attributes=("base_rate_cut_tfce", "base_rate_tfce_unit"),
            columns=("cut_base_rate_tfce",),
        ),
        measure=_tfce,
        base_rate_short="tfce",
        largest="largest threshold-free cluster enhancement (TFCE) [@smith2009; @frahm2022]",
        gingerale="TFCE",
        table_column="Voxels TFCE",
        iterate=_tfce_null,
        identity=(("tfce", GRID_BITS),),
    ),
)
CORRECTION_OF = {correction.word: correction for correction in CORRECTIONS}
"""The corrections by their words in study.toml."""
CLUSTER_SHORTS = tuple(correction.short for correction in CORRECTIONS if correction.of_clusters)
"""The measures by which clusters are tested: "size" and "mass"."""
