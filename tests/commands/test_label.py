import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.extras import install_extra
from secondglance.imaging.tissue_mixture import Mixture
from secondglance.models.labelling import ants_registration, atlas_labels
from secondglance.workflows import main

MEANS, DEVIATIONS = np.array([0.5, 0.75, 1.5]), np.array([0.1, 0.125, 0.25])
"""Of the tissues' intensities."""


@pytest.fixture
def study(tmp_path, rng):
    """A scan with a mask on a grid of its own."""
    affine = np.diag([0.3, -0.3, 0.9, 1])
    affine[:3, 3] = 3, 5, -7
    mask = np.zeros((41, 43, 12), np.uint8)
    mask[10:31, 10:33, 2:10] = 1
    image = (400.0 * mask + rng.uniform(1, 100, mask.shape)).astype(np.float32)
    folder = tmp_path / 'a study'
    scan = folder / 'sub-a/anat/sub-a_T2w.nii.gz'
    outline = folder / 'derivatives/reference/sub-a/anat/sub-a_desc-brain_mask.nii.gz'
    for path, voxels in ((scan, image), (outline, mask)):
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels, affine), path)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Fractions by intensity in place of ANTs: what is tested here is what is written."""

    def label(voxels, mask, affine, maps, atlas_affine, *, species, options):
        share = np.zeros((*mask.shape, 3), np.float32)
        share[mask] = [0.2, 0.7, 0.1]
        share[(voxels > 450) & mask] = [0.6, 0.3, 0.1]
        return atlas_labels.AtlasLabels(Mixture(share, MEANS, DEVIATIONS), share, share)

    monkeypatch.setattr(atlas_labels, 'label_by_atlas', label)
    monkeypatch.setattr(ants_registration, 'import_ants', lambda: None)
    monkeypatch.setattr(ants_registration, 'ants_version', lambda: '0.0')


def outputs(study):
    return study / 'derivatives/reference/sub-a/anat'


def test_labels_lie_on_the_grid_of_the_scan(study, quick):
    assert main(['label', '--bids-dir', str(study)]) == 0
    scan = nib.load(study / 'sub-a/anat/sub-a_T2w.nii.gz')
    mask = nib.load(outputs(study) / 'sub-a_desc-brain_mask.nii.gz').get_fdata() > 0
    labels = nib.load(next(outputs(study).glob('*_dseg.nii.gz')))
    np.testing.assert_array_equal(labels.affine, scan.affine)
    np.testing.assert_array_equal(labels.get_fdata() > 0, mask)
    shares = [
        nib.load(next(outputs(study).glob(f'*_label-{tissue}_probseg.nii.gz'))).get_fdata()
        for tissue in ('WM', 'GM', 'CSF')
    ]
    np.testing.assert_allclose(sum(shares), mask, atol=1e-5)
    # Where the scan lies is said in both forms, as the scan has it or as scanner coordinates
    for form in ('qform', 'sform'):
        code = int(scan.header[f'{form}_code']) or 1
        assert int(labels.header[f'{form}_code']) == code
    # Without the time at which it was packed
    assert Path(labels.get_filename()).read_bytes()[4:8] == bytes(4)
    largest = np.argmax(shares, 0)[mask]
    # Shares are WM, GM, CSF; labels 1 GM, 2 WM, 3 CSF
    np.testing.assert_array_equal(labels.get_fdata()[mask], np.array([2, 1, 3])[largest])
    assert {0, 1} <= set(largest)
    assert list((study / 'derivatives/reference/sub-a/figures').glob('*.png'))
    card = json.loads(next(outputs(study).glob('*_dseg.json')).read_text())
    assert card['Species'] == 'mouse'
    assert card['TissueMeans'] == MEANS.tolist()
    assert card['TissueDeviations'] == DEVIATIONS.tolist()
    assert card['Sources'][0] == 'bids:raw:sub-a/anat/sub-a_T2w.nii.gz'
    assert set(card['Atlas']['Files']) == {f'mouse_{t}.nii.gz' for t in ('wm', 'gm', 'csf')}


@pytest.mark.slow
def test_the_official_validator_finds_no_error(study, quick, bids_errors):
    reference = study / 'derivatives/reference'
    described = '{"Name": "by hand", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}'
    for told in ('', described):
        if told:
            (reference / 'dataset_description.json').write_text(told)
        assert main(['label', '--bids-dir', str(study)]) == 0
        assert bids_errors(reference) == []
    assert (reference / 'dataset_description.json').read_text() == described


def test_its_own_unchanged_labels_are_overwritten(study, quick):
    call = ['label', '--bids-dir', str(study)]
    assert [main(call), main(call)] == [0, 0]


def test_labels_corrected_by_hand_are_kept(study, quick, capsys):
    call = ['label', '--bids-dir', str(study)]
    assert main(call) == 0
    path = next(outputs(study).glob('*_dseg.nii.gz'))
    edited = nib.load(path)
    nib.save(nib.Nifti1Image(np.ones(edited.shape, np.uint8), edited.affine), path)
    content = path.read_bytes()
    assert main(call) == 1
    assert 'someone else' in capsys.readouterr().err
    assert path.read_bytes() == content


def test_labels_of_others_are_kept(study, quick, capsys):
    assert main(['label', '--bids-dir', str(study), '-o', str(study / 'one')]) == 0
    for card in (study / 'one').rglob('*_dseg.json'):
        card.write_text('{"GeneratedBy": [{"Name": "another"}], "Digests": {"a": "b"}}')
    assert main(['label', '--bids-dir', str(study), '-o', str(study / 'one')]) == 1
    assert 'is not by secondglance label' in capsys.readouterr().err


def test_without_ants_one_sentence_says_what_to_type(study, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'ants', None)
    assert main(['label', '--bids-dir', str(study)]) == 2
    said = capsys.readouterr().err
    assert install_extra('label') in said
    assert said.count('\n') == 1


def test_a_study_without_masks_is_refused(study, quick, capsys):
    assert main(['label', '--bids-dir', str(study), '--masks', str(study)]) == 2
    assert '_desc-brain_mask' in capsys.readouterr().err
