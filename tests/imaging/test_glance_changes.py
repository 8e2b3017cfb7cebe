import numpy as np
import pytest

from secondglance.imaging.glance_changes import ADDED, CHANGED, REMOVED, changes, compare_glances


def certain(labels, probability):
    """Probabilities, (N, 4, H, W), that give each label so much and the rest to one other."""
    out = np.zeros((len(labels), 4, *labels.shape[1:]))
    for value in range(4):
        out[:, value][labels == value] = probability
        out[:, (value + 1) % 4][labels == value] = 1 - probability
    return out


def test_changes_worked_by_hand():
    first = np.array([[0, 1, 2, 3, 2]])
    second = np.array([[0, 1, 3, 0, 2]])
    assert changes(first, second).tolist() == [[0, 0, CHANGED, REMOVED, 0]]
    assert changes(second, first).tolist() == [[0, 0, CHANGED, ADDED, 0]]


def test_glances_side_by_side_worked_by_hand():
    first = np.array([[[1, 1, 2, 2, 0, 2]]])
    second = np.array([[[1, 2, 2, 2, 3, 2]]])
    mask = np.array([[[True, True, True, True, True, False]]])
    rows = {
        row['label']: row
        for row in compare_glances(
            certain(first, 0.75), certain(second, 0.875), np.where(mask, second, 0), mask
        )
    }
    assert rows['WM']['first_share'] == 2 / 5
    assert rows['WM']['second_share'] == 1 / 5
    assert rows['WM']['same'] == pytest.approx(2 * 1 / (2 + 1))
    assert rows['GM']['first_share'] == 3 / 5
    # The last one lies outside the mask
    assert rows['GM']['second_share'] == 3 / 5
    assert rows['GM']['same'] == pytest.approx(2 * 2 / (3 + 3))
    assert rows['GM']['second_certainty'] == 0.875
    assert np.isnan(rows['CSF']['first_certainty'])
    assert rows['CSF']['same'] == 0
    assert rows['brain']['same'] == pytest.approx(2 * 4 / (5 + 5))
    # What is not background's: WM and GM 1, the CSF pixel's other class being background 0.875
    assert rows['brain']['second_certainty'] == pytest.approx((4 * 1 + 0.875) / 5)


def test_certainty_is_that_of_the_label_inside_the_mask():
    """Of two pixels of white matter at the first glance one lies outside the mask."""
    first = np.array([[[0.1, 0.9, 0, 0], [0.4, 0.6, 0, 0], [0.8, 0.1, 0.1, 0]]]).transpose(0, 2, 1)
    first, mask = first[:, :, None], np.array([[[True, False, True]]])
    labels = np.array([[[1, 0, 0]]])
    rows = {row['label']: row for row in compare_glances(first, first, labels, mask)}
    assert rows['WM']['first_certainty'] == pytest.approx(0.9)
    assert rows['brain']['first_certainty'] == pytest.approx(0.9)
    assert rows['WM']['first_share'] == 2 / 2
    assert rows['WM']['second_share'] == 1 / 2


def test_brain_of_the_second_glance_is_what_it_labelled():
    first = np.array([[[1, 2, 2, 0]]])
    labels = np.array([[[1, 2, 0, 0]]])
    mask = np.array([[[True, True, True, False]]])
    probabilities = certain(first, 1.0)
    brain = compare_glances(probabilities, probabilities, labels, mask)[-1]
    assert (brain['label'], brain['first_share'], brain['second_share']) == ('brain', 3 / 3, 2 / 3)
