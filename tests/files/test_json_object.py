"""JSON that anyone may have edited is read, or is as if it were not there."""

import pytest

from secondglance.files.json_object import read_object


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        (b'{"a": 1}', {'a': 1}),
        (b'\xef\xbb\xbf{"a": 1}', {'a': 1}),
        (b'{"a": NaN, "b": -Infinity}', {'a': None, 'b': None}),
        (b'[1, 2]', {}),
        (b'"a"', {}),
        (b'', {}),
        (b'{"a": 1', {}),
        ('{"a": 1}'.encode('utf-16'), {}),
        (b'[' * 100_000, {}),
        (b'{"a":' * 100_000, {}),
    ],
)
def test_an_object_or_nothing_is_read(tmp_path, content, found):
    (tmp_path / 'a.json').write_bytes(content)
    assert read_object(tmp_path / 'a.json') == found


def test_what_is_not_there_or_is_a_folder_holds_nothing(tmp_path):
    assert read_object(tmp_path / 'none.json') == {}
    assert read_object(tmp_path) == {}
