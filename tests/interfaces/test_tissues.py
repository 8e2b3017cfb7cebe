"""The tissues of a volume: labels, fractions and volumes on its own grid."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from secondglance.files.nifti_header import mark_scale
from secondglance.files.stacks import read_stack, write_stack
from secondglance.imaging.mask.quality import EVIDENCE, SLICE_EVIDENCE, Calibration
from secondglance.imaging.pose import Pose
from secondglance.interfaces.brain import SelectMask
from secondglance.interfaces.tissues import Labels
from secondglance.models.unet import UNet
from secondglance.models.weights import REFINEMENT, save_weights

SIZES = (0.3, 0.4, 0.7)
"""mm; a voxel is 0.084 mm³."""


@pytest.fixture(params=[1, 10])
def scan(request, tmp_path, monkeypatch, rng):
    """A mask of 6 × 5 × 3 voxels and probabilities of tissue; the header times a factor."""
    monkeypatch.chdir(tmp_path)
    scale = request.param
    affine = np.diag([*(size * scale for size in SIZES), 1.0])
    mask = np.zeros((12, 11, 5), np.uint8)
    mask[3:9, 3:8, 1:4] = 1
    image = nib.Nifti1Image(mask, affine)
    mark_scale(image.header, scale)
    nib.save(image, tmp_path / 'mask.nii')
    # Slices lie along the third axis: white matter in the second, grey in the third, fluid after
    pose = Pose('rat', 0.3, 'k')
    grid = pose.grid(mask.shape, affine / [[scale], [scale], [scale], [1]])
    classes = np.zeros((grid.n_slices, 4, *grid.stack_shape[1:]), np.float32)
    for n, share in enumerate([(1, 0, 0), (0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0, 0.25, 0.75)]):
        classes[n, 1:] = 0.4 * np.array(share)[:, None, None]
    classes[:, 0] = 1 - classes[:, 1:].sum(axis=1)
    path = write_stack(classes, grid.affine, tmp_path / 'classes.nii')
    return image, path, pose, grid


@pytest.fixture
def found(scan, tmp_path):
    """What the interface writes of the scan."""
    _, path, pose, _ = scan
    labels = Labels(
        probabilities=[path], mask_file=str(tmp_path / 'mask.nii'), pose=pose.to_plain()
    )
    return labels.run().outputs


def test_volumes_are_in_cubic_millimetres_of_the_animal(found):
    table = pd.read_csv(found.volumes, sep='\t').set_index('label')
    voxel = 0.3 * 0.4 * 0.7
    # Thirty voxels in each of three slices
    assert table['voxels'].to_dict() == {'WM': 30, 'GM': 30, 'CSF': 30, 'brain': 90}
    assert table.loc['brain', 'volume_mm3'] == pytest.approx(90 * voxel, rel=1e-4)
    assert table.loc['WM', 'volume_mm3'] == pytest.approx(30 * voxel, rel=1e-4)
    # The network of the first glance knows no part of a voxel: the mask is brain as a whole
    assert table.loc['brain', 'volume_from_fractions_mm3'] == pytest.approx(90 * voxel, rel=1e-4)
    of_fractions = table['volume_from_fractions_mm3']
    assert of_fractions['WM'] == pytest.approx((0.5 + 0.25) * 30 * voxel, rel=1e-4)
    assert of_fractions['GM'] == pytest.approx((0.25 + 0.5 + 0.25) * 30 * voxel, rel=1e-4)
    assert of_fractions['CSF'] == pytest.approx((0.25 + 0.25 + 0.75) * 30 * voxel, rel=1e-4)


def test_a_voxel_of_two_fifths_tissue_inside_the_mask_is_all_tissue(scan, found):
    """The mask says where brain is; of the rest, the background's share is shared out."""
    image, _, _, _ = scan
    mask = np.asarray(image.dataobj) > 0
    labels = np.asarray(nib.load(found.dseg).dataobj)
    # As BIDS has them: 2 is white, 1 grey, 3 fluid
    for n, value in ((1, 2), (2, 1), (3, 3)):
        np.testing.assert_array_equal(labels[..., n], np.where(mask[..., n], value, 0))
    assert not labels[..., [0, 4]].any()
    for path, values in zip(
        found.probsegs, [(0.5, 0.25, 0), (0.25, 0.5, 0.25), (0.25, 0.25, 0.75)], strict=True
    ):
        share = nib.load(path).get_fdata()
        np.testing.assert_allclose(share[4, 4, 1:4], values, atol=1e-5)
        assert not share[~mask].any()


