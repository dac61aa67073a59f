"""Anatomical names: where they come from and what they are of well-known places."""

import numpy as np
import pytest

from ale_dask.analyses.findings.atlas import ATLASES, atlas, regions
from ale_dask.numerics.space import mni_to_talairach, talairach_to_mni


@pytest.mark.parametrize(
    ("mm", "column", "name"),
    [
        ((22, -6, -12), "AAL", "Amygdala R"),
        ((-21, -1, -24), "AAL", "Amygdala L"),
        ((-21, -1, -24), "Nucleus", "Amygdala"),
        # A nucleus has no Brodmann area, however near one is.
        ((-21, -1, -24), "Brodmann Area", ""),
        # Nor has a place with a region the nucleus of the same name 2 mm away.
        ((24, -4, -14), "AAL", "Amygdala R"),
        ((24, -4, -14), "Nucleus", ""),
        # As Nord et al. 2021 print it; read as if it lay in MNI, the image says Brodmann area 10.
        ((10, 62.7, 16.7), "Brodmann Area", "near Brodmann area 9 (2 mm)"),
        ((-52, 10, 11), "Gyrus", "Inferior Frontal Gyrus"),
        ((0, -90, 90), "AAL", ""),
        ((500, 0, 0), "Gyrus", ""),
    ],
)
def test_known_places_have_their_names(mm, column, name):
    assert regions(np.array(mm, dtype=float))[column] == name


@pytest.mark.parametrize("column", ATLASES)
def test_each_labelled_voxel_has_its_own_name(column):
    found = atlas(column)
    some = np.argwhere(np.isin(found.volume, list(found.names)))[::997]
    own = some @ found.affine[:3, :3].T + found.affine[:3, 3]
    mni = talairach_to_mni(own) if found.talairach else own
    assert np.array_equal(found.at(mni), found.volume[tuple(some.T)])
    assert found.name_at(mni[0]) == found.names[int(found.volume[tuple(some[0])])]


def test_the_shares_of_a_cluster_are_of_all_its_voxels():
    found = atlas("AAL")
    inside = np.argwhere(found.volume == next(k for k, v in found.names.items() if v == "Amygdala R"))[:30]
    mm = inside @ found.affine[:3, :3].T + found.affine[:3, 3]
    assert found.shares(np.vstack([mm, np.full((10, 3), 500.0)]), "AAL") == "Amygdala R 75%; unlabelled 25%"


def test_areas_and_nuclei_of_one_image_have_a_column_each():
    found = atlas("Nucleus")
    label = {name: number for number, name in found.names.items()}
    chosen = {"Amygdala": 10, "Brodmann area 9": 30}
    own = np.vstack([np.argwhere(found.volume == label[name])[:n] for name, n in chosen.items()])
    mm = talairach_to_mni(own @ found.affine[:3, :3].T + found.affine[:3, 3])
    assert found.shares(mm, "Nucleus") == "unlabelled 75%; Amygdala 25%"
    assert found.shares(mm, "Brodmann Area") == "Brodmann area 9 75%; unlabelled 25%"
    assert found.shares(mm[:10], "Brodmann Area") == ""


def test_talairach_and_back():
    mm = np.random.default_rng(1).uniform(-70, 70, size=(50, 3))
    np.testing.assert_allclose(talairach_to_mni(mni_to_talairach(mm)), mm, atol=1e-9)
