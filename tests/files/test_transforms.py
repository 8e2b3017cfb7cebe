"""Transforms on disk lead where they should, by ITK and by ANTs."""

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.transforms import write_itk_transform
from secondglance.imaging.smooth_transform import SmoothTransform, fit_transform

TO_POINTS = np.array([[0, 1, 0, 3.0], [-1, 0, 0, 1], [0, 0, 1, -2], [0, 0, 0, 1]])
FROM_TARGET = np.array([[0.5, 0, 0, 1.0], [0, 0.5, 0, 2], [0, 0, 0.5, 3], [0, 0, 0, 1]])


def bent(points):
    x, y, z = np.moveaxis(points, -1, 0)
    return 1.1 * points + 0.4 * np.stack([np.sin(y / 4), np.cos(z / 4), np.sin(x / 3)], axis=-1)


@pytest.fixture
def world():
    """Points of a scan's world, RAS+."""
    axes = np.linspace(-6, 6, 13), np.linspace(-9, 7, 15), np.linspace(-4, 5, 10)
    return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 3)


@pytest.fixture
def written(world, tmp_path):
    """A transform on disk, and what it must do to `world`."""
    points = nib.affines.apply_affine(TO_POINTS, world)
    path = tmp_path / 'to atlas.h5'
    write_itk_transform(
        fit_transform(points, bent(points), smooth=0.001),
        path,
        to_points=TO_POINTS,
        from_target=FROM_TARGET,
        corners=world,
    )
    return path, nib.affines.apply_affine(FROM_TARGET, bent(points))


def test_itk_maps_points_of_the_scan_to_the_atlas(written, world):
    import SimpleITK as sitk

    path, expected = written
    transform = sitk.ReadTransform(str(path))
    flip = np.array([-1.0, -1.0, 1.0])
    found = np.array([transform.TransformPoint((p * flip).tolist()) for p in world]) * flip
    assert np.abs(found - expected).max() < 0.06
    assert np.abs(found - world).max() > 1


def test_itk_bends_where_the_splines_do(rng, world, tmp_path):
    """Splines of no symmetry at all, up to a millimetre: no axis of the field can be turned."""
    import SimpleITK as sitk

    points = nib.affines.apply_affine(TO_POINTS, world)
    low, high = points.min(axis=0), points.max(axis=0)
    affine = np.column_stack([np.diag([1.1, 0.9, 1.2]), [0.3, -0.2, 0.1]])
    transform = SmoothTransform(affine, low, high, rng.uniform(-1, 1, (3, 5, 6, 4)))
    places = {'to_points': TO_POINTS, 'from_target': FROM_TARGET, 'corners': world}
    path = write_itk_transform(transform, tmp_path / 'a.h5', **places, spacing=0.25)
    expected = nib.affines.apply_affine(FROM_TARGET, transform.apply(points))
    itk, flip = sitk.ReadTransform(path), np.array([-1.0, -1.0, 1.0])
    within = ((world > world.min(axis=0)) & (world < world.max(axis=0))).all(axis=1)
    found = np.array([itk.TransformPoint((p * flip).tolist()) for p in world[within]]) * flip
    assert np.abs(found - expected[within]).max() < 0.02


@pytest.mark.slow
def test_ants_brings_a_map_of_the_atlas_to_the_scan(written, world, tmp_path):
    ants = pytest.importorskip('ants')
    path, _ = written
    # An atlas that is its own coordinate: 10 x + y + 0.1 z of RAS+
    affine = np.diag([-0.25, 0.25, 0.25, 1.0])
    affine[:3, 3] = [8, -8, -4]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (56, 56, 48)), indexing='ij'), axis=-1)
    atlas = nib.affines.apply_affine(affine, grid) @ [10.0, 1.0, 0.1]
    scan = np.diag([1.0, -1.0, 1.0, 1.0])
    scan[:3, 3] = [-5, 6, -3]
    nib.save(nib.Nifti1Image(atlas.astype(np.float32), affine), tmp_path / 'atlas.nii.gz')
    nib.save(nib.Nifti1Image(np.zeros((10, 14, 8), np.float32), scan), tmp_path / 'scan.nii.gz')
    found = ants.apply_transforms(
        ants.image_read(str(tmp_path / 'scan.nii.gz')),
        ants.image_read(str(tmp_path / 'atlas.nii.gz')),
        [str(path)],
        interpolator='linear',
    ).numpy()
    place = np.stack(np.meshgrid(*(np.arange(n) for n in (10, 14, 8)), indexing='ij'), axis=-1)
    points = nib.affines.apply_affine(TO_POINTS @ scan, place)
    expected = nib.affines.apply_affine(FROM_TARGET, bent(points))
    inside = ((expected > [-5, -7, -3]) & (expected < [7, 5, 7])).all(axis=-1)
    assert inside.mean() > 0.5
    assert np.abs(found - expected @ [10.0, 1.0, 0.1])[inside].max() < 0.7
