"""TFCE from the configuration to the map: its null is that of the same iterations, and the rest is unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.runs import digests, digests_of, with_backend, with_inference

from ale_dask.analyses.null_draws import null_tables
from ale_dask.config.study import Study
from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.kernels.planes import sum_of_foci
from ale_dask.numerics.tfce import tfce_map
from ale_dask.reporting import long_table
from ale_dask.workflows import run, run_directory
from ale_dask.workflows.status import status


def test_tfce_end_to_end(tiny_study: Study, tmp_path: Path) -> None:
    # Of fewer than 73 iterations a threshold at .05 has no upper end, and `status` shows none.
    study = with_inference(with_backend(tiny_study, name="serial", block_size=16), iterations=90)
    wanted = with_inference(study, correction="tfce")
    out = tmp_path / "tfce"
    results, record = run.run(wanted, out, quiet=True)
    plain, _ = run.run(study, tmp_path / "plain", quiet=True)
    result = results["drug"]
    null = result["null"].values
    assert list(result["statistic"].values) == ["max_s", "max_size", "max_mass", "max_tfce"]
    np.testing.assert_array_equal(null[:, :3], plain["drug"]["null"].values)

    _, plans = run_directory.stored_run(out)
    plan = plans["drug"]
    design, rows, space = null_tables(plan)
    mask = run_directory.stored_run(out)[0].mask
    for iteration in (0, 17, 59):
        drawn = np.empty(design.focus_begin[-1], dtype=np.int64)
        for e, key in enumerate(design.key):
            draw_voxels(key, iteration, mask.n_voxels, drawn, design.focus_begin[e], design.focus_begin[e + 1])
        field = sum_of_foci(drawn, design=design, rows=rows, geometry=space)
        assert tfce_map(field, levels=plan.levels, volume=mask.volume).max() == null[iteration, 3]

    units = tfce_map(plan.s, levels=plan.levels, volume=mask.volume)
    kept = result["z_tfce_fwe"].values != 0
    z = result["z"].values != 0
    np.testing.assert_array_equal(kept, (units >= result.attrs["cut_tfce"]) & z)
    assert 0 < kept.sum() < len(kept)
    assert digests(with_backend(wanted, name="threads", workers=2, block_size=7), tmp_path / "threads") == digests_of(
        record
    )

    run.write(results, record, out, study=wanted, pictures=False)
    assert list((out / "drug").glob("*z_desc-tfce_level-voxel_corr-FWE_method-montecarlo.nii.gz"))
    assert not list((tmp_path / "plain").rglob("*tfce*"))
    table = long_table([("tfce", wanted, results, record)])
    drug = table[(table["analysis"] == "drug") & (table["level"] == "tfce")]
    assert set(drug["survives"]) == {"yes"}
    np.testing.assert_allclose(drug["cut_tfce"].astype(float), result.attrs["cut_tfce"] * result.attrs["tfce_unit"])
    standing = next(s for s in status(out) if s.analysis == "drug")
    assert standing.unit == "TFCE"
    assert standing.cut is not None
    np.testing.assert_allclose(standing.cut[0], drug["cut_tfce"].astype(float).iloc[0])
