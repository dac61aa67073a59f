"""NiMARE's side, run by its own Python: its estimators' own inner functions, so that only iterations are timed."""

from __future__ import annotations

import logging
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nimare.dataset import Dataset
from nimare.meta.cbma.ale import ALE, ALESubtraction
from nimare.meta.utils import get_ale_kernel
from nimare.nimads import Studyset
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.protocol import megabytes, serve
from benchmarks.samples import Foci

FACES = ndimage.generate_binary_structure(3, 1)
STATE: dict[str, Any] = {}
OPEN = ExitStack()


def image(foci: Foci) -> nib.Nifti1Image:
    """Return the mask as an image."""
    return nib.Nifti1Image(foci.volume.astype(np.uint8), foci.affine)


def studies(foci: Foci, prefix: str) -> Any:
    """Return the foci as NiMARE's own collection, experiments in order."""
    source = {}
    for i, (n, where) in enumerate(zip(foci.n, foci.of_experiment, strict=True)):
        x, y, z = foci.xyz[where].T.tolist()
        coordinates = {"space": "MNI", "x": x, "y": y, "z": z}
        source[f"{prefix}{i:06d}"] = {
            "contrasts": {"1": {"coords": coordinates, "metadata": {"sample_sizes": [int(n)]}}}
        }
    return Studyset.from_dataset(Dataset(source, mask=image(foci)))


def kernels(foci: str, out: str) -> None:
    """Write the kernel of every sample size, as NiMARE adds it, to an .npz."""
    sample = Foci.load(foci)
    made = {str(n): get_ale_kernel(image(sample), sample_size=int(n))[1] for n in np.unique(sample.n)}
    # It rounds them to float32 before use.
    np.savez(out, **{n: kernel.astype(np.float32).astype(np.float64) for n, kernel in made.items()})


def load(foci: str, fit: bool = True) -> None:
    """Fit a sample, so that its iterations can follow, or only read it."""
    sample = Foci.load(foci)
    STATE.update(foci=sample, studies=studies(sample, "s"), mask=image(sample))
    if fit:
        observed()


def observed() -> float:
    """Return the seconds of the observed map with its analytic p and z."""
    estimator = ALE(mask=STATE["mask"], null_method="approximate", generate_description=False)
    start = time.process_time()
    estimator.fit(STATE["studies"])
    seconds = time.process_time() - start
    STATE["estimator"] = estimator
    drawn = estimator.inputs_["coordinates"]
    sizes = np.repeat(STATE["foci"].n, np.diff(STATE["foci"].begin))
    assert np.array_equal(drawn["sample_size"].to_numpy(), sizes)
    STATE["rows"] = drawn.drop(columns=["x", "y", "z"])
    return seconds


def cluster(count: int, seed: int) -> float:
    """Return the seconds of iterations of the family-wise null: largest ALE, cluster size and cluster mass."""
    estimator, volume = STATE["estimator"], STATE["foci"].volume
    voxels = np.argwhere(volume)
    # What it does once for a whole run is not timed.
    threshold = estimator._p_to_summarystat(0.001)
    start = time.process_time()
    drawn = np.random.default_rng(seed).choice(len(voxels), size=(len(STATE["rows"]), count))
    for b in range(count):
        estimator._correct_fwe_montecarlo_permutation(
            voxels[drawn[:, b]],
            iter_df=STATE["rows"],
            conn=FACES,
            voxel_thresh=threshold,
            vfwe_only=False,
            mask_arr=volume,
        )
    return time.process_time() - start


def load_contrast(a: str, b: str) -> None:
    """Make the experiments of two samples ready to be exchanged."""
    arms = [Foci.load(path) for path in (a, b)]
    estimator = ALESubtraction(mask=image(arms[0]), n_iters=2, generate_description=False)
    estimator.fit(*(studies(arm, prefix) for arm, prefix in zip(arms, "ab", strict=True)))
    names = [f"{kind}{i}" for i in (1, 2) for kind in ("ma_maps", "coordinates")]
    store = OPEN.enter_context(estimator._managed_pairwise_ma_store(*names))
    STATE.update(contrast=estimator, store=store)


def contrast(count: int) -> float:
    """Return the seconds of relabellings over the whole mask: exceedance counts and largest difference."""
    store = STATE["store"]
    start = time.process_time()
    STATE["contrast"]._run_null_permutations(
        store, n_iters=count, n_cores=1, diff_ale_values=store.group1_stat - store.group2_stat
    )
    return time.process_time() - start


def statistics(ijk: NDArray[np.int64], threshold: float) -> tuple[float, int, float, float]:
    """Return largest S, cluster size and cluster mass of NiMARE's ALE of these foci, and the S closest to threshold.

    Clusters are scipy's, of voxels with S >= threshold that share faces; mass is the sum of S - threshold.
    """
    ale = STATE["estimator"]._compute_permutation_summarystat(ijk, STATE["rows"])
    s = -np.log1p(-ale.astype(np.float64))
    volume = np.zeros(STATE["foci"].volume.shape)
    volume[STATE["foci"].volume] = s
    labels, n = ndimage.label(volume >= threshold, FACES)
    closest = float(np.abs(s - threshold).min())
    if n == 0:
        return float(s.max()), 0, 0.0, closest
    size = np.bincount(labels.reshape(-1), minlength=n + 1)[1:]
    mass = ndimage.sum_labels(volume - threshold, labels, np.arange(1, n + 1))
    return float(s.max()), int(size.max()), float(mass.max()), closest


def same_draws(drawn: str, threshold: float, out: str) -> None:
    """Write `statistics` (iteration, 4) of foci on given voxels (iteration, focus)."""
    voxels = np.argwhere(STATE["foci"].volume)
    np.save(out, [statistics(voxels[row], threshold) for row in np.load(drawn)])


def own_draws(seed: int, count: int, threshold: float, out: str) -> None:
    """Write `statistics` (iteration, 4) of foci that NiMARE relocates itself, as its correction does."""
    STATE["estimator"].random_state = seed
    voxels = np.argwhere(STATE["foci"].volume)
    random = STATE["estimator"]._get_rng("correct_fwe_montecarlo")
    drawn = random.choice(len(voxels), size=(len(STATE["rows"]), count))
    whole = Path(out).with_suffix(".part.npy")
    np.save(whole, [statistics(voxels[drawn[:, b]], threshold) for b in range(count)])
    whole.rename(out)


def peak() -> float:
    """Return the most memory that this process has held, in MB."""
    return megabytes()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    functions = (kernels, load, observed, cluster, load_contrast, contrast, same_draws, own_draws, peak)
    with OPEN:
        serve(functions)
