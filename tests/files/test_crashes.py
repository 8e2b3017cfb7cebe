from pathlib import Path

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
