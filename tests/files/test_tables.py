"""Tables on disk: digits, what is missing, and what comes back."""

import numpy as np

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
