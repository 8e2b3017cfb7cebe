"""What is refused of a scan before its graph is built."""

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.bids import Scan
from secondglance.imaging.errors import InputError
from secondglance.pipelines.execution.checks import check_scan
from secondglance.pipelines.settings import Method

SIZES = np.array([0.5, 0.5, 1.0])
"""Voxels of a rat's head, mm."""


@pytest.fixture
def saved(tmp_path, rng):
    """Return a function that writes heads and masks, or labels of two halves, as one file."""
    near = np.linalg.norm((np.indices((48, 44, 9)).T - [24, 22, 4]) * SIZES, axis=-1).T < 9

    def save(name, scale=1.0, volumes=(True,), labels=None, aside=0.0):
        head = near * rng.uniform(90, 110, near.shape)
        voxels = np.stack([head if level else near for level in volumes], axis=-1)
        if labels is not None:
            left = np.arange(48)[:, None, None] < 24
            voxels = (near * np.where(left, *labels)).astype(np.int16)
        affine = np.diag([*(SIZES * scale), 1.0])
        affine[0, 3] = aside
        nib.save(nib.Nifti1Image(np.squeeze(voxels), affine), tmp_path / name)
        return tmp_path / name

    return save


def scan_of(path, bvals=None):
    bval = path.with_name('sub-1_dwi.bval') if bvals else None
    if bvals:
        bval.write_text(bvals)
    return Scan(path, {'sub': '1'}, 'dwi' if bvals else 'T2w', 'anat', bval=bval)


def test_a_sound_scan_and_its_labels_pass(saved):
    check_scan(scan_of(saved('a.nii')), Method(), saved('b.nii', labels=(3, 1)))
    check_scan(scan_of(saved('a.nii')), Method(), saved('b.nii', labels=(1, 1)))


def test_labels_that_nothing_names_are_refused(saved):
    with pytest.raises(InputError, match=r'b\.nii must hold .* it holds 0 to 7'):
        check_scan(scan_of(saved('a.nii')), Method(), saved('b.nii', labels=(2, 7)))


def test_lengths_that_are_of_no_rodent_pass_where_their_scale_is_given(saved):
    large = scan_of(saved('a.nii', scale=0.1))
    with pytest.raises(InputError, match='as no rodent is'):
        check_scan(large, Method())
    check_scan(large, Method(voxel_scale=10.0))


def test_grids_are_compared_in_millimetres_of_the_animal(saved):
    """A header of human software has lengths of ten times as much."""
    scan = scan_of(saved('a.nii', scale=10.0))
    check_scan(scan, Method(), saved('b.nii', scale=10.0, labels=(1, 1), aside=0.09))
    with pytest.raises(InputError, match='another grid'):
        check_scan(scan, Method(), saved('b.nii', scale=10.0, labels=(1, 1), aside=0.11))


def test_the_volume_that_is_taken_first_is_looked_at(saved):
    """The first b0 volume, not the first volume: that one is a mask here."""
    path = saved('a.nii', volumes=(False, True, True))
    check_scan(scan_of(path, '1000 0 0'), Method())
    with pytest.raises(InputError, match='mask'):
        check_scan(scan_of(path, '0 0 1000'), Method())
