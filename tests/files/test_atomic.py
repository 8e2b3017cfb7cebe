"""Text files appear whole, or what was there before stays."""

import errno
import os
from pathlib import Path

import pytest

from secondglance.files.atomic import no_room, write_whole


def test_what_was_there_stays_where_writing_fails(tmp_path):
    """Half of a surrogate pair has no form in UTF-8: a failure after the file was opened."""
    path = tmp_path / 'new folder' / 'another in it' / 'a.json'
    write_whole(path, 'µ before')
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, 'after \ud800')
    assert path.read_bytes() == 'µ before'.encode()
    assert [p.name for p in path.parent.iterdir()] == ['a.json']
    write_whole(path, 'after')
    assert path.read_text() == 'after'


def test_who_reads_while_it_is_written_reads_the_former_text_to_its_end(tmp_path):
    path = tmp_path / 'a.json'
    write_whole(path, 'before ' * 100_000)
    with path.open() as reader:
        begun = reader.read(7)
        write_whole(path, 'after')
        assert begun + reader.read() == 'before ' * 100_000
    assert path.read_text() == 'after'


@pytest.mark.parametrize(
    ('code', 'says'),
    [
        (errno.ENOSPC, 'The disk of /out is full: make room, or choose another folder.'),
        (
            errno.EDQUOT,
            'The quota of the disk of /out is used up: make room, or choose another folder.',
        ),
        (
            errno.EFBIG,
            'A file in /out would be larger than this process may write: raise ulimit -f, or '
            'choose another folder.',
        ),
        (errno.EACCES, None),
        (errno.EROFS, None),
    ],
)
def test_no_room_is_told_by_its_cause(code, says):
    assert no_room(OSError(code, 'as the system says'), '/out') == says


def test_an_error_without_a_number_is_no_lack_of_room():
    assert no_room(OSError('something'), '/out') is None


@pytest.mark.parametrize('by', ['getpid', 'uname'])
def test_of_two_that_write_at_once_the_last_stays_whole(tmp_path, monkeypatch, by):
    """Another process, or one of the same number on another machine, is done in between."""
    path, replace = tmp_path / 'a.json', Path.replace
    other = {'getpid': -1, 'uname': os.uname_result(('Linux', 'elsewhere', '6', '1', 'x'))}[by]

    def last(partial, target):
        monkeypatch.setattr(Path, 'replace', replace)
        monkeypatch.setattr(os, by, lambda: other)
        write_whole(path, 'of the other')
        assert path.read_text() == 'of the other'
        return replace(partial, target)

    monkeypatch.setattr(Path, 'replace', last)
    write_whole(path, 'mine')
    assert path.read_text() == 'mine'
    assert [p.name for p in tmp_path.iterdir()] == ['a.json']
