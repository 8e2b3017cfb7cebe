"""The steps of the method, joined: what each is given, and that none is passed over."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from secondglance.imaging.enhancement import enhance
from secondglance.imaging.errors import InputError
from secondglance.imaging.glance_pooling import WEIGHT, pool_glances
from secondglance.imaging.intensity import head_mask, near_head
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.mask.quality import EVIDENCE, SLICE_EVIDENCE
from secondglance.imaging.placement.donors import Donor
from secondglance.imaging.placement.similarity import transform
from secondglance.imaging.pose import HeadStack, Pose
from secondglance.imaging.tissues import tissues_inside
from secondglance.models.brain_refinement import N_CHANNELS
from secondglance.models.choices import SaliencyOptions
from secondglance.models.second_glance.channels import CHANNELS
from secondglance.models.second_glance.network import OUTPUTS
from secondglance.models.second_glance.volume import glance_at_volume
from secondglance.models.segment import (
    FirstGlance,
    brain_probability,
    find_brain,
    first_glance,
    gather_evidence,
    look_again,
    masked_second_glance,
    prepare_donor,
    remove_background,
)
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(1)
    net = UNet((4, 6, 8)).eval()
    with torch.no_grad():
        net.head.weight *= 30
    return LoadedModel(net, 0.3, CLASSES, '', '', {})


@pytest.fixture
def scan(rng):
    """A head of 44 × 40 × 4 voxels, its brain mask, and the affine."""
    x, z, _ = np.mgrid[:44, :40, :4] - np.array([21, 20, 0])[:, None, None, None]
    head = (x / 19) ** 2 + (z / 17) ** 2 < 1
    brain = (x / 11) ** 2 + (z / 9) ** 2 < 1
    voxels = np.where(head, rng.uniform(50, 150, head.shape), rng.rayleigh(2, head.shape))
    affine = np.diag([0.3, 0.3, 1.0, 1])
    affine[:3, 3] = -6.3, -6, -1.5
    return voxels.astype(np.float32), brain, affine


POSE = Pose('rat', 0.3, 'k')


def masked(model, scan, voxels=None, mask=None):
    own, brain, affine = scan
    voxels, mask = own if voxels is None else voxels, brain if mask is None else mask
    grid = POSE.grid(voxels.shape, affine)
    return masked_second_glance(model, grid.to_stack(voxels), grid, mask)


def test_voxels_outside_the_mask_do_not_reach_a_masked_second_glance(model, scan, rng):
    voxels, brain, _ = scan
    other = np.where(brain, voxels, rng.uniform(0, 300, voxels.shape)).astype(np.float32)
    found = masked(model, scan)
    np.testing.assert_array_equal(masked(model, scan, other).fractions, found.fractions)
    # It is no look at the whole head, and what is inside counts
    inside = np.where(brain, voxels[::-1], voxels).astype(np.float32)
    assert np.abs(masked(model, scan, inside).fractions - found.fractions).max() > 0.01
    whole, _ = look_again(
        'none', voxels, brain, scan[2], POSE, first=glance(model, scan), model=model
    )
    assert np.abs(whole.fractions - found.fractions).max() > 0.01


def test_tissues_of_every_kind_fill_the_mask_exactly(model, scan):
    voxels, brain, affine = scan
    for kind in ('masked', 'none'):
        tissues, regions = look_again(
            kind, voxels, brain, affine, POSE, first=glance(model, scan), model=model
        )
        np.testing.assert_array_equal(tissues.labels > 0, brain)
        np.testing.assert_allclose(tissues.fractions.sum(axis=-1), brain, atol=1e-5)
        assert regions is None


def glance(model, scan):
    voxels, _, affine = scan
    return first_glance(model, POSE.grid(voxels.shape, affine).to_stack(voxels))


def test_a_mask_too_small_for_an_atlas_keeps_the_first_glance(model, scan):
    voxels, _, affine = scan
    few = np.zeros(voxels.shape, bool)
    few[18:24, 16:24, 1:3] = True
    first = glance(model, scan)
    given = {'first': first, 'model': model}
    # No network of the second glance is needed for it
    found, regions = look_again('network', voxels, few, affine, POSE, **given)
    expected, _ = look_again('none', voxels, few, affine, POSE, **given)
    np.testing.assert_array_equal(found.fractions, expected.fractions)
    assert regions is None
    with pytest.raises(InputError, match='weights of its network'):
        look_again('network', voxels, scan[1], affine, POSE, **given)
    with pytest.raises(InputError, match='not one of'):
        look_again('third', voxels, few, affine, POSE, **given)


def test_the_first_glance_counts_beside_the_second_where_both_agree(model, scan):
    """The first network's own tissues, a little surer, as if the second had seen them."""
    voxels, brain, affine = scan
    first = glance(model, scan)
    torch.manual_seed(0)
    net = UNet((2, 4, 4, 4, 4), len(CHANNELS), len(OUTPUTS)).eval()
    with torch.no_grad():
        net.head.weight *= 30
    network = LoadedModel(net, 0.2, OUTPUTS, '', '', {})
    alone = glance_at_volume(voxels, brain, affine, POSE, network).tissues
    grid = POSE.grid(voxels.shape, affine)
    background = np.zeros((*brain.shape, 1), np.float32)
    alike = np.concatenate([background, alone.fractions], axis=-1)
    stack = np.stack([grid.to_stack(alike[..., k]) for k in range(4)], axis=1)
    for probabilities, weight in ((stack**2, WEIGHT), (stack[:, [0, 2, 3, 1]], 0)):
        seen = replace(first, probabilities=probabilities)
        found, _ = look_again(
            'network', voxels, brain, affine, POSE, first=seen, model=model, network=network
        )
        given = tissues_inside(grid.to_native(probabilities), brain)
        expected, told = pool_glances(given, alone, brain)
        assert told == weight
        np.testing.assert_array_equal(found.fractions, expected.fractions)
        np.testing.assert_array_equal(found.amounts, expected.amounts)


