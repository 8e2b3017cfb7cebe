import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.errors import InputError
from secondglance.imaging.scan_values import check_scan_values


@pytest.fixture
def head():
    """A head of three tissues with noise, in air; and its labels."""
    rng = np.random.default_rng(5)
    i, j, k = np.indices((60, 50, 14))
    away = np.hypot((i - 30) / 25, (j - 25) / 18)
    labels = (away < 1).astype(int) + (away < 0.8) + (away < 0.3)
    scan = np.array([0.0, 90.0, 60.0, 120.0])[labels]
    scan *= 1 + 0.2 * np.sin(i / 9) * np.cos(k / 3)
    return np.hypot(scan + rng.normal(0, 6, scan.shape), rng.normal(0, 6, scan.shape)), labels


@pytest.mark.parametrize('bits', [4, 5, 6, 8])
@pytest.mark.parametrize('masked', [False, True], ids=['whole head', 'brain alone'])
def test_a_scan_of_few_bits_is_a_scan(head, bits, masked):
    scan, labels = head
    scan = scan * (labels > 1) if masked else scan
    assert check_scan_values(np.round(scan / scan.max() * (2**bits - 1))) == []
    assert check_scan_values(scan) == []


@pytest.mark.parametrize('values', [(0, 1), (0, 255), (-1, 1), (0, 0.5), (2, 3)])
def test_two_values_are_a_mask(head, values):
    mask = np.where(head[1] > 0, values[1], values[0])
    with pytest.raises(InputError, match=f'values {values[0]:g} and {values[1]:g}, as a mask'):
        check_scan_values(mask)


def test_tissues_are_labels(head):
    with pytest.raises(InputError, match='values 0, 1, 2 and 3'):
        check_scan_values(head[1])


def test_regions_are_labels(head):
    i, j, k = np.indices(head[1].shape)
    drawn = np.random.default_rng(2).permutation(400)[i // 6 * 40 + j // 6 * 4 + k // 4]
    with pytest.raises(InputError, match='areas of one value'):
        check_scan_values(np.where(head[1] > 0, drawn + 1, 0))


def test_an_interpolated_mask_is_a_mask(head):
    with pytest.raises(InputError, match='areas of one value'):
        check_scan_values(ndimage.zoom((head[1] > 0).astype(float), 1.4, order=1))


def test_bright_values_that_were_cut_off_are_said(head):
    scan, _ = head
    (note,) = check_scan_values(np.minimum(scan, np.percentile(scan, 94)))
    assert 'have the largest value' in note


def test_labels_in_the_order_of_their_places_are_labels():
    stripes = np.arange(12).repeat(12)[:, None, None] + np.zeros((144, 40, 5))
    with pytest.raises(InputError, match='areas of one value'):
        check_scan_values(stripes)


@pytest.mark.parametrize('spoil', ['wrapped', 'shifted', 'phase'])
def test_values_far_below_zero_are_said(head, spoil):
    scan, _ = head
    phase = 4096 * np.random.default_rng(1).uniform(-1, 1, scan.shape)
    wrapped = (scan / scan.max() * 65000).astype(np.uint16).view(np.int16)
    spoiled = {'wrapped': wrapped, 'shifted': scan - 60, 'phase': phase}[spoil]
    (note,) = check_scan_values(spoiled)
    assert note.startswith('Values go down to -')
    assert check_scan_values(scan - 2) == []


def test_a_quarter_of_the_largest_value_may_lie_below_zero(head):
    scan = np.clip(head[0], 0, 128)
    scan[0, 0, 0], scan[30, 25, 7] = -32, 128
    assert check_scan_values(scan) == []
    scan[0, 0, 0] = -33
    (note,) = check_scan_values(scan)
    assert note.startswith('Values go down to -33')
