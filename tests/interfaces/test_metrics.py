"""Scores of a scan against its reference, by hand."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from secondglance.files.labels import file_labels
from secondglance.files.stacks import read_stack
from secondglance.imaging.pose import Pose
from secondglance.interfaces.metrics import Metrics


def test_both_glances_are_scored_and_slices_are_those_of_the_scan(save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Voxels of 0.5 × 2 × 0.25 mm: slices lie along the second axis
    affine = np.diag([0.5, 2.0, 0.25, 1.0])
    truth, found = np.zeros((2, 12, 3, 12), int)
    truth[2:10, 1, 2:10] = found[2:10, 1, 2:10] = 2
    truth[4:8, 1, 4:8] = 1
    found[4:8, 1, 4:10] = 1
    truth[3:9, 2, 3:9] = found[3:9, 2, 3:9] = 2
    found[9, 2, 3:9] = 3
    mask = (found > 0).astype(np.uint8)
    mask[0, 0, 0] = 1
    first = np.zeros((*truth.shape, 4), np.float32)
    first[..., 0] = 1
    # The first glance: half of the true grey matter, and brain that is surely no background but
    # of no one tissue
    first[2:6, 1, 2:10] = [0.1, 0.2, 0.7, 0]
    first[6:10, 1, 2:10] = [0.4, 0.2, 0.2, 0.2]
    paths = {
        'dseg': save(file_labels(found), affine, 'found_dseg.nii.gz'),
        'brain_mask': save(mask, affine, 'found_mask.nii.gz'),
        'reference': save(file_labels(truth), affine, 'sub-1_dseg.nii.gz'),
        'first_probabilities': save(first, affine, 'first.nii.gz'),
    }
    pose = Pose('rat', 0.25, 'j').to_plain()
    out = Metrics(**{name: str(p) for name, p in paths.items()}, pose=pose).run().outputs
    # Labels stay labels where pixels are finer
    assert set(np.unique(read_stack(out.reference_stack)[0])) == {0, 1, 2}
    rows = pd.read_csv(out.out_file, sep='\t').set_index('label')
    # The mask has the reference's 100 voxels and seven more
    assert rows.loc['brain', 'dsc'] == pytest.approx(200 / 207, abs=1e-5)
    assert rows.loc['brain', 'sensitivity'] == 1
    assert rows.loc['WM', 'dsc'] == pytest.approx(2 * 16 / (16 + 24), abs=1e-5)
    assert rows.loc['GM', 'dsc'] == pytest.approx(2 * 76 / (84 + 76), abs=1e-5)
    assert rows.loc['CSF', 'precision'] == 0
    # 0.5 mm beyond the brain at most, in the plane; the outlier is less than 5 %
    assert rows.loc['WM', 'hd95_mm'] == pytest.approx(0.5)
    # Brain of the first glance: 64 of 100; of grey matter 32 where 24 are, and 84 in all
    assert rows.loc['brain', 'dsc_first_glance'] == pytest.approx(2 * 64 / 164, abs=1e-5)
    grey = (truth == 2)[2:6, 1, 2:10].sum()
    assert rows.loc['GM', 'dsc_first_glance'] == pytest.approx(2 * grey / (32 + 84), abs=1e-5)
    slices = pd.read_csv(out.slices_file, sep='\t')
    white = slices[slices['label'] == 'WM'].set_index('slice')['dsc']
    assert white.index.tolist() == [0, 1, 2]
    assert white[1] == pytest.approx(32 / 40, abs=1e-5)
    assert np.isnan(white[0])
    assert nib.load(paths['dseg']).shape[1] == len(white)


@pytest.mark.parametrize('forward', [True, False])
def test_the_first_slice_of_a_table_is_the_most_posterior_one(
    save, forward, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    affine = np.diag([0.3, 1.0 if forward else -1.0, 0.3, 1.0])
    truth = np.zeros((6, 4, 6), int)
    truth[1:5, :, 1:5] = 2
    found = truth.copy()
    # The most posterior slice is half missing
    found[1:3, 0 if forward else 3] = 0
    paths = {
        'dseg': save(file_labels(found), affine, 'found_dseg.nii.gz'),
        'brain_mask': save((found > 0).astype(np.uint8), affine, 'found_mask.nii.gz'),
        'reference': save(file_labels(truth), affine, 'sub-1_dseg.nii.gz'),
    }
    pose = Pose('rat', 0.3, 'j').to_plain()
    out = Metrics(**{name: str(p) for name, p in paths.items()}, pose=pose).run().outputs
    slices = pd.read_csv(out.slices_file, sep='\t')
    brain = slices[slices['label'] == 'brain'].set_index('slice')['dsc']
    assert brain.tolist() == pytest.approx([2 / 3, 1, 1, 1], abs=1e-5)


@pytest.fixture
def scored(save, tmp_path, monkeypatch):
    """Return a function that scores labels against themselves, but for what is given."""
    monkeypatch.chdir(tmp_path)
    truth = np.zeros((6, 5, 4), int)
    truth[1:5, 1:4, 1:3] = 2
    truth[2:4, 2, 1:3] = 1
    truth[4, 3, 1:3] = 3

    def score(table=None, brain=None, first=None, reference=None):
        paths = {
            'dseg': save(file_labels(truth), name='found_dseg.nii'),
            'brain_mask': save(
                (truth > 0) * np.uint8(7) if brain is None else brain, name='m.nii'
            ),
            'reference': save(
                file_labels(truth) if reference is None else reference, name='truth.nii'
            ),
        }
        if first is not None:
            paths['first_probabilities'] = save(first.astype(np.float32), name='first.nii')
        if table is not None:
            paths['label_table'] = tmp_path / 'labels.tsv'
            paths['label_table'].write_text(table)
        pose = Pose('rat', 1.0, 'k').to_plain()
        out = Metrics(**{name: str(p) for name, p in paths.items()}, pose=pose).run().outputs
        return pd.read_csv(out.out_file, sep='\t').set_index('label'), out, truth

    return score


def test_rows_are_of_the_brain_and_then_of_the_tissues(scored):
    rows, out, truth = scored()
    assert list(rows.index) == ['brain', 'WM', 'GM', 'CSF']
    assert rows['dsc'].tolist() == [1] * 4
    assert 'dsc_first_glance' not in rows
    slices = pd.read_csv(out.slices_file, sep='\t')
    assert slices['label'].value_counts().to_dict() == dict.fromkeys(rows.index, 4)
    stack, _ = read_stack(out.reference_stack)
    assert [np.unique(one).tolist() for one in stack] == [[0], [0, 1, 2, 3], [0, 1, 2, 3], [0]]
    assert (stack == 2).sum() == (truth == 2).sum()


def test_against_a_brain_mask_the_brain_alone_is_scored(scored):
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[1:5, 1:4, 1:3] = 1
    rows, out, _ = scored(reference=mask)
    assert list(rows.index) == ['brain']
    assert set(pd.read_csv(out.slices_file, sep='\t')['label']) == {'brain'}


def test_a_table_of_labels_that_is_given_says_what_they_are(scored):
    """White and grey matter change places."""
    rows, *_ = scored(table='index\tname\n1\tWM\n2\tGM\n3\tCSF\n')
    assert rows.loc['CSF', 'dsc'] == rows.loc['brain', 'dsc'] == 1
    assert rows.loc['WM', 'dsc'] == rows.loc['GM', 'dsc'] == 0


@pytest.mark.parametrize(('background', 'dsc'), [(0.49, 1), (0.5, 0)])
def test_what_is_as_likely_background_as_tissue_is_no_brain_of_the_first_glance(
    scored, background, dsc
):
    _, _, truth = scored()
    first = np.zeros((*truth.shape, 4))
    first[..., 0] = np.where(truth > 0, background, 1)
    for k in (1, 2, 3):
        first[..., k] = (truth == k) * 0.51
    rows, *_ = scored(first=first)
    assert rows['dsc_first_glance'].tolist()[1:] == [1, 1, 1]
    if dsc:
        assert rows.loc['brain', 'dsc_first_glance'] == 1
    else:
        assert not rows.loc['brain', 'dsc_first_glance'] > 0