def test_the_outline_of_a_mask_is_at_one_half():
    images, mask = np.full((1, 1, 3), 5.0), np.array([[[0.49, 0.5, 1.0]]])
    assert remove_background(images, mask).tolist() == [[[0, 5, 5]]]


def test_options_reach_saliency_and_its_enhancement_stays_in_the_head(model, scan):
    voxels, _, affine = scan
    images = POSE.grid(voxels.shape, affine).to_stack(voxels)
    usual = first_glance(model, images)
    head = head_mask(images)
    assert 0.2 < head.mean() < 0.95
    np.testing.assert_allclose(usual.enhanced, enhance(usual.saliency, head), atol=1e-6)
    sharp = first_glance(model, images, SaliencyOptions(peak=1.0, width=0.3))
    np.testing.assert_array_equal(sharp.saliency, usual.saliency)
    expected = enhance(usual.saliency, head, peak=1.0, width=0.3)
    np.testing.assert_allclose(sharp.enhanced, expected, atol=1e-6)
    for options in (
        SaliencyOptions(target='WM'),
        SaliencyOptions(method='gradient'),
        SaliencyOptions(copies=2),
    ):
        other = first_glance(model, images, options)
        assert np.abs(other.saliency - usual.saliency).max() > 1e-6, options
        np.testing.assert_allclose(other.probabilities, usual.probabilities, atol=1e-6)


def test_brain_is_what_is_not_background_near_the_head(model, scan):
    voxels, _, affine = scan
    images = POSE.grid(voxels.shape, affine).to_stack(voxels)
    probabilities = glance(model, scan).probabilities
    near = near_head(images)
    found = brain_probability(probabilities, images)
    tissue = probabilities[:, 1:].sum(axis=1)
    np.testing.assert_allclose(found[near], tissue[near], atol=1e-5)
    assert not found[~near].any()
    assert tissue[~near].max() > 0.01


def test_evidence_is_of_the_placed_mask_and_of_voxels_in_cubic_millimetres(model, rng):
    """Two mm of slice, 0.3 mm in plane: a pixel is 0.18 mm³."""
    shape = (4, 48, 48)
    enhanced = rng.random(shape).astype(np.float32)
    mask = np.zeros(shape, bool)
    mask[:, 14:34, 12:36] = True
    positions = np.arange(4) * 2.0 - 3
    head = HeadStack(rng.uniform(50, 100, shape).astype(np.float32), positions, 0.3)
    torch.manual_seed(0)
    refinement = LoadedModel(UNet((4, 8), N_CHANNELS, 1).eval(), 0.3, ('brain',), '', '', {})
    probabilities = np.full((4, 4, 48, 48), 0.25, np.float32)
    first = FirstGlance(enhanced, probabilities, enhanced)
    evidence, placement = gather_evidence(
        first, refinement, head, [Donor(enhanced, mask, positions)]
    )
    assert evidence.voxel_mm3 == pytest.approx(0.3 * 0.3 * 2)
    np.testing.assert_array_equal(evidence.placed, mask)
    np.testing.assert_allclose(evidence.first, 0.75)
    np.testing.assert_array_equal(evidence.peaks, placement.peaks)
    # The refinement is shown the placed mask: another donor's gives another probability
    other, _ = gather_evidence(
        first, refinement, head, [Donor(enhanced, np.roll(mask, 6, 1), positions)]
    )
    assert np.abs(other.refined - evidence.refined).max() > 1e-3


def test_a_donor_keeps_its_mask_positions_and_name(model, scan):
    voxels, brain, affine = scan
    head = POSE.stack(POSE.grid(voxels.shape, affine), voxels, brain)
    donor = prepare_donor(model, head, animal='sub-7')
    np.testing.assert_array_equal(donor.mask, head.labels > 0)
    np.testing.assert_array_equal(donor.positions, [-1.5, -0.5, 0.5, 1.5])
    np.testing.assert_array_equal(donor.enhanced, glance(model, scan).enhanced)
    assert donor.animal == 'sub-7'


@pytest.mark.parametrize(('method', 'scaled'), [('similarity', True), ('correlation', False)])
def test_a_mask_is_scaled_where_its_method_says_so(model, scan, method, scaled):
    voxels, brain, affine = scan
    head = POSE.stack(POSE.grid(voxels.shape, affine), voxels, brain)
    donor = prepare_donor(model, head)
    larger = Donor(
        transform(donor.enhanced, 1.2, 0.0),
        transform(donor.mask.astype(np.float32), 1.2, 0.0) >= 0.5,
        donor.positions,
    )
    torch.manual_seed(0)
    calibration = {
        'weights': [0.0] * (len(EVIDENCE) + 1),
        'slice_weights': [0.0] * (len(SLICE_EVIDENCE) + 1),
    }
    refinement = LoadedModel(
        UNet((4, 8), N_CHANNELS, 1).eval(),
        0.3,
        ('brain',),
        '',
        '',
        {'calibration': json.dumps(calibration)},
    )
    found = find_brain(model, refinement, head, [larger], mask_method=method)
    assert (found.placement.match.scale != 1) == scaled
    assert found.brain.method == method
    np.testing.assert_array_equal(found.brain.mask >= 0.5, found.placement.mask)
