"""B-values and directions as scanners, converters and spreadsheets write them."""

import numpy as np
import pytest

from secondglance.files.gradient_table import LARGEST_TABLE, read_bvals, read_bvecs
from secondglance.imaging.errors import InputError


@pytest.mark.parametrize(
    'text', ['0 1000 5\n', '0\n1000\n5\n', '0,1000,5', '\ufeff0, 1000, 5\r\n', ' 0\t1e3  5.0 ']
)
def test_b_values_are_read_however_they_are_parted(tmp_path, text):
    (tmp_path / 'a.bval').write_text(text, encoding='utf-8')
    assert read_bvals(tmp_path / 'a.bval').tolist() == [0, 1000, 5]


@pytest.mark.parametrize('part', [' ', ',', ', ', '\t'])
@pytest.mark.parametrize('columns', [False, True])
def test_directions_are_read_as_rows_and_as_columns(tmp_path, part, columns):
    table = np.array([[0, 1, 0.6, 0], [0, 0, 0.8, 0], [0, 0, 0, 1]])
    rows = table.T if columns else table
    lines = [part.join(f'{value:g}' for value in row) for row in rows]
    (tmp_path / 'a.bvec').write_text('\n'.join(lines) + '\n\n')
    np.testing.assert_array_equal(read_bvecs(tmp_path / 'a.bvec', 4), table)


def test_a_square_table_is_one_of_rows(tmp_path):
    (tmp_path / 'a.bvec').write_text('1 2 3\n4 5 6\n7 8 9\n')
    assert read_bvecs(tmp_path / 'a.bvec', 3)[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize('text', ['1 2\n3 4\n5 6\n', '1 2 3 nan\n' * 3, '1 2 3 4\n' * 2])
def test_directions_of_other_volumes_are_refused(tmp_path, text):
    (tmp_path / 'a.bvec').write_text(text)
    with pytest.raises(InputError, match='three rows of 4 directions'):
        read_bvecs(tmp_path / 'a.bvec', 4)


def test_a_table_of_b_values_is_read_to_a_mebibyte(tmp_path):
    path = tmp_path / 'a.bval'
    path.write_bytes(b'5 1000'.ljust(LARGEST_TABLE))
    assert read_bvals(path).tolist() == [5, 1000]
    path.write_bytes(b'5 1000'.ljust(LARGEST_TABLE + 1))
    with pytest.raises(InputError, match='too large'):
        read_bvals(path)
