"""Tissue labels are written as BIDS has them, and read as their own table says."""

import csv
import io

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.labels import (
    LABELS,
    class_labels,
    file_labels,
    find_label_table,
    labels_table,
    read_label_table,
    read_reference,
)
from secondglance.files.tables import read_tsv
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.pose import Pose
from secondglance.interfaces.metrics import Metrics
from secondglance.reports.figures import COLOURS

OLD = 'index\tname\n0\tbackground\n1\tWM\n2\tGM\n3\tCSF\n'
"""Table of label files in the order of the networks."""


@pytest.fixture
def truth(rng):
    """Places in CLASSES of a small volume with every tissue."""
    return rng.integers(0, 4, (9, 8, 7))


@pytest.fixture
def reference(tmp_path, save):
    """Return a function that writes labels, and a table where one is given; the path."""

    def write(values, table=None, name='sub-1/anat/sub-1_dseg', beside=None):
        path = save(np.asarray(values, np.uint8), name=f'{name}.nii.gz')
        if table is not None:
            where = tmp_path / (beside or f'{name}.tsv')
            where.write_text(table, encoding='utf-8')
        return path

    return write


def test_the_table_is_that_of_the_bids_standard():
    rows = list(csv.DictReader(io.StringIO(labels_table()), delimiter='\t'))
    assert list(rows[0]) == ['index', 'name', 'abbreviation', 'color', 'mapping']
    # Common image-derived labels of BIDS: GM 1, WM 2, CSF 3
    assert {r['abbreviation']: int(r['index']) for r in rows} == {
        'BG': 0,
        'GM': 1,
        'WM': 2,
        'CSF': 3,
    }
    assert all(row['index'] == row['mapping'] for row in rows)


def test_colours_are_those_of_the_report():
    for label in LABELS[1:]:
        rgb = tuple(int(label.color[k : k + 2], 16) for k in (1, 3, 5))
        assert rgb == COLOURS[CLASSES.index(label.abbreviation)]


def test_classes_go_to_file_values_and_back(truth):
    written = file_labels(truth)
    for name, value in (('GM', 1), ('WM', 2), ('CSF', 3), ('background', 0)):
        np.testing.assert_array_equal(written == value, truth == CLASSES.index(name))
    np.testing.assert_array_equal(class_labels(written), truth)


@pytest.mark.parametrize(
    'beside', [None, 'dseg.tsv', 'sub-1/dseg.tsv', 'sub-1/anat/sub-1_dseg.tsv']
)
def test_a_table_says_the_order(reference, truth, tmp_path, beside):
    (tmp_path / 'dataset_description.json').write_text('{}')
    (tmp_path / 'sub-1/anat').mkdir(parents=True)
    read = read_reference(reference(truth, OLD, beside=beside))
    assert read.tissues
    np.testing.assert_array_equal(read.labels, truth)


def test_without_a_table_labels_are_those_of_bids(reference, truth):
    read = read_reference(reference(file_labels(truth)))
    assert read.table is None
    np.testing.assert_array_equal(read.labels, truth)


def test_a_table_beyond_the_data_set_or_of_another_file_does_not_count(reference, truth, tmp_path):
    (tmp_path / 'dseg.tsv').write_text(OLD)
    (tmp_path / 'sub-1/anat').mkdir(parents=True)
    (tmp_path / 'sub-1/dataset_description.json').write_text('{}')
    (tmp_path / 'sub-1/anat/sub-2_dseg.tsv').write_text(OLD)
    (tmp_path / 'sub-1/anat/sub-1_desc-regions_dseg.tsv').write_text(OLD)
    assert find_label_table(reference(file_labels(truth))) is None


