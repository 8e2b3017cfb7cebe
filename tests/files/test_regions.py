"""Atlases of regions are read as they are, or refused with a reason."""

import json

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.regions import read_region_atlas, region_table
from secondglance.imaging.errors import InputError

TABLE = 'index\tname\tabbreviation\tcolor\ttissue\n0\tnothing\t\t\t\n'
TABLE += '3\tCorpus callosum\tcc\t#0a0b0c\tWM\n7\tLateral ventricle\t\tred\tn/a\n'


@pytest.fixture
def folder(tmp_path):
    labels = np.zeros((4, 5, 6), np.int16)
    labels[1], labels[2] = 3, 7
    nib.save(nib.Nifti1Image(labels, np.diag([0.2, 0.2, 0.2, 1])), tmp_path / 'regions.nii.gz')
    (tmp_path / 'regions.tsv').write_text(TABLE)
    return tmp_path


def test_a_mark_at_the_beginning_of_the_table_is_skipped(folder):
    (folder / 'regions.tsv').write_text(TABLE, encoding='utf-8-sig')
    assert [region.index for region in read_region_atlas(folder).regions] == [3, 7]


def test_labels_names_and_colours_are_read(folder):
    atlas = read_region_atlas(folder)
    first, second = atlas.regions
    assert (first.index, first.abbreviation, first.color, first.tissue) == (
        3,
        'cc',
        '#0a0b0c',
        'WM',
    )
    assert (second.abbreviation, second.tissue) == ('Lv', '')
    assert second.color.startswith('#')
    assert len(second.color) == 7
    assert atlas.look_up([[0.2, 0.4, 0.4], [0.4, 0.4, 0.4]]).tolist() == [3, 7]
    assert np.array_equal(atlas.to_rat, np.eye(4))


def test_frame_of_another_species_is_read(folder):
    matrix = np.diag([1.5, 1.5, 1.5, 1.0])
    (folder / 'frame.json').write_text(json.dumps({'to_rat': matrix.tolist()}))
    assert read_region_atlas(folder).look_up([[0.3, 0.6, 0.6]]).tolist() == [3]


def test_table_beside_a_map_has_the_columns_of_bids(folder):
    lines = region_table(read_region_atlas(folder).regions).splitlines()
    assert lines[0] == 'index\tname\tabbreviation\tcolor\tmapping'
    # White matter is 2 in the BIDS standard; the ventricle's tissue is not told
    assert lines[1] == '3\tCorpus callosum\tcc\t#0a0b0c\t2'
    assert lines[2].endswith('\tn/a')


@pytest.mark.parametrize(
    ('name', 'text', 'reason'),
    [
        ('regions.tsv', None, 'cannot be read'),
        ('regions.tsv', 'index\tlabel\n1\ta\n', 'columns index'),
        ('regions.tsv', 'index\tname\nx\ta\n', 'whole numbers'),
        ('regions.tsv', 'index\tname\n3\n', 'columns index'),
        ('regions.tsv', 'index\tname\n3\t' + 'a' * 200_000, 'columns index'),
        ('frame.json', '[' * 100_000, '4 by 4'),
        ('regions.tsv', 'index\tname\n1\ta\n1\tb\n', 'twice'),
        ('regions.nii.gz', None, '0 files'),
        ('frame.json', '{"to_rat": [[1]]}', '4 by 4'),
        ('frame.json', 'no', '4 by 4'),
        # A plane of the atlas for all of the rat's
        ('frame.json', json.dumps({'to_rat': np.diag([1, 1, 0, 1]).tolist()}), '4 by 4'),
    ],
)
def test_a_broken_atlas_is_refused(folder, name, text, reason):
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(InputError, match=reason):
        read_region_atlas(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match='not a folder'):
        read_region_atlas(tmp_path / 'none')


@pytest.mark.parametrize(
    ('shape', 'value'), [((4, 5, 6, 2), 3), ((4, 5, 6), -1), ((4, 5, 6), 40_000)]
)
def test_an_atlas_is_one_volume_of_labels(folder, shape, value):
    labels = np.zeros(shape, np.int32)
    labels[1], labels[2] = value, 3
    nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / 'regions.nii.gz')
    with pytest.raises(InputError, match='one volume of labels'):
        read_region_atlas(folder)


def test_labels_are_those_that_sixteen_bits_hold(folder):
    labels = np.zeros((4, 5, 6), np.int32)
    labels[1] = 32767
    for label in (32767, 32768):
        labels[1] = label
        nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / 'regions.nii.gz')
        (folder / 'regions.tsv').write_text(f'index\tname\n{label}\tlast\n')
        if label == 32767:
            assert read_region_atlas(folder).labels.max() == label
        else:
            with pytest.raises(InputError, match='32768'):
                read_region_atlas(folder)
