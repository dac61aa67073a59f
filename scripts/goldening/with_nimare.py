"""NiMARE's maps and null of one sample, by its public estimator and corrector: PYTHON with_nimare.py IN.npz OUT.npz."""

from __future__ import annotations

import sys
import warnings

import nibabel as nib
import numpy as np
from nimare.dataset import Dataset
from nimare.meta.cbma.ale import ALE
from nimare.nimads import Studyset


def main(given: str, out: str) -> None:
    """Write ALE and z (voxel), the null's largest ALE and cluster size (iteration) and the thresholds."""
    with np.load(given) as archive:
        foci = dict(archive)
    mask = nib.Nifti1Image(foci["volume"].astype(np.uint8), foci["affine"])
    source = {}
    for i, (n, first, last) in enumerate(zip(foci["n"], foci["begin"][:-1], foci["begin"][1:], strict=True)):
        x, y, z = foci["xyz"][first:last].T.tolist()
        of_one = {"coords": {"space": "MNI", "x": x, "y": y, "z": z}, "metadata": {"sample_sizes": [int(n)]}}
        source[f"{i:06d}"] = {"contrasts": {"1": of_one}}
    estimator = ALE(mask=mask, null_method="approximate", random_state=1)
    result = estimator.fit(Studyset.from_dataset(Dataset(source, mask=mask)))
    iterations = int(foci["iterations"])
    estimator.correct_fwe_montecarlo(result, voxel_thresh=0.001, n_iters=iterations)
    null = estimator.null_distributions_
    np.savez(
        out,
        ale=result.get_map("stat", return_type="array").astype(np.float32),
        z=result.get_map("z", return_type="array").astype(np.float32),
        threshold=estimator._p_to_summarystat(0.001),
        max_ale=null["values_level-voxel_corr-fwe_method-montecarlo"].astype(np.float32),
        max_size=null["values_desc-size_level-cluster_corr-fwe_method-montecarlo"].astype(np.int32),
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main(*sys.argv[1:])
