"""Labelled scans of a data set: found, read, refused."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.digests import digest_of_voxels
from secondglance.files.labelled import find_labelled
from secondglance.files.labels import labels_table
from secondglance.imaging.errors import InputError
from secondglance.models.training.scans import UNKNOWN, read_labelled_scans


def save(voxels, path, size=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([0.4 * size, 0.4 * size, size, 1.0])
    nib.save(nib.Nifti1Image(np.asarray(voxels), affine), path)


@pytest.fixture
def data_set(tmp_path):
    """sub-01 with tissues, sub-02 with a brain mask, sub-03 with nothing; a series for sub-04."""
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 40, 5), np.uint8)
    labels[10:30, 10:30], labels[15:25, 15:25], labels[18:22, 18:22] = 2, 1, 3
    reference = tmp_path / 'derivatives' / 'reference'
    for subject in ('01', '02', '03', '04'):
        head = (rng.normal(100, 5, labels.shape) + 50 * labels).astype(np.float32)
        name = f'sub-{subject}/anat/sub-{subject}_T2w.nii.gz'
        save(np.stack([head, head + 10], -1) if subject == '04' else head, tmp_path / name)
    save(labels, reference / 'sub-01/anat/sub-01_dseg.nii.gz')
    save((labels > 0).astype(np.uint8), reference / 'sub-02/anat/sub-02_desc-brain_mask.nii.gz')
    save((labels > 0).astype(np.uint8), reference / 'sub-04/anat/sub-04_desc-brain_mask.nii.gz')
    return tmp_path


def test_scans_with_a_reference_are_found(data_set):
    # A subject without such an image is left out
    (data_set / 'sub-00/anat').mkdir(parents=True)
    (data_set / 'sub-00/anat/sub-00_T1w.nii.gz').touch()
    found = list(find_labelled(data_set, 'T2w'))
    assert [(f.scan.subject, f.tissues) for f in found] == [
        ('sub-01', True),
        ('sub-02', False),
        ('sub-04', False),
    ]
    series = nib.load(data_set / 'sub-04/anat/sub-04_T2w.nii.gz').get_fdata(dtype=np.float32)
    np.testing.assert_allclose(found[2].voxels, series.mean(axis=3), rtol=1e-6)


@pytest.mark.parametrize('bvals', ['0 1000 5 2000', None])
def test_of_a_diffusion_scan_the_mean_is_that_of_its_b0_volumes(data_set, bvals):
    head = nib.load(data_set / 'sub-01/anat/sub-01_T2w.nii.gz').get_fdata(dtype=np.float32)
    series = np.stack([head, 0.2 * head, head + 30, 0.1 * head], axis=-1)
    save(series, data_set / 'sub-01/dwi/sub-01_dwi.nii.gz')
    if bvals:
        (data_set / 'sub-01/dwi/sub-01_dwi.bval').write_text(bvals)
    truth = 'sub-01/anat/sub-01_dseg.nii.gz'
    own = data_set / 'derivatives/reference/sub-01/dwi/sub-01_dseg.nii.gz'
    own.parent.mkdir()
    shutil.copy(data_set / 'derivatives/reference' / truth, own)
    [found] = find_labelled(data_set, 'dwi', ['01'])
    expected = head + 15 if bvals else series.mean(axis=3)
    np.testing.assert_allclose(found.voxels, expected, rtol=1e-5)


def test_the_order_of_labels_without_a_table_is_reported_once(data_set, caplog):
    labels = data_set / 'derivatives/reference/sub-01/anat/sub-01_dseg.nii.gz'
    other = data_set / 'derivatives/reference/sub-03/anat/sub-03_dseg.nii.gz'
    save(np.asarray(nib.load(labels).dataobj), other)
    assert len(list(find_labelled(data_set, 'T2w'))) == 4
    [told] = caplog.messages
    assert '1 grey matter, 2 white matter' in told
    caplog.clear()
    (labels.parents[2] / 'dseg.tsv').write_text(labels_table())
    list(find_labelled(data_set, 'T2w'))
    assert caplog.messages == []


def test_stacks_to_train_on_say_what_is_known(data_set):
    known, masked = read_labelled_scans(data_set, 'T2w', 0.4, ['01', 'sub-02'], species='rat')
    assert known.images.shape == (5, 48, 48)
    assert set(np.unique(known.labels)) == {0, 1, 2, 3}
    assert set(np.unique(masked.labels)) == {0, UNKNOWN}
    assert (known.labels > 0).sum() == (masked.labels == UNKNOWN).sum() == 20 * 20 * 5
    read = find_labelled(data_set, 'T2w', ['01', '02'])
    digests = [digest_of_voxels(one.voxels) for one in read]
    assert [known.digest, masked.digest] == digests


def test_a_smaller_species_is_seen_with_smaller_pixels(data_set):
    [rat] = read_labelled_scans(data_set, 'T2w', 0.4, ['01'], species='rat')
    for path in data_set.rglob('*sub-01*.nii.gz'):
        image = nib.load(path)
        save(np.asarray(image.dataobj), path, 0.65)
    [mouse] = read_labelled_scans(data_set, 'T2w', 0.4, ['01'], species='mouse')
    np.testing.assert_allclose(mouse.images, rat.images, rtol=1e-4)
    np.testing.assert_array_equal(mouse.labels, rat.labels)
    np.testing.assert_allclose(mouse.positions, rat.positions, rtol=1e-5)


@pytest.mark.parametrize(('zoom', 'species'), [(1.0, 'mouse'), (1.3, 'rat')])
def test_species_is_estimated_from_the_labelled_volume(data_set, zoom, species):
    """Of 64 and 108 mm²."""
    for path in data_set.rglob('*sub-01*.nii.gz'):
        save(np.asarray(nib.load(path).dataobj), path, zoom)
    [found] = read_labelled_scans(data_set, 'T2w', 0.4, ['01'])
    [told] = read_labelled_scans(data_set, 'T2w', 0.4, ['01'], species=species)
    np.testing.assert_array_equal(found.images, told.images)
    [other] = read_labelled_scans(
        data_set, 'T2w', 0.4, ['01'], species={'rat': 'mouse', 'mouse': 'rat'}[species]
    )
    assert found.images.shape != other.images.shape or (found.images != other.images).any()


def test_an_animal_without_a_reference_is_told_where_it_would_be(data_set):
    folder = data_set / 'derivatives/reference/sub-03/anat'
    says = f'sub-03 has no reference; it would be {folder}/sub-03_dseg.nii.gz or '
    with pytest.raises(InputError, match=says):
        list(find_labelled(data_set, 'T2w', ['01', '03']))
    # What only resembles the name is none
    save(np.ones((40, 40, 5), np.uint8), folder / 'sub-03_desc-structures_dseg.nii.gz')
    with pytest.raises(InputError, match=says):
        list(find_labelled(data_set, 'T2w', ['03']))
    empty = data_set / 'derivatives'
    with pytest.raises(InputError, match=f'the first would be {empty}/sub-01/anat/sub-01_dseg'):
        list(find_labelled(data_set, 'T2w', reference=empty))


def test_faults_are_named(data_set):
    with pytest.raises(InputError, match='--suffix'):
        list(find_labelled(data_set, 'bold'))
    with pytest.raises(InputError, match='sub-09'):
        list(find_labelled(data_set, 'T2w', ['09']))
    with pytest.raises(InputError, match='--reference'):
        list(find_labelled(data_set, 'T2w', reference=data_set / 'nowhere'))
    path = data_set / 'derivatives/reference/sub-01/anat/sub-01_dseg.nii.gz'
    labels = np.zeros((40, 40, 5), np.uint8)
    labels[:20], labels[20:30] = 7, 1
    save(labels, path)
    with pytest.raises(InputError, match='0 to 7'):
        list(find_labelled(data_set, 'T2w', ['01']))
    save(np.eye(30, dtype=np.uint8)[..., None], path)
    with pytest.raises(InputError, match='resample'):
        list(find_labelled(data_set, 'T2w', ['01']))


def test_a_labelled_scan_says_whose_it_is_and_where_it_lies(data_set):
    first, *_ = find_labelled(data_set, 'T2w', ['sub-01'])
    image = nib.load(data_set / 'sub-01/anat/sub-01_T2w.nii.gz')
    np.testing.assert_array_equal(first.voxels, image.get_fdata(dtype=np.float32))
    path = data_set / 'derivatives/reference/sub-01/anat/sub-01_dseg.nii.gz'
    truth = np.asarray(nib.load(path).dataobj)
    # Files have GM 1, WM 2, CSF 3; classes WM 1, GM 2, CSF 3
    np.testing.assert_array_equal(first.labels, np.array([0, 2, 1, 3])[truth])
    np.testing.assert_allclose(first.affine, image.affine)
    # A header of lengths multiplied by ten
    for path in data_set.rglob('*sub-01*.nii.gz'):
        save(np.asarray(nib.load(path).dataobj), path, 10)
    longer, *_ = find_labelled(data_set, 'T2w', ['01'])
    np.testing.assert_allclose(longer.affine, image.affine, rtol=1e-5)


def test_labels_elsewhere_are_those_that_are_asked_for(data_set):
    other = data_set / 'other labels'
    save(np.ones((40, 40, 5), np.uint8), other / 'sub-02/anat/sub-02_dseg.nii.gz')
    found = list(find_labelled(data_set, 'T2w', reference=other))
    assert [one.scan.subject for one in found] == ['sub-02']
    assert found[0].labels.all()


def test_a_brain_mask_without_a_table_is_no_reason_to_speak(data_set, caplog):
    assert len(list(find_labelled(data_set, 'T2w', ['02', '04']))) == 2
    assert caplog.messages == []


def test_every_run_with_labels_counts(data_set):
    folder = data_set / 'sub-02/anat'
    mask = data_set / 'derivatives/reference/sub-02/anat/sub-02_desc-brain_mask.nii.gz'
    for run in (1, 2, 3):
        shutil.copy(folder / 'sub-02_T2w.nii.gz', folder / f'sub-02_run-{run}_T2w.nii.gz')
    for run in (1, 3):
        shutil.copy(mask, mask.with_name(f'sub-02_run-{run}_desc-brain_mask.nii.gz'))
    found = [one.scan.base for one in find_labelled(data_set, 'T2w', ['02'])]
    assert sorted(found) == ['sub-02', 'sub-02_run-1', 'sub-02_run-3']


def test_labels_given_as_a_scan_are_refused(data_set):
    shutil.copy(
        data_set / 'derivatives/reference/sub-01/anat/sub-01_dseg.nii.gz',
        data_set / 'sub-01/anat/sub-01_T2w.nii.gz',
    )
    with pytest.raises(InputError, match=r'sub-01_T2w\.nii\.gz .*as a mask or labels do'):
        list(find_labelled(data_set, 'T2w', ['01']))
