"""Atlases of regions are read as they are, or refused with a reason."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.regions import (
    read_frame,
    read_region_atlas,
    read_region_names,
    region_table,
)
from secondglance.imaging.errors import InputError
from secondglance.imaging.regions import Region

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


def named(folder, table):
    (folder / 'regions.tsv').write_text(table, encoding='utf-8')
    return read_region_names(folder / 'regions.tsv')


def test_every_column_of_the_table_is_read_and_the_background_left_out(folder):
    table = (
        'index\tname\tabbreviation\tcolor\ttissue\n'
        '5\t Left Olfactory bulb \t\t#0A1b2C\tGM\n'
        '0\toutside\tout\t#000000\t\n'
        '2\tÄußere Kapsel\tÄK\t#12345\tWM\n'
        '9\t-\t\t#1234567\tcsf\n'
        '-1\tVentricle 4\t\t\tCSF\n'
    )
    assert named(folder, table) == (
        Region(5, 'Left Olfactory bulb', 'LOb', '#0A1b2C', 'GM'),
        # A colour of golden-angle hues, by hand: HLS of (0.618034 · 2 − 0.236068) mod 1 = 0
        Region(2, 'Äußere Kapsel', 'ÄK', '#bd3d3d', 'WM'),
        Region(9, '-', '-', named(folder, 'index\tname\n9\tx\n')[0].color, ''),
        Region(-1, 'Ventricle 4', 'V4', named(folder, 'index\tname\n-1\tx\n')[0].color, 'CSF'),
    )


@pytest.mark.parametrize(('index', 'color'), [(1, '#3dbd62'), (2, '#bd3d3d'), (3, '#3d62bd')])
def test_colours_are_of_one_lightness_and_hues_a_golden_angle_apart(folder, index, color):
    """Red, green and blue of (0.618034 · index − 0.236068) mod 1, lightness 0.49, by hand."""
    (region,) = named(folder, f'index\tname\n{index}\tx\n')
    assert region.color == color


def test_a_table_of_indices_and_names_alone_is_enough(folder):
    (region,) = named(folder, 'name\tindex\nCortex cerebri\t4\n')
    assert (region.index, region.name, region.abbreviation, region.tissue) == (
        *(4, 'Cortex cerebri', 'Cc', ''),
    )


def test_the_table_that_is_written_is_that_of_bids_to_the_letter():
    regions = (
        Region(1, 'Grey', 'g', '#010203', 'GM'),
        Region(2, 'White', 'w', '#040506', 'WM'),
        Region(7, 'Fluid', 'f', '#070809', 'CSF'),
        Region(40, 'Mixed', 'm', '#0a0b0c'),
    )
    assert region_table(regions) == (
        'index\tname\tabbreviation\tcolor\tmapping\n'
        '1\tGrey\tg\t#010203\t1\n'
        '2\tWhite\tw\t#040506\t2\n'
        '7\tFluid\tf\t#070809\t3\n'
        '40\tMixed\tm\t#0a0b0c\tn/a\n'
    )
    assert region_table(()) == 'index\tname\tabbreviation\tcolor\tmapping\n'


@pytest.mark.parametrize(
    'name', ['dseg.nii.gz', 'rat_dseg.nii', 'regions.nii', 'my.regions.nii.gz']
)
def test_labels_and_table_have_one_name_and_the_atlas_that_of_its_folder(folder, name):
    stem = name.removesuffix('.gz').removesuffix('.nii')
    image = nib.Nifti1Image(nib.load(folder / 'regions.nii.gz').get_fdata(), np.eye(4))
    (folder / 'regions.nii.gz').unlink()
    (folder / 'regions.tsv').rename(folder / f'{stem}.tsv')
    image.set_sform(np.diag([0.2, 0.3, 0.4, 1]), 1)
    nib.save(image, folder / name)
    # Images of other names are none
    (folder / 'template.nii.gz').touch()
    (folder / 'regions.nii.gz.json').touch()
    (folder / 'dseg.nii.bz2').touch()
    atlas = read_region_atlas(str(folder))
    assert atlas.name == folder.name
    assert atlas.labels.dtype == np.int16
    assert atlas.labels[:3, 0, 0].tolist() == [0, 3, 7]
    np.testing.assert_allclose(atlas.affine, np.diag([0.2, 0.3, 0.4, 1]), atol=1e-6)


def test_two_maps_of_labels_are_one_too_many(folder):
    shutil.copy(folder / 'regions.nii.gz', folder / 'dseg.nii.gz')
    with pytest.raises(InputError, match='has 2 files named'):
        read_region_atlas(folder)


def test_labels_that_are_nearly_whole_are_rounded(folder):
    labels = np.zeros((4, 5, 6), np.float32)
    labels[1], labels[2] = 2.9, 7.2
    labels[3] = -0.4
    nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / 'regions.nii.gz')
    assert read_region_atlas(folder).labels[:, 0, 0].tolist() == [0, 3, 7, 0]


@pytest.mark.parametrize(
    ('matrix', 'fits'),
    [
        (np.diag([0.01, 0.01, 0.0101, 1]), True),
        (np.diag([0.01, 0.01, 0.0099, 1]), False),
        (np.diag([-1, 1, 1, 1]), True),
        (np.eye(3), False),
        (np.eye(4)[None], False),
        (np.full((4, 4), np.nan), False),
    ],
)
def test_a_frame_is_a_matrix_that_can_be_inverted(tmp_path, matrix, fits):
    (tmp_path / 'frame.json').write_text(json.dumps({'to_rat': matrix.tolist()}))
    if fits:
        np.testing.assert_array_equal(read_frame(tmp_path), matrix)
    else:
        with pytest.raises(InputError, match=r'frame\.json must hold'):
            read_frame(tmp_path)


def test_without_a_frame_the_world_is_the_rats(tmp_path):
    np.testing.assert_array_equal(read_frame(tmp_path), np.eye(4))
    (tmp_path / 'frame.json').write_text('{}')
    with pytest.raises(InputError, match='4 by 4 that can be inverted'):
        read_frame(tmp_path)
