"""Files that changed since their digests were written are found."""

import hashlib
import os
import struct

import numpy as np
import pytest

from secondglance.files import digests
from secondglance.files.digests import (
    digest_of,
    digest_of_voxels,
    digest_once,
    is_intact,
    write_digests,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'a.nii').write_bytes(bytes(range(200)))
    (tmp_path / 'sub' / 'b.json').write_text('{}')
    (tmp_path / 'log').write_text('changes')
    write_digests(tmp_path, ('log',))
    return tmp_path


@pytest.mark.parametrize('part', [1, 7, 200, 201])
def test_a_file_of_many_parts_is_read_to_its_end(folder, monkeypatch, part):
    monkeypatch.setattr(digests, 'PART', part)
    assert digest_of(folder / 'a.nii') == hashlib.sha256(bytes(range(200))).hexdigest()


def test_what_may_change_may_change(folder):
    assert is_intact(folder)
    (folder / 'log').write_text('changed')
    (folder / 'new').write_text('new')
    assert is_intact(folder)


@pytest.mark.parametrize(
    'damage',
    [
        lambda folder: (folder / 'a.nii').write_bytes(bytes(200)),
        lambda folder: (folder / 'a.nii').write_bytes(bytes(range(100))),
        lambda folder: (folder / 'a.nii').unlink(),
        lambda folder: (folder / 'sub' / 'b.json').write_text('[]'),
        lambda folder: (folder / 'digests.json').unlink(),
        lambda folder: (folder / 'digests.json').write_text('[]'),
    ],
)
def test_damage_is_found_whatever_size_and_time_say(folder, damage):
    about = (folder / 'a.nii').stat()
    damage(folder)
    if (folder / 'a.nii').is_file():
        os.utime(folder / 'a.nii', ns=(about.st_atime_ns, about.st_mtime_ns))
    assert not is_intact(folder)


A, ABC = (
    'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb',
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
)
"""SHA-256 of a and of abc, by FIPS 180-2 and its test vectors."""


def test_a_digest_is_the_sha_256_of_the_content(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc')
    assert digest_of(tmp_path / 'a') == digest_once(tmp_path / 'a') == ABC
    (tmp_path / 'a').write_bytes(b'a')
    assert digest_of(tmp_path / 'a') == digest_once(tmp_path / 'a') == A


def test_a_file_that_stays_is_read_once(tmp_path, monkeypatch):
    (tmp_path / 'a').write_bytes(b'abc')
    read = []
    monkeypatch.setattr(digests, 'digest_of', lambda path: read.append(path) or 'x')
    assert digests.digest_once(tmp_path / 'a') == digests.digest_once(tmp_path / 'a') == 'x'
    assert read == [tmp_path / 'a']
    # Written anew with as many bytes, as of the same moment; another file in its place
    about = (tmp_path / 'a').stat()
    (tmp_path / 'b').write_bytes(b'abd')
    (tmp_path / 'b').replace(tmp_path / 'a')
    os.utime(tmp_path / 'a', ns=(about.st_atime_ns, about.st_mtime_ns))
    digests.digest_once(tmp_path / 'a')
    assert len(read) == 2


def test_the_list_names_all_files_below_but_those_ignored_and_links_to_folders(tmp_path):
    for name in ('b', 'a/c', 'a/log', 'cache/d', 'log', 'a/digests.json', 'a/cache/e'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('abc')
    (tmp_path / 'link').symlink_to('b')
    (tmp_path / 'round').symlink_to('.')
    (tmp_path / 'nowhere').symlink_to('not here')
    write_digests(tmp_path, ('log', 'cache'))
    names = ('a/c', 'a/digests.json', 'b', 'link')
    lines = ',\n'.join(f'"{name}": "{ABC}"' for name in names)
    assert (tmp_path / 'digests.json').read_text() == f'{{\n{lines}\n}}\n'
    # The list itself is none of them, also where it is written again
    write_digests(tmp_path, ('log', 'cache'))
    assert (tmp_path / 'digests.json').read_text() == f'{{\n{lines}\n}}\n'
    assert is_intact(tmp_path)


def test_the_digest_of_voxels_is_that_of_their_sorted_bytes():
    voxels = np.array([[3.0, -1.0], [2.0, 0.5]])
    by_hand = struct.pack('<4f', -1, 0.5, 2, 3)
    assert digest_of_voxels(voxels) == f'voxels:{hashlib.sha256(by_hand).hexdigest()[:32]}'


@pytest.mark.parametrize('content', ['{}', '{"a": 3}', '{"none": "0"}', '{"..": "0"}', '{'])
def test_a_list_of_nothing_or_of_what_is_not_there_is_no_proof(tmp_path, content):
    (tmp_path / 'a').write_text('abc')
    (tmp_path / 'digests.json').write_text(content)
    assert not is_intact(tmp_path)
