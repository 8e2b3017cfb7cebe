"""Faults of the program leave their traceback in a file that is named."""

import re
import tempfile
from pathlib import Path
from traceback import format_exception

import pytest

from secondglance.files.crashes import told_of_crash


def raised():
    with pytest.raises(KeyError) as caught:
        {}['no such\nkey']
    return caught.value


def test_the_traceback_is_in_the_file_that_is_named_and_one_paragraph_on_the_screen(tmp_path):
    said = told_of_crash(raised(), tmp_path / 'new')
    (path,) = (tmp_path / 'new').iterdir()
    assert '\n' not in said
    assert 'KeyError' in said
    assert f'The full error is in {path}:' in said
    assert 'Traceback' in path.read_text()
    assert 'line' in path.read_text()


def test_where_the_folder_cannot_be_made_the_traceback_is_among_temporary_files(tmp_path):
    (tmp_path / 'file').touch()
    said = told_of_crash(raised(), tmp_path / 'file')
    path = Path(said.partition('The full error is in ')[2].partition(':')[0])
    assert 'Traceback' in path.read_text()
    path.unlink()


def test_a_long_error_is_cut_to_300_characters(tmp_path):
    said = told_of_crash(ValueError('x' * 1000), tmp_path)
    assert "'ValueError: " + 'x' * 288 + "'" in said


def test_the_file_is_named_by_its_time_and_holds_the_whole_traceback(tmp_path):
    error = raised()
    told_of_crash(error, tmp_path / 'a' / 'b')
    (path,) = (tmp_path / 'a' / 'b').iterdir()
    assert re.fullmatch(r'crash-\d{8}-\d{6}-.+\.txt', path.name)
    assert path.read_text(encoding='utf-8') == ''.join(format_exception(error))
    # Another is another file, and the folder may be there
    told_of_crash(error, tmp_path / 'a' / 'b')
    assert len(list((tmp_path / 'a' / 'b').iterdir())) == 2


def test_where_nothing_can_be_written_the_error_is_told_alone(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'file' / 'temporary'))
    said = told_of_crash(ValueError('no  way'), tmp_path / 'file' / 'logs')
    assert said == (
        "The program stopped with 'ValueError: no way', by a fault of its own. The full error "
        'could not be written.'
    )
