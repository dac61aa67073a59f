"""The name, dimensions, type, unit and meaning of every array of a Dataset, written once.

Functions on Datasets validate them by `check(dataset, *wanted)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ale_dask.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Variable:
    """The description of an array; `kinds` are the numpy kinds of types that it may have."""

    name: str
    dims: tuple[str, ...]
    kinds: str
    unit: str
    meaning: str


_FOCI = (
    Variable("experiment_id", ("experiment",), "OUT", "", "unique name; repeats of a name end in #2, #3 …"),
    Variable("experiment_name", ("experiment",), "OUT", "", "the name as written in the file"),
    Variable("experiment_study", ("experiment",), "OUT", "", "its study, which other experiments may share"),
    Variable("experiment_source", ("experiment",), "OUT", "", "file:line of the experiment's first line"),
    Variable("experiment_space", ("experiment",), "OUT", "", "of its file: MNI, or TAL-VARIANT; empty of several"),
    Variable("experiment_key", ("experiment",), "u", "", "64-bit key of its random draws, inherited by subsets"),
    Variable("experiment_n_subjects", ("experiment",), "i", "subjects", "sample size; 0 where the file has none"),
    Variable("experiment_group", ("experiment",), "OUT", "", "its subjects, as a column names them; empty without"),
    Variable("experiment_imputed", ("experiment",), "OUT", "", "'given' where its sample size is not that of its file"),
    Variable("experiment_pooled", ("experiment",), "OUT", "", "ids of those that were pooled in it; empty of one"),
    Variable("experiment_tag", ("experiment", "tag"), "b", "", "whether the experiment carries the tag"),
    Variable("focus_xyz", ("focus", "axis"), "f", "mm MNI", "sub-voxel coordinates"),
    Variable("focus_experiment", ("focus",), "i", "", "position of the focus's experiment"),
)
_MAPS = (
    Variable("voxel_ijk", ("voxel", "axis"), "i", "voxels", "grid position of each voxel of the mask, C order"),
    Variable("ma", ("experiment", "voxel"), "f", "probability", "modelled activation, in [0, 1)"),
    Variable("ale_without", ("experiment", "voxel"), "f", "probability", "ALE of all other experiments"),
    Variable("s_without", ("experiment", "voxel"), "i", "2^-scale_bits", "fixed-point sum of all other experiments"),
)
_MAIN_EFFECT = (
    Variable("ale", ("voxel",), "f", "probability", "1 - prod(1 - MA), from the stored MA maps"),
    Variable("s", ("voxel",), "i", "2^-scale_bits", "fixed-point sum of -log1p(-MA): what decides"),
    Variable("logp", ("voxel",), "f", "-log10(p)", "analytic voxel p (Eickhoff 2012)"),
    Variable("z", ("voxel",), "f", "z", "isf(p)"),
    Variable("z_uncorrected", ("voxel",), "f", "z", "z where p < voxel_p, in clusters of the minimum volume"),
    Variable("z_size_fwe", ("voxel",), "f", "z", "z inside clusters that survive cluster-size FWE"),
    Variable("z_mass_fwe", ("voxel",), "f", "z", "z inside clusters that survive cluster-mass FWE"),
    Variable("tfce", ("voxel",), "f", "voxels^(1/2) z^3", "threshold-free cluster enhancement, E = 1/2, H = 2"),
    Variable("z_tfce_fwe", ("voxel",), "f", "z", "z where the voxel survives FWE by the maximum TFCE"),
    Variable("z_voxel_fwe", ("voxel",), "f", "z", "z where the voxel survives FWE by the maximum ALE"),
    Variable("z_fdr_bh", ("voxel",), "f", "z", "z where the voxel survives Benjamini-Hochberg FDR"),
    Variable("z_fdr_by", ("voxel",), "f", "z", "z where the voxel survives Benjamini-Yekutieli FDR"),
    Variable("seed_s", ("voxel",), "i", "2^-scale_bits", "S of the foci in the place that selected the experiments"),
    Variable("seed_reach", ("voxel",), "b", "", "whether these foci alone reach the cluster-forming S"),
    Variable("seed_reach_base_rate", ("voxel",), "b", "", "whether they alone reach that of the base rate"),
)
_BASE_RATE = (
    Variable("z_base_rate", ("voxel",), "f", "z", "of the p when foci are drawn from the base rate"),
    Variable("z_base_rate_size_fwe", ("voxel",), "f", "z", "inside clusters of cluster-size FWE, base-rate null"),
    Variable("z_base_rate_mass_fwe", ("voxel",), "f", "z", "inside clusters of cluster-mass FWE, base-rate null"),
    Variable("z_base_rate_voxel_fwe", ("voxel",), "f", "z", "where the voxel survives FWE by the largest z"),
    Variable("z_base_rate_tfce_fwe", ("voxel",), "f", "z", "where the voxel survives FWE by the largest TFCE"),
    Variable("base_rate_tfce", ("voxel",), "f", "voxels^(1/2) z^3", "TFCE of that z, E = 1/2, H = 2"),
    Variable("base_rate_tfce_p", ("voxel",), "f", "p", "family-wise, of that TFCE"),
    Variable("base_rate_threshold", ("voxel",), "f", "probability", "ALE from which a voxel forms clusters there"),
    Variable("base_rate_cluster_of_voxel", ("voxel",), "i", "", "cluster of the base-rate null; 0 in none"),
    Variable("base_rate_cluster_size", ("base_rate_cluster",), "i", "voxels", "size"),
    Variable("base_rate_cluster_mass", ("base_rate_cluster",), "i", "z / 4096", "sum of z beyond the forming one"),
    Variable("base_rate_cluster_peak", ("base_rate_cluster",), "i", "z / 4096", "largest z"),
    Variable(
        "cluster_base_rate_size_p", ("cluster",), "f", "p", "smallest of base-rate clusters overlapped; 1 of none"
    ),
    Variable(
        "cluster_base_rate_mass_p", ("cluster",), "f", "p", "smallest of base-rate clusters overlapped; 1 of none"
    ),
    Variable(
        "cluster_base_rate_peak_p", ("cluster",), "f", "p", "smallest of base-rate clusters overlapped; 1 of none"
    ),
    Variable("cluster_base_rate_tfce_p", ("cluster",), "f", "p", "smallest base_rate_tfce_p of its voxels"),
    *(
        Variable(f"cluster_base_rate_{m}_decision", ("cluster",), "O", "", "best of base-rate clusters overlapped")
        for m in ("size", "mass", "peak")
    ),
    Variable("cluster_base_rate_share", ("cluster",), "f", "", "share of its voxels that survive the base rate"),
)
_NETWORKS = (Variable("network_of_voxel", ("voxel",), "i", "", "label in the image that [inference] networks names"),)
_POWER = (
    Variable("power", ("reporting",), "f", "probability", "that a place is found which so many experiments report"),
    Variable("power_low", ("reporting",), "f", "probability", "exact 95 % interval of the simulations, lower end"),
    Variable("power_high", ("reporting",), "f", "probability", "exact 95 % interval of the simulations, upper end"),
    *(
        Variable(f"power{end}_base_rate", ("reporting",), "f", "probability", f"the same, against the base rate{what}")
        for end, what in (("", ""), ("_low", ", lower end"), ("_high", ", upper end"))
    ),
    Variable("prevalence", ("reporting",), "f", "", "share of the experiments that report the place"),
)
_CONTRIBUTIONS = (
    Variable("contribution", ("cluster", "experiment"), "f", "%", "mean of 1 - ALE_-i / ALE, rescaled to 100 %"),
    Variable("contribution_largest", ("cluster", "experiment"), "f", "", "largest 1 - ALE_-i / ALE of its voxels"),
    Variable("contribution_foci", ("cluster", "experiment"), "i", "foci", "foci inside the cluster"),
)
_CONTRAST = (
    Variable("difference", ("voxel",), "f", "probability", "ALE of the first arm minus ALE of the second"),
    Variable("p_greater", ("voxel",), "f", "p", "one-sided, first arm > second; nan where not tested"),
    Variable("p_less", ("voxel",), "f", "p", "one-sided, second arm > first; nan where not tested"),
    Variable("inside", ("voxel",), "b", "", "whether the voxel lies in what the analysis is limited to"),
    Variable("z_contrast", ("input", "voxel"), "f", "z", "inside the gate, uncorrected, minimum volume; signed"),
    Variable(
        "z_contrast_voxel_fwe",
        ("input", "voxel"),
        "f",
        "z",
        "voxel FWE over the label-invariant region; signed",
    ),
    Variable(
        "contrast_cluster_of_voxel",
        ("direction", "voxel"),
        "i",
        "",
        "cluster of voxels below the cluster-forming p, first arm greater, then less; 0 in none",
    ),
    Variable("contrast_cluster_size", ("contrast_cluster",), "i", "voxels", "size"),
    Variable(
        "contrast_cluster_mass",
        ("contrast_cluster",),
        "i",
        "2^-scale_bits",
        "sum of how far the first arm's S lies beyond its cluster-forming value",
    ),
    Variable("z_contrast_size_fwe", ("input", "voxel"), "f", "z", "inside clusters of cluster-size FWE; signed"),
    Variable("z_contrast_mass_fwe", ("input", "voxel"), "f", "z", "inside clusters of cluster-mass FWE; signed"),
)
_MODERATOR = (
    Variable("t_moderator", ("voxel",), "f", "sd", "sum of z X over its permutation sd; 0: not tested"),
    Variable("z_moderator", ("voxel",), "f", "z", "uncorrected p, minimum volume; signed"),
    Variable("z_moderator_voxel_fwe", ("voxel",), "f", "z", "voxel FWE by the largest T / sd; signed"),
    Variable("effect", ("voxel",), "f", "moderator", "MA-weighted mean of the moderator minus its mean"),
    Variable("effect_low", ("voxel",), "f", "moderator", "95 % jackknife interval over groups, lower end"),
    Variable("effect_high", ("voxel",), "f", "moderator", "95 % jackknife interval over groups, upper end"),
    Variable("pair", ("voxel",), "i", "", "pair of levels that differs most, from 1; negative: its first has more"),
    Variable("moderator_cluster_of_voxel", ("direction", "voxel"), "i", "", "cluster of each direction; 0 in none"),
    Variable("moderator_cluster_size", ("moderator_cluster",), "i", "voxels", "size"),
    Variable("moderator_cluster_mass", ("moderator_cluster",), "i", "2^-24 sd", "sum of T / sd beyond the forming one"),
    Variable("z_moderator_size_fwe", ("voxel",), "f", "z", "inside clusters of cluster-size FWE; signed"),
    Variable("z_moderator_mass_fwe", ("voxel",), "f", "z", "inside clusters of cluster-mass FWE; signed"),
)
_CONJUNCTION = (
    Variable(
        "ale_min",
        ("input", "voxel"),
        "f",
        "probability",
        "minimum of the thresholded ALE maps, minimum volume last",
    ),
    Variable("z_min", ("input", "voxel"), "f", "z", "minimum of the thresholded z maps, minimum volume last"),
    Variable("z_min_voxel_fwe", ("voxel",), "f", "z", "minimum of the voxel-FWE z maps"),
    Variable("z_min_unthresholded", ("voxel",), "f", "z", "minimum of the z maps before any threshold"),
)
VARIABLES: dict[str, Variable] = {
    v.name: v
    for v in (
        *(_FOCI + _MAPS + _MAIN_EFFECT + _BASE_RATE + _NETWORKS + _POWER),
        *(_CONTRIBUTIONS + _CONTRAST + _CONJUNCTION + _MODERATOR),
    )
}
OPTIONAL = ("experiment_group", "experiment_imputed", "experiment_pooled")
"""Variables (experiment) of text, "" where they do not apply, that a foci Dataset may lack."""
FOCI: tuple[str, ...] = tuple(v.name for v in _FOCI if v.name not in (*OPTIONAL, "experiment_tag"))


def check(dataset: xr.Dataset, *wanted: str) -> xr.Dataset:
    """Return the Dataset itself, if it has every wanted variable with its dimensions and type.

    Raises
    ------
    InputError
        for a variable that is missing, or has other dimensions or another type.
    """
    for name in wanted:
        variable = VARIABLES[name]
        if name not in dataset:
            names = ", ".join(map(str, dataset.variables)) or "nothing"
            raise InputError(f"the dataset has no variable '{name}' ({variable.meaning}); it has: {names}")
        array = dataset[name]
        if array.dims != variable.dims:
            raise InputError(f"'{name}' has dims {array.dims}, wanted {variable.dims}")
        if array.dtype.kind not in variable.kinds:
            raise InputError(f"'{name}' has dtype {array.dtype}, wanted kind '{variable.kinds}'")
    return dataset


def describe(dataset: xr.Dataset, *own: Variable) -> xr.Dataset:
    """Return the Dataset with the unit and the meaning of each variable in the variable's attributes.

    `own` are variables that only the analysis has which made the Dataset, and that no other module checks.
    """
    known = VARIABLES | {variable.name: variable for variable in own}
    for name, array in dataset.variables.items():
        variable = known.get(str(name))
        if variable is not None:
            array.attrs.update(units=variable.unit, long_name=variable.meaning)
    return dataset
