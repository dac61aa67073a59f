"""Plans on disk: every kind is read as its own type, with the bytes that it was written with."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.runs import with_inference

from ale_dask.analyses import (
    balanced,
    balanced_clusters,
    base_rate,
    contrast,
    contrast_clusters,
    kinds,
    literature,
    main_effect,
    moderator,
    moderator_clusters,
    subsampled,
)
from ale_dask.analyses.sensitivity import base_rate_variants, contrast_jackknife, noise_null, variant_null
from ale_dask.analyses.sensitivity.jackknife import contrast_family, family, sets_of
from ale_dask.analyses.statistics import null as null_statistic
from ale_dask.analyses.statistics.functions import statistic_of
from ale_dask.config.study import load_study
from ale_dask.execution.plan import Plan
from ale_dask.workflows.literature import prepare_literature
from ale_dask.workflows.prepare import make_plans, prepare

STORE = Path(__file__).parents[1] / "stores" / "earlier.tar.xz"
TYPES: dict[str, type[Plan]] = {
    main_effect.KIND: main_effect.MainEffectPlan,
    base_rate.KIND: base_rate.BaseRatePlan,
    contrast.KIND: contrast.ContrastPlan,
    contrast_clusters.KIND: contrast_clusters.ContrastClustersPlan,
    variant_null.KIND: variant_null.VariantsPlan,
    base_rate_variants.KIND: base_rate_variants.BaseRateVariantsPlan,
    contrast_jackknife.KIND: contrast_jackknife.ContrastLeftOutPlan,
    noise_null.KIND: noise_null.FailSafePlan,
    subsampled.KIND: subsampled.SubsampledPlan,
    balanced.KIND: balanced.BalancedPlan,
    balanced_clusters.KIND: balanced_clusters.BalancedClustersPlan,
    moderator.KIND: moderator.ModeratorPlan,
    moderator_clusters.KIND: moderator_clusters.ModeratorClustersPlan,
    null_statistic.KIND: null_statistic.NullStatisticPlan,
    literature.KIND: literature.LiteraturePlan,
}
FURTHER = """
[analysis.part]
kind = "subsampled"
of = "drug"
size = 5
subsamples = 3
[analysis.pairs]
kind = "balanced-contrast"
arms = ["drug", "therapy"]
subsamples = 3
[analysis.by-foci]
kind = "moderator"
of = "drug"
on = "foci"
"""


@pytest.fixture
def made(tiny: Path) -> dict[str, Plan]:
    """Return a plan of every kind."""
    toml = tiny / "study.toml"
    toml.write_text(toml.read_text() + FURTHER)
    prepared = prepare(with_inference(load_study(toml), null="both", voxel_p=0.05))
    found = make_plans(prepared)
    arms = ("drug", "therapy")
    mains = {name: found[name] for name in (*arms, "drug-vs-therapy_pooled")}
    sets = sets_of([prepared.samples["drug"]])[:2]
    one, two = (family(prepared.samples[name], mains[name], left_out=sets, name=name) for name in arms)
    without = contrast_family(
        (one, two),
        prepared.arms["drug-vs-therapy"],
        pooled=None,
        whole=mains["drug-vs-therapy_pooled"],
        left_out=sets,
        inside=None,
        name="without",
    )
    noise = noise_null.plan_fail_safe(
        prepared.samples["drug"], mains["drug"], tested=np.arange(3), series=2, name="noise"
    )
    asked = null_statistic.Asked(statistic_of("laterality"))
    lateral = null_statistic.plan_statistic(asked, mains["drug"], affine=prepared.mask.affine, name="lateral")
    drug = prepared.samples["drug"].foci
    whole = literature.Set("all", np.arange(drug.sizes["experiment"]))
    terms = prepare_literature(drug, [whole, whole], inference=prepared.study.inference)
    listed = [*found.values(), one.plan, *one.base_rate_passes, without.plan, noise, lateral, terms]
    return {plan.kind: plan for plan in listed}


def test_every_kind_is_read_as_its_own_type(made: dict[str, Plan]) -> None:
    assert set(made) == set(TYPES) == set(kinds.PLANS)
    for kind, plan in made.items():
        again = Plan.from_bytes(plan.to_bytes())
        assert type(plan) is type(again) is TYPES[kind]
        assert (again.to_bytes(), again.id) == (plan.to_bytes(), plan.id)
        null = kinds.PLANS[kind].block(plan, 0, 2)
        for name, array in kinds.PLANS[kind].block(again, 0, 2).items():
            np.testing.assert_array_equal(array, null[name])


def test_what_a_type_names_is_what_the_plan_holds(made: dict[str, Plan]) -> None:
    for plan in made.values():
        named = {name for cls in type(plan).__mro__ for name in vars(cls) if not name.startswith("_")}
        for name in named & set(plan.arrays):
            value = getattr(plan, name)
            if isinstance(value, np.ndarray) and value.dtype != np.bool_:
                assert value is plan.arrays[name]


def test_an_unknown_kind_is_a_plan() -> None:
    assert type(Plan.from_bytes(Plan("n", "of-another-program", "ab", (), {}, {}).to_bytes())) is Plan


def test_a_plan_of_an_earlier_version_is_written_as_it_was() -> None:
    with tarfile.open(STORE) as archive:
        file = archive.extractfile("out/plans/a/plan.npz")
        assert file is not None
        stored = file.read()
    plan = Plan.from_bytes(stored)
    assert isinstance(plan, main_effect.MainEffectPlan)
    assert plan.null_threshold == plan.threshold > 0
    before, after = (zipfile.ZipFile(io.BytesIO(data)) for data in (stored, plan.to_bytes()))
    # Compressed bytes are the library's; what they hold, and in which order, is the plan's.
    assert before.namelist() == after.namelist()
    assert [before.read(name) for name in before.namelist()] == [after.read(name) for name in after.namelist()]
