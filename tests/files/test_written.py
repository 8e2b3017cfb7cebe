"""Files edited by a person are distinguished from damaged ones."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.written import (
    find_edited,
    is_damaged,
    log_path,
    note_written,
    written_digests,
)


@pytest.fixture
def mask(tmp_path):
    path = tmp_path / 'sub-01' / 'mask.nii.gz'
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(np.eye(5, dtype=np.uint8)[..., None], np.eye(4)), path)
    return path


def test_an_image_is_damaged_where_it_cannot_be_read_to_its_end(mask):
    whole = mask.read_bytes()
    assert not is_damaged(mask)
    flipped = bytearray(whole)
    flipped[-6] ^= 1
    for spoilt in (whole[:-10], whole[:30], bytes(len(whole)), b'', b'text', bytes(flipped)):
        mask.write_bytes(spoilt)
        assert is_damaged(mask)
    mask.write_bytes(gzip.compress(gzip.decompress(whole)[:-3]))
    assert is_damaged(mask)


@pytest.mark.parametrize(
    ('name', 'good', 'bad'),
    [
        ('a.tsv', b'a\tb\n1\t2', b'a\tb\n\0\0'),
        ('a.json', b'{"a": 1}', b'{"a": '),
        ('a.png', b'\x89PNG IEND\xaeB`\x82', b'\x89PNG'),
        ('a.h5', b'\x89HDF', b'\0\0\0'),
    ],
)
def test_files_of_other_kinds_are_damaged_too(tmp_path, name, good, bad):
    (tmp_path / name).write_bytes(good)
    assert not is_damaged(tmp_path / name)
    (tmp_path / name).write_bytes(bad)
    assert is_damaged(tmp_path / name)


def test_an_edited_image_is_found_a_lost_or_damaged_one_is_not(mask, tmp_path):
    digests = {'sub-01/mask.nii.gz': {'another'}, 'sub-01/lost.nii.gz': {'any'}}
    assert find_edited(tmp_path, digests) == [mask]
    mask.write_bytes(mask.read_bytes()[:-10])
    assert find_edited(tmp_path, digests) == []


def test_both_the_record_and_the_list_tell_what_was_written(tmp_path):
    note_written(tmp_path, 'sub-01', 'dwi', {'a': ['1'], 'dataset_description.json': ['2']})
    assert written_digests(tmp_path, 'sub-01', 'dwi') == {'a': {'1'}}
    record = log_path(tmp_path, 'sub-01', 'dwi')
    record.write_text(json.dumps({'outputs': {'a': [7, '3'], 'b': [7, '4'], 'c': None}}))
    assert written_digests(tmp_path, 'sub-01', 'dwi') == {'a': {'1', '3'}, 'b': {'4'}}
    record.write_text('[')
    assert written_digests(tmp_path, 'sub-01', 'dwi') == {'a': {'1'}}
    assert written_digests(tmp_path, 'sub-02', 'dwi') == {}
