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


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        (b'0 1000 x', 'holds something other than numbers'),
        (b'0 \xff\xfe', 'holds something other than numbers'),
        (b' \n\t,', 'is empty: give one b-value'),
        (b'', 'is empty: copy it again'),
    ],
)
def test_what_is_no_table_of_b_values_is_named(tmp_path, content, says):
    (tmp_path / 'a.bval').write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_bvals(tmp_path / 'a.bval')
    assert str(tmp_path / 'a.bval') in str(caught.value)
    assert str(caught.value).count('a.bval') == 1


@pytest.mark.parametrize('read', [read_bvals, lambda path: read_bvecs(path, 4)])
def test_a_table_that_is_not_there_or_a_folder_is_named(tmp_path, read):
    with pytest.raises(InputError, match='none is not there'):
        read(tmp_path / 'none')
    with pytest.raises(InputError, match='is a folder'):
        read(tmp_path)


@pytest.mark.parametrize('content', [b'1 2 x 4\n' * 3, b'1 2 3 4\n1 2 3\n', b'\xff\xfe'])
def test_directions_that_are_no_numbers_are_named(tmp_path, content):
    (tmp_path / 'a.bvec').write_bytes(content)
    with pytest.raises(InputError, match=r'a\.bvec cannot be read as gradient directions'):
        read_bvecs(tmp_path / 'a.bvec', 4)


@pytest.mark.parametrize(
    ('text', 'n', 'columns'),
    [
        # One volume: a column of three rows, or a row of three columns
        ('1\n2\n3\n', 1, [[1, 2, 3]]),
        ('1 2 3\n', 1, [[1, 2, 3]]),
        ('1 4\n2 5\n3 6\n', 2, [[1, 2, 3], [4, 5, 6]]),
        ('\ufeff1 2 3\n\n4 5 6\n', 2, [[1, 2, 3], [4, 5, 6]]),
    ],
)
def test_directions_of_few_volumes_are_read_by_hand(tmp_path, text, n, columns):
    (tmp_path / 'a.bvec').write_text(text, encoding='utf-8')
    assert read_bvecs(tmp_path / 'a.bvec', n).T.tolist() == columns


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
def test_a_direction_without_a_number_is_refused(tmp_path, value):
    (tmp_path / 'a.bvec').write_text(f'1 {value} 0\n' * 3)
    with pytest.raises(InputError, match=r'its table is 3 × 3\.'):
        read_bvecs(tmp_path / 'a.bvec', 3)
