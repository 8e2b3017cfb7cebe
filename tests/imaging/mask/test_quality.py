"""Evidence for a mask, the probability it makes, and what is decided by it."""

import numpy as np
import pytest

from secondglance.imaging.mask.quality import (
    EVIDENCE,
    SLICE_EVIDENCE,
    Calibration,
    MaskEvidence,
    fit_logistic,
    mask_features,
    probability_of,
    slice_features,
)
from secondglance.imaging.mask.selection import select_mask

SHAPE = (8, 40, 40)


@pytest.fixture
def brain():
    x, y = np.indices(SHAPE[1:]) - 20
    return np.broadcast_to((x**2 + y**2) < 14**2, SHAPE).copy()


def evidence(brain, **change):
    sure = np.where(brain, 0.99, 0.01)
    given = {
        'first': sure,
        'refined': sure,
        'placed': brain,
        'peaks': np.full(len(brain), 0.8),
        'voxel_mm3': 1900.0 / max(brain.sum(), 1),
        **change,
    }
    return MaskEvidence(**given)


def test_evidence_is_highest_where_all_agree(brain):
    best = dict(zip(EVIDENCE, mask_features(brain, evidence(brain)), strict=True))
    assert best['like_first'] == best['like_placed'] == pytest.approx(2.0)
    assert best['expected_first'] == pytest.approx(-np.log10(1.01 - 0.99), abs=0.1)
    assert best['correlation'] == pytest.approx(0.8)
    assert best['size'] == pytest.approx(0, abs=1e-3)
    assert best['steadiness'] == 1
    less = mask_features(np.roll(brain, 4, 1), evidence(brain))
    named = dict(zip(EVIDENCE, less, strict=True))
    for name in (
        'expected_first',
        'expected_refined',
        'like_first',
        'like_refined',
        'like_placed',
    ):
        assert named[name] < best[name] - 0.5, name
    half = brain.copy()
    half[:, :20] = False
    assert mask_features(half, evidence(brain))[EVIDENCE.index('size')] < -0.5


def test_a_slice_of_its_own_is_doubted_alone(brain):
    moved = brain.copy()
    moved[3] = np.roll(moved[3], 9, 0)
    rows = slice_features(moved, evidence(brain))
    assert rows.shape == (8, len(SLICE_EVIDENCE))
    assert (rows[3] < rows[2]).sum() >= 5
    np.testing.assert_allclose(rows[2], rows[4])
    empty = brain.copy()
    empty[0] = False
    # A slice that is empty where both networks see brain speaks for nothing
    assert (slice_features(empty, evidence(brain))[0, :2] < 0.1).all()


def test_logistic_regression_finds_what_it_was_drawn_from(rng):
    evidence = rng.normal(0, 1, (20000, 3))
    true = np.array([2.0, 0.5, 0.0, -1.0])
    good = rng.random(20000) < probability_of(evidence, true)
    found = fit_logistic(evidence, good)
    np.testing.assert_allclose(found, true, atol=0.12)


def test_no_weight_falls_below_zero(rng):
    evidence = rng.normal(0, 1, (500, 2))
    weights = fit_logistic(evidence, evidence[:, 0] - evidence[:, 1] > 0)
    assert weights[0] > 1
    assert weights[1] == 0


@pytest.fixture
def calibration():
    whole = [0.0] * len(EVIDENCE) + [-6.0]
    whole[EVIDENCE.index('like_refined')] = 5.0
    slices = [0.0] * len(SLICE_EVIDENCE) + [-6.0]
    slices[SLICE_EVIDENCE.index('like_refined')] = 5.0
    return Calibration(tuple(whole), tuple(slices))


def test_calibration_round_trips_through_a_header_and_others_are_refused(calibration):
    assert Calibration.from_plain(calibration.to_plain()) == calibration
    with pytest.raises(ValueError, match='other evidence'):
        Calibration.from_plain({'weights': [1.0], 'slice_weights': [1.0]})
    for name, values in calibration.to_plain().items():
        with pytest.raises(ValueError, match='other evidence'):
            Calibration.from_plain(calibration.to_plain() | {name: [*values, 1.0]})
    with pytest.raises(KeyError):
        Calibration.from_plain({})


def test_an_empty_mask_is_never_good(brain, calibration):
    nothing = evidence(brain & False, voxel_mm3=0.1)
    assert calibration.of_mask(brain & False, nothing) == 0


def test_the_mask_asked_for_is_taken(brain, calibration):
    for method in ('network', 'first-glance', 'correlation'):
        taken = select_mask(method, evidence(brain), 0.3, 1.0, calibration)
        assert taken.method == method
        assert taken.confidence > 0.9
        assert (taken.slice_confidence > 0.9).all()


