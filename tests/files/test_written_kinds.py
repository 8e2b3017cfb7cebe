"""Files of every kind that a scan leaves: whole, edited or damaged, and the list of them."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.digests import digest_of
from secondglance.files.written import (
    edited_by_hand,
    find_edited,
    is_damaged,
    is_edited,
    log_path,
    note_written,
    written_digests,
)

IMAGE = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4)).to_bytes()


@pytest.mark.parametrize(
    ('name', 'content', 'damaged'),
    [
        ('a.nii', IMAGE, False),
        ('a.nii', IMAGE[:-1], True),
        ('a.nii', bytes(len(IMAGE)), True),
        ('a.nii', b'', True),
        ('a.nii', IMAGE[:200], True),
        # A type of voxels that NIfTI does not have
        ('a.nii', IMAGE[:70] + b'\x00\x10' + IMAGE[72:], True),
        ('a.nii.gz', gzip.compress(IMAGE), False),
        ('a.nii.gz', gzip.compress(IMAGE)[:-1], True),
        ('a.nii.gz', IMAGE, True),
        ('a.nii.gz', gzip.compress(IMAGE[:-1]), True),
        ('a.nii.gz', gzip.compress(IMAGE[:347]), True),
        ('a.json', b'[]', False),
        ('a.json', b'\xef', True),
        ('a.json', b'[' * 100_000, True),
        ('a.json', b'{}\0', True),
        *((f'a.{kind}', b'a\tb\n', False) for kind in ('tsv', 'txt', 'toml', 'html', 'svg')),
        *((f'a.{kind}', b'a\0\n', True) for kind in ('tsv', 'txt', 'toml', 'html', 'svg')),
        *((f'a.{kind}', b'0 1\0', True) for kind in ('bval', 'bvec')),
        *((f'a.{kind}', b'0 1\n', False) for kind in ('bval', 'bvec')),
        ('a.png', b'\x89PNG\0\0\0IEND\xaeB`\x82', False),
        ('a.png', b'\x89PNG\0\0\0IEND\xaeB`\x82\n', True),
        # Of what is not known, only zeros alone tell
        ('a.webp', b'\0\1', False),
        ('a.webp', b'\0\0', True),
        ('a.h5', b'\0', True),
        ('a.tsv.gz', gzip.compress(b'a\0'), False),
        ('a.tsv.gz', b'a', True),
    ],
    # A packed file holds the second in which it was packed: no name for all processes
    ids=lambda value: f'{len(value)} bytes' if isinstance(value, bytes) else None,
)
def test_damage_is_told_by_what_a_name_says(tmp_path, name, content, damaged):
    (tmp_path / name).write_bytes(content)
    assert is_damaged(tmp_path / name) is damaged


def test_a_file_is_edited_where_it_is_whole_and_of_another_digest(tmp_path):
    path = tmp_path / 'a.txt'
    assert is_edited(path, []) is False
    path.write_text('as it was')
    known = digest_of(path)
    assert is_edited(path, ['x', known]) is False
    assert is_edited(path, ['x']) is True
    assert is_edited(path, []) is True
    path.write_bytes(bytes(9))
    assert is_edited(path, ['x']) is False
    (tmp_path / 'b.txt').mkdir()
    assert is_edited(tmp_path / 'b.txt', ['x']) is False


def test_edited_files_come_in_the_order_of_the_list_without_those_of_all_scans(tmp_path):
    names = ('b.txt', 'dataset_description.json', 'a.txt', '.bidsignore', 'c.txt')
    for name in names:
        (tmp_path / name).write_text('{}')
    digests = {name: {'x'} for name in names} | {'c.txt': {digest_of(tmp_path / 'c.txt')}}
    assert find_edited(tmp_path, digests) == [tmp_path / 'b.txt', tmp_path / 'a.txt']


def test_the_list_is_written_in_full_under_the_logs(tmp_path):
    digests = {'b': ['2', '1', '2'], 'a': {'3'}, '.bidsignore': ['4']}
    note_written(tmp_path, 'sub-1_ses-a', 'T2w', digests)
    path = tmp_path / 'logs' / 'sub-1_ses-a_T2w_files.json'
    text = '{\n "b": [\n  "1",\n  "2"\n ],\n "a": [\n  "3"\n ]\n}\n'
    assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert log_path(tmp_path, 's', 'x') == tmp_path / 'logs' / 's_x.json'
    assert log_path(tmp_path, 's', 'x', '.toml') == tmp_path / 'logs' / 's_x.toml'
    note_written(tmp_path, 'sub-1_ses-a', 'T2w', {'c': ['5']})
    assert written_digests(tmp_path, 'sub-1_ses-a', 'T2w') == {'c': {'5'}}


@pytest.mark.parametrize(
    ('outputs', 'read'),
    [
        ({'a': ['when', 'x']}, {'a': {'x'}}),
        ({'a': ['when', 3]}, {'a': {'3'}}),
        ({'a': ['x']}, {}),
        ({'a': ['when', 'x', 'y']}, {}),
        ({'a': 'xy', 'b': ['when', 'z']}, {'b': {'z'}}),
        (['a', 'x'], {}),
        (None, {}),
    ],
)
def test_of_a_record_what_has_the_form_counts(tmp_path, outputs, read):
    path = log_path(tmp_path, 's', 'x')
    path.parent.mkdir()
    path.write_text(json.dumps({'outputs': outputs}))
    assert written_digests(tmp_path, 's', 'x') == read
    (path.parent / 's_x_files.json').write_text(json.dumps({'a': ['l', 1], 'b': 'xy', 'c': 3}))
    assert written_digests(tmp_path, 's', 'x') == {**read, 'a': read.get('a', set()) | {'l', '1'}}


def test_an_edited_output_is_named_with_the_remedy(tmp_path):
    told = str(edited_by_hand(tmp_path / 'a.tsv'))
    assert told.startswith(f'{tmp_path}/a.tsv is not as secondglance wrote it')
    assert 'move it elsewhere, such as derivatives/reference, or give another --out' in told