@pytest.mark.parametrize(
    'table',
    [
        'index\tname\tmapping\n7\tx\t1\n5\ty\t2\n9\tz\t3\n',
        'index\tname\n7\tGray matter\n5\tWhite_Matter\n9\tCerebrospinal fluid\n',
        'index\tname\tabbreviation\n7\ta\tGM\n5\tb\tWM\n9\tc\tCSF\n',
        'index\tname\ttissue\n7\tStriatum\tGM\n5\tCommissure\tWM\n9\tVentricle\tCSF\n',
        # Cortical and subcortical grey, white, bone beside CSF
        'index\tname\tmapping\n7\tx\t8\n6\tw\t9\n5\ty\t2\n9\tz\t3\n4\tskull\t4\n',
    ],
    ids=['mapping', 'name', 'abbreviation', 'tissue', 'standard'],
)
def test_labels_of_any_number_are_read_by_what_their_table_calls_them(reference, truth, table):
    values = np.array([0, 5, 7, 9])[truth]
    if 'skull' in table:
        values[0, 0, 0], truth[0, 0, 0] = 4, 0
        grey = np.argwhere(truth == CLASSES.index('GM'))[0]
        values[tuple(grey)] = 6
    np.testing.assert_array_equal(read_reference(reference(values, table)).labels, truth)


def test_bone_soft_tissue_and_what_is_no_brain_are_outside(reference, truth):
    """The standard's 4, 5 and 6."""
    table = 'index\tname\tmapping\n1\tx\t1\n2\ty\t2\n3\tz\t3\n4\tb\t4\n5\ts\t5\n6\tn\t6\n'
    values = np.array([0, 2, 1, 3])[truth]
    for n in (4, 5, 6):
        values[0, 0, n - 4], truth[0, 0, n - 4] = n, 0
    np.testing.assert_array_equal(read_reference(reference(values, table)).labels, truth)


def test_grey_matter_alone_is_no_brain_mask_where_a_table_says_so(reference, truth):
    values = (truth == 2).astype(int)
    told = read_reference(reference(values, labels_table()))
    assert told.tissues
    np.testing.assert_array_equal(told.labels, 2 * values)
    (mask,) = [read_reference(reference(values, name='sub-2/anat/sub-2_dseg'))]
    assert not mask.tissues


def test_white_matter_alone_is_white_matter(reference):
    values = np.zeros((4, 4, 4))
    values[1:3] = 2
    read = read_reference(reference(values))
    assert read.tissues
    np.testing.assert_array_equal(read.labels, np.where(values, CLASSES.index('WM'), 0))


@pytest.mark.parametrize('value', [1, 255])
def test_a_mask_needs_no_table_and_has_none(reference, tmp_path, value):
    mask = np.zeros((4, 4, 4))
    mask[1:3] = value
    (tmp_path / 'dataset_description.json').write_text('{}')
    read = read_reference(reference(mask, OLD, 'sub-1/anat/sub-1_desc-brain_mask', 'dseg.tsv'))
    assert not read.tissues
    np.testing.assert_array_equal(read.labels, mask > 0)


@pytest.mark.parametrize(
    ('table', 'says'),
    [
        ('index\tname\n1\tGM\n2\tWM\n', 'label 3'),
        ('index\tname\n1\tGM\n2\tWM\n3\tLesion\n', 'label 3'),
        ('index\tname\n1\tGM\n1\tWM\n3\tCSF\n', 'twice'),
        ('index\tname\n1\tcortex\n2\tx\n3\ty\n', 'mapping'),
        ('name\nGM\n', 'no table of labels'),
        ('index\tname\tmapping\n1\tGM\tone\n', 'no table of labels'),
        ('', 'mapping'),
        ('index\tname\n1\t' + 'a' * 200_000, 'no table of labels'),
    ],
)
def test_a_table_that_does_not_do_is_named(reference, truth, table, says):
    with pytest.raises(InputError, match=says) as error:
        read_reference(reference(file_labels(truth), table))
    assert 'sub-1_dseg.tsv' in str(error.value)


def test_labels_that_nothing_explains_are_refused(reference, truth):
    with pytest.raises(InputError, match='it holds 0 to 12'):
        read_reference(reference(4 * truth))