def test_what_was_filled_counts_where_slices_are_judged(brain, calibration):
    """Two glances leave a hole in a slice, and the mask does not."""
    holed = np.where(brain, 0.99, 0.01)
    holed[3, 17:24, 17:24] = 0.05
    given = evidence(brain, first=holed, refined=holed)
    taken = select_mask('network', given, 0.3, 1.0, calibration)
    expected = calibration.of_slices(brain, given)
    np.testing.assert_allclose(taken.slice_confidence, expected)
    assert expected[3] < expected[2]


def test_a_doubtful_mask_that_was_asked_for_is_taken_all_the_same(brain, calibration):
    lost = evidence(brain, placed=np.roll(brain, 15, 1))
    taken = select_mask('correlation', lost, 0.3, 1.0, calibration)
    assert taken.method == 'correlation'
    assert taken.confidence < 0.5


def test_auto_replaces_a_doubtful_mask_of_the_network_and_names_the_other(brain, calibration):
    lost = evidence(brain, refined=np.roll(brain, 18, 2) * 0.6)
    likely = evidence(brain)
    assert select_mask('auto', likely, 0.3, 1.0, calibration).method == 'network'
    weights = list(calibration.weights)
    weights[EVIDENCE.index('like_refined')] = 0.0
    weights[EVIDENCE.index('like_placed')] = 5.0
    taken = select_mask(
        'auto', lost, 0.3, 1.0, Calibration(tuple(weights), calibration.slice_weights)
    )
    assert taken.method in ('first-glance', 'correlation')
    assert taken.candidates['network'] < 0.5 < taken.confidence
    np.testing.assert_array_equal(taken.mask >= 0.5, brain)


def test_where_none_can_be_trusted_auto_keeps_the_networks(brain, calibration):
    lost = evidence(brain, refined=np.roll(brain, 18, 2) * 0.6, placed=np.roll(brain, 15, 1))
    distrust = Calibration((*calibration.weights[:-1], -20.0), calibration.slice_weights)
    taken = select_mask('auto', lost, 0.3, 1.0, distrust)
    assert taken.method == 'network'
    assert taken.confidence < 0.5
    # Also where another is likelier, and still more likely bad than good
    weights = [0.0] * len(EVIDENCE) + [-5.0]
    weights[EVIDENCE.index('like_placed')] = 2.0
    taken = select_mask(
        'auto', lost, 0.3, 1.0, Calibration(tuple(weights), calibration.slice_weights)
    )
    assert taken.candidates['network'] < taken.candidates['correlation'] < 0.5
    assert taken.method == 'network'


def test_the_fit_is_the_minimum_of_its_loss(rng):
    """By another optimiser, without the slope."""
    from scipy import optimize

    evidence = rng.normal(3, [1.0, 4.0], (300, 2))
    good = rng.random(300) < probability_of(evidence, [1.0, 0.4, -4.0])
    standard = (evidence - evidence.mean(axis=0)) / evidence.std(axis=0)

    def loss(w):
        z = standard @ w[:2] + w[2]
        return np.sum(np.log1p(np.exp(z)) - good * z) + 30.0 / 2 * (w[:2] ** 2).sum()

    best = optimize.minimize(loss, np.zeros(3), method='Nelder-Mead', options={'xatol': 1e-7}).x
    found = np.array(fit_logistic(evidence, good, penalty=30.0))
    np.testing.assert_allclose(found[:2] * evidence.std(axis=0), best[:2], atol=1e-3)
    expected = best[2] - (best[:2] / evidence.std(axis=0)) @ evidence.mean(axis=0)
    assert found[2] == pytest.approx(expected, abs=5e-3)


def test_evidence_of_first_glance_refinement_and_placed_mask_is_kept_apart(brain):
    """Each spoilt by itself lowers its own evidence alone."""
    away = np.roll(brain, 9, 1)
    given = {'first': np.where(away, 0.99, 0.01), 'refined': np.where(away, 0.99, 0.01)}
    given['placed'] = away
    whole, slices = mask_features(brain, evidence(brain)), slice_features(brain, evidence(brain))
    for name, value in given.items():
        lower = {
            'first': {'expected_first', 'like_first'},
            'refined': {'expected_refined', 'like_refined'},
            'placed': {'like_placed'},
        }[name]
        less = mask_features(brain, evidence(brain, **{name: value})) < whole - 0.1
        assert {n for n, is_less in zip(EVIDENCE, less, strict=True) if is_less} == lower
        less = slice_features(brain, evidence(brain, **{name: value})) < slices - 0.1
        assert (less == less[0]).all()
        assert {n for n, is_less in zip(SLICE_EVIDENCE, less[0], strict=True) if is_less} == lower


