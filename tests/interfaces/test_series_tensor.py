"""A tensor fitted to the corrected series of a phantom that moved is the phantom's own."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from secondglance.interfaces.series import CorrectSeries

B = 1000.0
"""s/mm²."""

FA, MEAN = 0.7, 0.8e-3
"""Of every voxel of the phantom; mean diffusivity in mm²/s."""

FIBRE = np.array([2.0, 1.0, 1.0]) / np.sqrt(6)
"""World direction of the phantom's fibres at rest."""

SHAPE = (24, 22, 20)


def _tensor():
    """An axially symmetric tensor with `FA`: with l1 = m (1 + 2d), l2 = l3 = m (1 − d)."""
    # FA² = 3/2 · 6d² / (3 + 6d²), so d² = FA² / (3 − 2 FA²)
    d = FA / np.sqrt(3 - 2 * FA**2)
    return MEAN * ((1 - d) * np.eye(3) + 3 * d * np.outer(FIBRE, FIBRE))


@pytest.fixture(scope='module', params=[False, True], ids=['x to the left', 'x to the right'])
def corrected(request, tmp_path_factory):
    """Correct a phantom that turned by ten degrees and more, in a scanner with oblique voxels."""
    folder, rng = tmp_path_factory.mktemp('corrected'), np.random.default_rng(20190512)
    oblique = Rotation.from_euler('xyz', (8, -5, 11), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = oblique @ np.diag([0.5 if request.param else -0.5, 0.5, 0.6])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    texture = ndimage.gaussian_filter(rng.random(SHAPE), 2.0)
    middle = (np.array(SHAPE) - 1) / 2
    away = np.linalg.norm((np.moveaxis(np.indices(SHAPE), 0, -1) - middle) / (9, 8, 8), axis=-1)
    still = (400 + 4000 * (texture - texture.mean())) * (away < 1)
    still = ndimage.gaussian_filter(still, 0.7)
    # Twelve directions of an icosahedron's corners
    golden = (1 + 5**0.5) / 2
    corners = [(0, a, b * golden) for a in (1, -1) for b in (1, -1)]
    world = np.array([np.roll(c, k) for k in range(3) for c in corners]) / np.hypot(1, golden)
    volumes, bvals, bvecs, known = [], [], [], []
    to_world = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    for n, direction in enumerate(world):
        matrix = np.eye(4)
        if n:
            turn = Rotation.from_rotvec(rng.normal(0, np.deg2rad(12), 3))
            matrix[:3, :3] = turn.as_matrix()
            matrix[:3, 3] = rng.normal(0, 0.4, 3)
        # `matrix` takes world points of the moved head to those at rest
        in_head = matrix[:3, :3] @ direction
        pull = np.linalg.inv(affine) @ matrix @ affine
        for b in (0.0, B):
            signal = still * np.exp(-b * in_head @ _tensor() @ in_head)
            volumes.append(ndimage.affine_transform(signal, pull[:3, :3], pull[:3, 3], order=3))
            bvals.append(b)
            # FSL's directions: along the voxel axes, the first one turned where x runs right
            along = to_world.T @ direction
            if np.linalg.det(affine[:3, :3]) > 0:
                along[0] *= -1
            bvecs.append(along if b else np.zeros(3))
        known.append(matrix.tolist())
    for name, voxels in (('sub-1_dwi', np.stack(volumes, -1)), ('mean', still)):
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), folder / f'{name}.nii.gz')
    (folder / 'hmc.json').write_text(
        json.dumps({'volumes': list(range(0, len(volumes), 2)), 'matrices': known})
    )
    np.savetxt(folder / 'a.bval', [bvals])
    np.savetxt(folder / 'a.bvec', np.array(bvecs).T)
    found = CorrectSeries(
        estimate=False,
        in_file=str(folder / 'sub-1_dwi.nii.gz'),
        transforms=str(folder / 'hmc.json'),
        mean_file=str(folder / 'mean.nii.gz'),
        bval_file=str(folder / 'a.bval'),
        bvec_file=str(folder / 'a.bvec'),
    )
    inside = ndimage.binary_erosion(away < 0.8, iterations=1)
    return found.run(cwd=str(folder)).outputs, inside, folder / 'a.bvec'


def _as_world(bvecs, affine):
    """Turn FSL's directions, (3, T), to those of the world, (T, 3)."""
    along = bvecs.T.copy()
    if np.linalg.det(affine[:3, :3]) > 0:
        along[:, 0] *= -1
    return along @ (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T


def _fit(image, bvals, directions, inside):
    """Fit tensors by least squares of logarithms; median FA and mean direction in the world."""
    logs = np.log(np.maximum(np.asarray(image.dataobj)[inside], 1.0)).T
    x, y, z = directions.T
    design = -bvals[:, None] * np.stack(
        [x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=1
    )
    six = np.linalg.lstsq(np.column_stack([design, np.ones(len(bvals))]), logs, rcond=None)[0][:6]
    tensors = six.T[:, [[0, 3, 4], [3, 1, 5], [4, 5, 2]]]
    values, vectors = np.linalg.eigh(tensors)
    apart = values - values.mean(1, keepdims=True)
    fa = np.sqrt(1.5 * (apart**2).sum(1) / (values**2).sum(1))
    turned = np.abs(vectors[:, :, -1] @ FIBRE)
    return float(np.median(fa)), float(np.rad2deg(np.arccos(np.clip(np.median(turned), 0, 1))))


def test_fa_and_direction_are_those_of_the_phantom(corrected):
    found, inside, _ = corrected
    image, bvals = nib.load(found.out_file), np.loadtxt(found.bval_file)
    directions = _as_world(np.loadtxt(found.bvec_file), image.affine)
    fa, aside = _fit(image, bvals, directions, inside)
    assert fa == pytest.approx(FA, abs=0.02)
    assert aside < 2


def test_directions_that_were_not_turned_give_another_tensor(corrected):
    """The phantom moved enough that the test before this one can fail."""
    found, inside, raw = corrected
    image, bvals = nib.load(found.out_file), np.loadtxt(found.bval_file)
    fa, aside = _fit(image, bvals, _as_world(np.loadtxt(raw), image.affine), inside)
    assert abs(fa - FA) > 0.03 or aside > 3


def test_dipy_finds_the_same_tensor(corrected):
    pytest.importorskip('dipy', reason='dipy is not installed')
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    found, inside, _ = corrected
    image = nib.load(found.out_file)
    table = gradient_table(np.loadtxt(found.bval_file), bvecs=np.loadtxt(found.bvec_file).T)
    fit = TensorModel(table).fit(np.asarray(image.dataobj)[inside])
    assert float(np.median(fit.fa)) == pytest.approx(FA, abs=0.02)
    world = _as_world(fit.directions[:, 0].T, image.affine)
    assert np.median(np.abs(world @ FIBRE)) > np.cos(np.deg2rad(2))
