"""What a record of results tells apart, and that none is left over."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from secondglance.imaging.tissues import TissueMaps

TESTS = Path(__file__).parent


@pytest.fixture
def values(rng):
    return rng.normal(50, 10, (20, 25, 8))


@pytest.mark.parametrize('type_', [np.float64, np.float32])
def test_one_value_of_thousands_is_told(values, differences, type_):
    other = values.astype(type_)
    other[3, 7, 2] *= 1.01
    assert differences(other, values.astype(type_))
    assert not differences(values.astype(type_), values.astype(type_))


def test_values_that_change_places_are_told(values, differences):
    assert differences(values[::-1], values)
    assert differences(np.moveaxis(values, 0, 1), values)
    assert differences(values.reshape(25, 20, 8), values)


def test_the_last_digits_are_not_told(values, differences, rng):
    near = values * (1 + 1e-8 * rng.normal(size=values.shape))
    assert not differences([near, near[0, 0, 0]], [values, values[0, 0, 0]])
    assert differences([near, near[0, 0, 0]], [values, values[0, 0, 0]], tolerance=1e-11)


def test_labels_may_differ_in_as_many_pixels_as_are_allowed(values, differences):
    labels = (values > 50).astype(int) + (values > 60)
    other = labels.copy()
    other.flat[np.flatnonzero(labels == 0)[[3, 70]]] = 2
    assert differences(other, labels)
    assert differences(other, labels, pixels=1)
    assert not differences(other, labels, pixels=2)
    swapped = labels.copy()
    swapped[0], swapped[1] = labels[1], labels[0]
    assert differences(swapped, labels, pixels=2)


def test_what_is_not_known_is_told(values, differences):
    other = values.copy()
    other[0, 0, 0] = np.nan
    assert differences(other, values)
    assert not differences(other, other)
    assert differences([np.nan], [1.0])
    assert not differences({'a': np.nan}, {'a': np.nan})


@pytest.mark.parametrize(
    ('found', 'known'),
    [
        (1, 2),
        (True, 1),
        (True, False),
        (None, 0),
        ('a', 'b'),
        ([1, 2], [1, 2, 3]),
        ({'a': 1}, {'a': 1, 'b': 2}),
        ({'a': [1.0, 2.0]}, {'a': [1.0, 2.1]}),
        (np.arange(3), np.arange(4)),
        (np.zeros(40), np.zeros(41)),
        (TissueMaps(1, 2.0, 3), TissueMaps(1, 2.5, 3)),
    ],
)
def test_other_results_are_told(differences, found, known):
    assert differences(found, known)
    assert not differences(known, known)


def test_a_difference_is_named_by_its_place(values, differences):
    (line,) = differences({'a': [values, {'b': 3}]}, {'a': [values, {'b': 4}]})
    assert line == 'a[1].b: 3 for 4'


def test_every_record_is_of_a_test():
    files = sorted(TESTS.glob('*/recorded/recorded.json'))
    assert len(files) == 2
    for file in files:
        for key in json.loads(file.read_text(encoding='utf-8')):
            stem, name = key.split('.', 1)
            source = file.with_name(f'{stem}.py').read_text(encoding='utf-8')
            assert re.search(rf'^def {name.partition("[")[0]}\(', source, re.MULTILINE), key