def test_a_reference_in_old_order_scores_as_one_in_the_order_of_bids(
    reference, truth, save, rng, tmp_path
):
    found = np.where(rng.random(truth.shape) < 0.2, 1 + truth % 3, truth)
    dseg = save(file_labels(found), name='found_dseg.nii.gz')
    mask = save((found > 0).astype(np.uint8), name='found_mask.nii.gz')
    scores = {}
    for name, values, table in (
        ('old', truth, OLD),
        ('bids', file_labels(truth), labels_table()),
        ('bare', file_labels(truth), None),
    ):
        path = reference(values, table, name=f'{name}/sub-1_dseg')
        pose = Pose('rat', 1.0).to_plain()
        interface = Metrics(dseg=str(dseg), brain_mask=str(mask), reference=str(path), pose=pose)
        rows = read_tsv(interface.run(cwd=str(tmp_path)).outputs.out_file)
        scores[name] = {row['label']: row['dsc'] for row in rows}
    assert scores['old'] == scores['bids'] == scores['bare']
    for name in ('WM', 'GM', 'CSF'):
        one, other = found == CLASSES.index(name), truth == CLASSES.index(name)
        by_hand = 2 * (one & other).sum() / (one.sum() + other.sum())
        assert scores['old'][name] == pytest.approx(by_hand, abs=1e-6)
        assert 0.5 < by_hand < 0.99


def test_the_same_values_with_another_table_are_other_tissues(reference, truth):
    one = read_reference(reference(truth, OLD, name='a/sub-1_dseg')).labels
    other = read_reference(reference(truth, labels_table(), name='b/sub-1_dseg')).labels
    np.testing.assert_array_equal(one == 1, other == 2)
    np.testing.assert_array_equal(one == 3, other == 3)


def test_a_mask_has_no_table_whatever_lies_beside_it(tmp_path):
    (tmp_path / 'dseg.tsv').write_text(labels_table())
    (tmp_path / 'brain_mask.tsv').write_text(labels_table())
    assert find_label_table(tmp_path / 'brain_mask.nii.gz') is None
    assert find_label_table(tmp_path / 'brain.nii.gz') == tmp_path / 'dseg.tsv'


@pytest.mark.parametrize(
    ('column', 'value', 'place'),
    [('mapping', '2', 'WM'), ('tissue', 'CSF', 'CSF'), ('abbreviation', 'WM', 'WM')],
)
def test_what_a_table_says_of_the_tissue_counts_more_than_a_name(reference, column, value, place):
    """A name may be of anything, grey too; the standard's number counts more than words."""
    table = f'index\tname\t{column}\n3\tgrey\t{value}\n'
    found = read_reference(reference(np.full((4, 4, 4), 3), table))
    assert np.unique(found.labels).tolist() == [CLASSES.index(place)]


@pytest.mark.parametrize(
    ('names', 'place'),
    [
        (('Background', 'bg', 'none', 'Clear_Label', 'outside'), 0),
        (('wm', 'White', 'white matter'), CLASSES.index('WM')),
        (('gm', 'grey', 'Gray', 'grey matter', 'Gray_Matter'), CLASSES.index('GM')),
        (('csf', 'Fluid', 'cerebrospinal fluid', 'Cerebro-spinal fluid'), CLASSES.index('CSF')),
    ],
)
def test_words_that_people_use_are_known(tmp_path, names, place):
    rows = ''.join(f'{index}\t{name}\n' for index, name in enumerate(names, 5))
    (tmp_path / 'a.tsv').write_text(f'index\tname\n{rows}1\tWM\n')
    known = read_label_table(tmp_path / 'a.tsv')
    assert {known[index] for index in range(5, 5 + len(names))} == {place}


def test_of_labels_in_several_volumes_the_first_counts(tmp_path):
    volumes = np.zeros((5, 5, 4, 2), np.uint8)
    volumes[1:4, 1:4, 1:3, 0] = 2
    volumes[..., 1] = 3
    nib.save(nib.Nifti1Image(volumes, np.eye(4)), tmp_path / 'truth_dseg.nii.gz')
    found = read_reference(tmp_path / 'truth_dseg.nii.gz')
    np.testing.assert_array_equal(found.labels, class_labels(volumes[..., 0]))