def test_the_report_gets_the_labels_of_the_file(found):
    """Slice by slice white, grey and fluid: what lies between two labels is none of a third."""
    stack, _ = read_stack(found.labels_stack)
    assert [sorted(np.unique(one)) for one in stack[:5]] == [[0], [0, 1], [0, 2], [0, 3], [0]]
    # 6 × 5 voxels of 0.3 × 0.4 mm, in pixels of 0.3 × 0.3 mm; half a row more or less at the rim
    assert np.count_nonzero(stack[1]) == pytest.approx(40, abs=6)


def test_the_volume_of_a_brain_is_that_of_its_voxels(scan, tmp_path):
    import json
    from pathlib import Path

    image, _, pose, grid = scan
    mask = grid.to_stack(np.asarray(image.dataobj)) >= 0.5
    files = {
        name: write_stack(values.astype(np.float32), grid.affine, tmp_path / f'{name}.nii')
        for name, values in {
            'stack': 50 + 100.0 * mask,
            'refined_stack': np.where(mask, 0.99, 0.01),
            'placed_stack': mask,
        }.items()
    }
    classes = np.stack([np.where(mask, 0.1, 0.9), *[np.where(mask, 0.3, 0.03)] * 3], axis=1)
    files['probabilities_stack'] = write_stack(classes, grid.affine, tmp_path / 'first.nii')
    rows = '\n'.join(f'{n}\t0.5' for n in range(len(mask)))
    (tmp_path / 'placement.tsv').write_text(f'slice\tpeak\n{rows}\n')
    # How usual the volume is, and a constant of 1
    weights = tuple(float(name == 'size') for name in EVIDENCE)
    calibration = Calibration((*weights, 1.0), (1.0,) * (len(SLICE_EVIDENCE) + 1))
    save_weights(
        UNet((4, 8), 14, 1),
        tmp_path / 'r.safetensors',
        {'spacing': '0.3', 'calibration': json.dumps(calibration.to_plain())},
        REFINEMENT,
    )
    found = (
        SelectMask(
            **files,
            placement=str(tmp_path / 'placement.tsv'),
            refinement=str(tmp_path / 'r.safetensors'),
            like=str(tmp_path / 'mask.nii'),
            method='correlation',
            pose=pose.to_plain(),
        )
        .run()
        .outputs
    )
    brain = np.asarray(nib.load(found.brain_mask).dataobj)
    told = json.loads(Path(found.confidence).read_text())
    assert brain.sum() == 90
    assert told['BrainVolume'] == pytest.approx(90 * 0.3 * 0.4 * 0.7, rel=1e-4)
    assert told['Method'] == 'correlation'
    # Of a stack of known volume: the pixels are 0.3 mm, 0.7 mm apart
    volume = (read_stack(found.mask_stack)[0] >= 0.5).sum() * 0.3**2 * 0.7
    by_hand = 1 / (1 + np.exp(np.log(1900 / (volume + 1)) - 1))
    assert told['Confidence'] == pytest.approx(by_hand, rel=1e-4)
    assert told['Confidence'] == told['ConfidenceOfMethods']['correlation']
    agreed = pd.read_csv(found.placement, sep='\t')
    assert agreed['agreement'].tolist() == [1.0] * len(mask)
