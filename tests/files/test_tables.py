"""Tables on disk: digits, what is missing, and what comes back."""

import numpy as np
import pytest

from secondglance.files.tables import columns_of, read_tsv, table_text, write_tsv


def test_digits_are_those_that_are_asked_for():
    rows = [{'mm': 1 / 3, 'large': 123456.789, 'n': 12345678, 'f': np.float32(0.5)}]
    assert table_text(rows).splitlines()[1] == '0.333333\t123457\t12345678\t0.5'
    assert table_text(rows, 8).splitlines()[1] == '0.33333333\t123456.79\t12345678\t0.5'


def test_what_is_missing_is_not_available(tmp_path):
    rows = [{'a': 1, 'b': None}, {'a': 2, 'c': float('nan')}, {'c': np.bool_(False), 'b': 'x'}]
    path = write_tsv(rows, tmp_path / 'a.tsv')
    assert (tmp_path / 'a.tsv').read_text() == 'a\tb\tc\n1\tn/a\tn/a\n2\tn/a\tn/a\nn/a\tx\tFalse\n'
    first, second, third = read_tsv(path)
    assert (first['a'], second['a'], third['b'], third['c']) == (1, 2, 'x', False)
    assert all(np.isnan(value) for value in (first['b'], first['c'], third['a']))


def test_columns_are_in_the_order_of_the_rows():
    found = columns_of([{'a': 1, 'b': 0.5}, {'a': 3, 'b': 0.25}])
    assert {name: values.tolist() for name, values in found.items()} == {
        'a': [1, 3],
        'b': [0.5, 0.25],
    }
    assert columns_of([]) == {}


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, 'n/a'),
        (float('nan'), 'n/a'),
        (np.float32('nan'), 'n/a'),
        (True, 'True'),
        (np.bool_(True), 'True'),
        (0, '0'),
        (1234567, '1234567'),
        (np.int64(-3), '-3'),
        (0.12345678, '0.123457'),
        (np.float64(1e-7), '1e-07'),
        (float('inf'), 'inf'),
        (2.0, '2'),
        ('a word', 'a word'),
        ('', ''),
        ('a\tb "c"', '"a\tb ""c"""'),
    ],
)
def test_a_cell_is_written_by_its_kind(value, text):
    assert table_text([{'a': value, 'b': 1}]) == f'a\tb\n{text}\t1\n'


def test_cells_come_back_as_numbers_truths_and_words(tmp_path):
    text = 'a\tb\tc\td\te\tf\tg\n-3\t0.5\tTrue\tFalse\ttrue\t1e3\t007\n'
    (tmp_path / 'a.tsv').write_text(text)
    (row,) = read_tsv(tmp_path / 'a.tsv')
    assert list(row.values()) == [-3, 0.5, True, False, 'true', 1000.0, 7]
    kinds = [type(value).__name__ for value in row.values()]
    assert kinds == ['int', 'float', 'bool', 'bool', 'str', 'float', 'int']


def test_words_of_any_script_come_back(tmp_path):
    rows = [{'µm²': 'Größe', 'b': 'a\tb'}]
    path = write_tsv(rows, tmp_path / 'a.tsv')
    assert path == str(tmp_path / 'a.tsv')
    assert (tmp_path / 'a.tsv').read_bytes() == 'µm²\tb\nGröße\t"a\tb"\n'.encode()
    assert read_tsv(path) == rows


def test_a_table_without_rows_is_a_line_without_columns(tmp_path):
    assert table_text([]) == '\n'
    assert write_tsv([{'a': 1 / 3}], tmp_path / 'a.tsv', digits=2)
    assert (tmp_path / 'a.tsv').read_text() == 'a\n0.33\n'
