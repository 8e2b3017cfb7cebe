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


def test_a_transform_by_hand_is_a_field_before_an_affine_map(tmp_path):
    """Control points that are all alike shift by their value: the field is what the map lacks.

    World x is stretched twice by `affine` after moving by one along x; splines add 0.6 mm to y.
    Before the straight map they are 0.6 / 3 mm, because y is stretched three times.
    """
    import SimpleITK as sitk

    splines = np.zeros((3, 4, 4, 4))
    splines[1] = 0.6
    stretch = np.array([[2.0, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7]])
    transform = SmoothTransform(stretch, np.full(3, -20.0), np.full(3, 20.0), splines)
    to_points = np.eye(4)
    to_points[0, 3] = 1
    from_target = np.diag([1.0, 1, 1, 1])
    from_target[2, 3] = -3
    path = write_itk_transform(
        transform,
        tmp_path / 'a.h5',
        to_points=to_points,
        from_target=from_target,
        corners=[[1, 2, 3], [2.1, 3, 3]],
        spacing=0.5,
    )
    assert path == str(tmp_path / 'a.h5')
    both = sitk.CompositeTransform(sitk.ReadTransform(path))
    assert both.GetNumberOfTransforms() == 2
    affine, field = both.GetNthTransform(0), both.GetNthTransform(1)
    # x → 2 (x + 1) + 5, y → 3 y + 6, z → 4 z + 7 − 3; ITK has the signs of x and y turned
    assert sitk.AffineTransform(affine).GetMatrix() == (2, 0, 0, 0, 3, 0, 0, 0, 4)
    assert sitk.AffineTransform(affine).GetTranslation() == (-7, -6, 4)
    field = sitk.DisplacementFieldTransform(field).GetDisplacementField()
    # 1.1 mm and 1 mm are four and three knots 0.5 mm apart; no length has two
    assert field.GetSize() == (4, 3, 2)
    assert field.GetSpacing() == (0.5, 0.5, 0.5)
    # From 1 to 2.5 and from 2 to 3: the other ends lie first in ITK
    assert field.GetOrigin() == (-2.5, -3, 3)
    voxels = sitk.GetArrayFromImage(field)
    np.testing.assert_allclose(voxels, np.broadcast_to([0, -0.2, 0], voxels.shape), atol=1e-9)
    # (1.5, 2.5, 3.2) → (2 · 2.5 + 5, 3 · 2.5 + 6 + 0.6, 4 · 3.2 + 7 − 3)
    assert both.TransformPoint((-1.5, -2.5, 3.2)) == pytest.approx((-10, -14.1, 16.8))
    # Beyond the field the affine map goes on alone
    assert both.TransformPoint((-9, -9, 3.2)) == pytest.approx((-25, -33, 16.8))


def test_the_field_has_half_a_millimetre_unless_another_spacing_is_asked_for(tmp_path):
    import SimpleITK as sitk

    still = SmoothTransform(np.eye(4)[:3], np.zeros(3), np.ones(3), np.zeros((3, 4, 4, 4)))
    places = {'to_points': np.eye(4), 'from_target': np.eye(4), 'corners': [[0, 0, 0], [2, 1, 4]]}
    for spacing, size in (({}, (5, 3, 9)), ({'spacing': 2}, (2, 2, 3))):
        path = write_itk_transform(still, tmp_path / 'a.h5', **places, **spacing)
        both = sitk.CompositeTransform(sitk.ReadTransform(path))
        field = sitk.DisplacementFieldTransform(both.GetNthTransform(1)).GetDisplacementField()
        assert field.GetSize() == size
        assert field.GetSpacing() == (spacing.get('spacing', 0.5),) * 3