def test_size_correlation_and_steadiness_worked_by_hand(brain):
    part = brain.copy()
    part[:2] = part[5] = False
    part[7, :, :20] = False
    peaks = np.array([9.0, 9, 0.5, 0.7, -0.4, 9, 0.3, 0.1])
    one = 1900.0 / brain.sum()
    found = dict(zip(EVIDENCE, mask_features(part, evidence(brain, peaks=peaks)), strict=True))
    volume = part.sum() * one
    assert found['size'] == pytest.approx(np.log(volume / 1900), abs=1e-3)
    twice = mask_features(brain, evidence(brain, voxel_mm3=2 * one))[EVIDENCE.index('size')]
    assert twice == pytest.approx(-np.log(2), abs=1e-3)
    # Slices 2, 3, 4, 6 and 7 hold brain; a peak below zero counts as none
    assert found['correlation'] == pytest.approx((0.5 + 0.7 + 0 + 0.3 + 0.1) / 5)
    # Of neighbours that both hold brain: 2-3, 3-4 alike, 6-7 a whole and a part of it
    whole, rest = brain[6].sum(), part[7].sum()
    assert found['steadiness'] == pytest.approx((1 + 1 + 2 * rest / (whole + rest)) / 3)
    columns = slice_features(part, evidence(brain, peaks=peaks))[:, -1]
    np.testing.assert_allclose(columns, np.maximum(peaks, 0))


def test_placed_masks_are_candidates_as_they_were_placed(brain, calibration):
    from secondglance.imaging.mask.selection import candidate_masks

    given = evidence(brain, placed=np.roll(brain, 3, 1))
    moved, scaled = (candidate_masks(given, 0.3, 1.0, similarity=s) for s in (False, True))
    assert set(moved) == {'network', 'first-glance', 'correlation'}
    assert set(scaled) == {'network', 'first-glance', 'similarity'}
    np.testing.assert_array_equal(moved['correlation'] >= 0.5, given.placed)
    np.testing.assert_array_equal(scaled['similarity'] >= 0.5, given.placed)


def test_masks_are_one_brain_and_the_placed_mask_decides(brain, calibration):
    two = np.zeros((8, 40, 90), bool)
    two[:, :, :40], two[:, 2:38, 46:88] = brain, True
    placed = np.zeros(two.shape, bool)
    placed[:, :, :40] = brain
    given = evidence(two, placed=placed)
    for method in ('network', 'first-glance'):
        mask = select_mask(method, given, 0.3, 1.0, calibration).mask >= 0.5
        np.testing.assert_array_equal(mask, placed)


def test_a_slice_is_judged_by_itself(brain, calibration):
    refined = np.where(brain, 0.99, 0.01)
    refined[3] = np.roll(refined[3], 12, 0)
    taken = select_mask('first-glance', evidence(brain, refined=refined), 0.3, 1.0, calibration)
    others = np.delete(taken.slice_confidence, 3)
    assert taken.slice_confidence[3] < 0.3 < 0.9 < others.min()
    np.testing.assert_allclose(others, others[0])
    # That of the mask asked for, not of another
    features = slice_features(brain, evidence(brain, refined=refined))
    np.testing.assert_allclose(
        taken.slice_confidence, probability_of(features, calibration.slice_weights)
    )


@pytest.mark.parametrize(('constant', 'method'), [(-9.2, 'network'), (-10.8, 'first-glance')])
def test_auto_doubts_from_one_half_on(brain, calibration, constant, method):
    """The mask of the network has a chance just above, and just below, one half."""
    weights = [0.0] * len(EVIDENCE) + [constant]
    weights[EVIDENCE.index('like_first')] = 7.0
    rolled = np.roll(brain, 1, 1)
    given = evidence(brain, refined=np.where(rolled, 0.99, 0.01))
    likeness = mask_features(rolled, given)[EVIDENCE.index('like_first')]
    weights[EVIDENCE.index('like_first')] = 10.0 / likeness
    taken = select_mask(
        'auto', given, 0.3, 1.0, Calibration(tuple(weights), calibration.slice_weights)
    )
    assert abs(taken.candidates['network'] - 0.5) < 0.3
    assert taken.method == method


@pytest.mark.parametrize('name', ['first', 'refined'])
def test_even_odds_count_as_brain(brain, name):
    features = mask_features(brain, evidence(brain, **{name: 0.5 * brain}))
    # A Dice of one with it
    assert features[EVIDENCE.index(f'like_{name}')] == pytest.approx(2)
