"""Text files appear whole, or what was there before stays."""

import pytest

from secondglance.files.atomic import write_whole


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
