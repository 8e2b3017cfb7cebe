"""Files that changed since their digests were written are found."""

import os

import pytest

from secondglance.files.digests import is_intact, write_digests


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'a.nii').write_bytes(bytes(range(200)))
    (tmp_path / 'sub' / 'b.json').write_text('{}')
    (tmp_path / 'log').write_text('changes')
    write_digests(tmp_path, ('log',))
    return tmp_path


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
