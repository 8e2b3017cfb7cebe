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
        ('index\tname\n1\tGM\n', 'label 2'),
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


def test_the_table_is_written_to_the_letter():
    assert labels_table() == (
        'index\tname\tabbreviation\tcolor\tmapping\n'
        '0\tBackground\tBG\t#000000\t0\n'
        '1\tGrey Matter\tGM\t#56b4e9\t1\n'
        '2\tWhite Matter\tWM\t#e69f00\t2\n'
        '3\tCerebrospinal Fluid\tCSF\t#cc79a7\t3\n'
    )


def test_values_and_classes_are_those_of_bids_by_hand():
    """Networks have WM 1, GM 2, CSF 3; files GM 1, WM 2, CSF 3."""
    assert file_labels([[0, 1], [2, 3]]).tolist() == [[0, 2], [1, 3]]
    assert file_labels(3).dtype == np.uint8
    assert class_labels(np.array([0.0, 1, 2, 3])).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ('row', 'place'),
    [
        *((f'x\t{n}', place) for n, place in enumerate((0, 2, 1, 3, 0, 0, 0, None, 2, 2, None))),
        ('GM\tn/a', 2),
        ('GM\t', 2),
        ('GM\t7', None),
        ('x\tn/a', None),
        (' wm \t', 1),
        ('grey_matter\t', 2),
        ('CSF\t 1 ', 2),
    ],
)
def test_each_label_of_the_standard_is_one_class_or_none(tmp_path, row, place):
    table = f'index\tname\tmapping\n5\t{row}\n1\tWM\t\n'
    (tmp_path / 'a.tsv').write_text(table)
    assert read_label_table(tmp_path / 'a.tsv') == {5: place, 1: 1}


@pytest.mark.parametrize(
    ('columns', 'place'),
    [
        ({'tissue': 'WM', 'abbreviation': 'GM', 'name': 'CSF'}, 1),
        ({'tissue': 'x', 'abbreviation': 'GM', 'name': 'CSF'}, 2),
        ({'tissue': '', 'abbreviation': 'x', 'name': 'CSF'}, 3),
        ({'abbreviation': 'BG', 'name': 'CSF'}, 0),
    ],
)
def test_the_first_column_that_names_a_tissue_counts(tmp_path, columns, place):
    names, words = '\t'.join(columns), '\t'.join(columns.values())
    (tmp_path / 'a.tsv').write_text(
        f'{names}\tindex\n{words}\t5\n{words.replace("BG", "WM")}\t1\n'
    )
    assert read_label_table(tmp_path / 'a.tsv')[5] == place


def test_a_table_with_a_mark_at_its_beginning_is_read(tmp_path):
    (tmp_path / 'a.tsv').write_text('index\tname\n1\tGM\n', encoding='utf-8-sig')
    assert read_label_table(tmp_path / 'a.tsv') == {1: 2}
    with pytest.raises(InputError, match='is no table of labels'):
        read_label_table(tmp_path / 'none.tsv')


def _found(root, *names, of='sub-1/anat/sub-1_dseg.nii.gz'):
    """Which of these tables is that of a file, one after another taken away."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    found = []
    while (path := find_label_table(root / of)) is not None:
        found.append(str(path.relative_to(root)))
        path.unlink()
    return found


def test_of_tables_the_own_comes_first_then_the_nearest_then_the_plain_one(tmp_path):
    (tmp_path / 'dataset_description.json').write_text('{}')
    names = ['sub-1/anat/sub-1_dseg.tsv', 'sub-1/anat/dseg.tsv', 'sub-1/dseg.tsv', 'dseg.tsv']
    assert _found(tmp_path, *reversed(names)) == names


def test_the_root_of_a_data_set_is_told_by_its_description_else_by_its_subjects(tmp_path):
    """Above it no table counts."""
    names = ['a/sub-1/dseg.tsv', 'a/dseg.tsv', 'dseg.tsv']
    of = 'a/sub-1/anat/sub-1_dseg.nii'
    assert _found(tmp_path, *names, of=of) == names[:2]
    (tmp_path / 'dataset_description.json').touch()
    assert _found(tmp_path, *names, of=of) == names
    # Of a file in no data set, and of one that is not named as in one, those beside it alone
    names = ['b/c/rat_dseg.tsv', 'b/c/dseg.tsv', 'b/dseg.tsv']
    assert _found(tmp_path, *names, of='b/c/rat_dseg.nii') == names[:2]
    names = ['b/c/sub-1_dseg.tsv', 'b/c/dseg.tsv', 'b/dseg.tsv']
    (tmp_path / 'dataset_description.json').unlink()
    assert _found(tmp_path, *names, of='b/c/sub-1_dseg.nii') == names[:2]


def test_a_table_that_is_given_counts_more_than_those_beside(reference, truth, tmp_path):
    path = reference(truth, labels_table())
    (tmp_path / 'mine.tsv').write_text(OLD)
    read = read_reference(path, tmp_path / 'mine.tsv')
    assert (read.table, read.tissues) == (tmp_path / 'mine.tsv', True)
    np.testing.assert_array_equal(read.labels, truth)
    assert read_reference(path).table == path.with_name('sub-1_dseg.tsv')


def test_a_table_says_what_zero_is_too(reference):
    values = np.zeros((4, 4, 4))
    values[1:3] = 1
    read = read_reference(reference(values, 'index\tname\n0\tCSF\n1\tGM\n'))
    np.testing.assert_array_equal(read.labels, np.where(values == 1, 2, 3))
    # Not told, it is background
    read = read_reference(reference(values, 'index\tname\n1\tGM\n'))
    np.testing.assert_array_equal(read.labels, np.where(values == 1, 2, 0))


@pytest.mark.parametrize(
    ('values', 'read'),
    [
        ([0, 1, 2, 3], [0, 2, 1, 3]),
        ([0, 1, 2, 1], [0, 2, 1, 2]),
        # One value alone that is no label, or 1, is a mask
        ([0, 1, 1, 1], [0, 1, 1, 1]),
        ([0, 7, 7, 0], [0, 1, 1, 0]),
        ([0, 4, 4, 0], [0, 1, 1, 0]),
        ([0, 1, 4, 0], None),
        ([-1, 1, 2, 0], None),
    ],
)
def test_without_a_table_labels_are_0_to_3_or_a_mask(save, values, read):
    path = save(np.array(values, np.int16)[:, None, None] * np.ones((4, 3, 2), np.int16))
    if read is None:
        low, high = min(values), max(values)
        with pytest.raises(InputError, match=f'must hold 0 background, .* holds {low} to {high}'):
            read_reference(path)
    else:
        found = read_reference(path)
        assert found.labels[:, 0, 0].tolist() == read
        assert (found.tissues, found.table) == (max(read) > 1, None)


def test_values_that_are_nearly_whole_are_rounded(save, tmp_path):
    values = np.array([0.1, 0.9, 2.2, 2.8])[:, None, None] * np.ones((4, 3, 2))
    assert read_reference(save(values.astype('f4'))).labels[:, 0, 0].tolist() == [0, 2, 1, 3]
    (tmp_path / 'image.tsv').write_text(OLD)
    assert read_reference(save(values.astype('f4'))).labels[:, 0, 0].tolist() == [0, 1, 2, 3]
