"""The second glance as a whole, with a network that was not trained."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from secondglance.imaging.regions import Region, RegionAtlas
from secondglance.models.second_glance.channels import ACROSS, BRAIN_WIDTH, brain_input
from secondglance.models.second_glance.glance import predict_brain, second_glance
from secondglance.models.second_glance.network import N_CHANNELS, split_outputs

POSITIONS = np.arange(10.0)


@pytest.fixture(scope='module')
def head():
    rng = np.random.default_rng(0)
    y, x, z = np.mgrid[:10, :66, :54]
    away = ((x - 30) / 22) ** 2 + ((z - 26) / 16) ** 2 + ((y - 4.5) / 6) ** 2
    return rng.normal(10, 1, away.shape) * (1 + (away < 0.3)), away < 1


@pytest.fixture(scope='module')
def found(network, head):
    """Second glance at the head."""
    return second_glance(*head, POSITIONS, 0.25, 'rat', network)


@pytest.fixture
def atlas():
    labels = np.ones((40, 60, 30), np.int16)
    labels[20:] = 2
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = [-10.25, -17, -6]
    return RegionAtlas(
        labels, affine, (Region(1, 'left', 'l', '#000000'), Region(2, 'right', 'r', '#ffffff'))
    )


def test_fractions_sum_to_one_inside_and_labels_follow_the_mask(found, head):
    total = found.fractions.sum(axis=-1)
    assert total[head[1]] == pytest.approx(1, abs=1e-5)
    assert np.all(total[~head[1]] == 0)
    assert np.array_equal(found.fractions.sum(axis=-1) > 0, head[1])
    assert np.array_equal(np.isnan(found.coordinates[..., 0]), ~head[1])


def test_shares_of_tissues_sum_to_one_where_the_network_is_certain(network, head):
    """None is less than 1e-4 before, so that what is added is taken off again."""
    net = copy.deepcopy(network.net)
    with torch.no_grad():
        net.head.weight[:3] *= 50
    found = second_glance(*head, POSITIONS, 0.25, 'rat', replace(network, net=net))
    shares = found.fractions[head[1]]
    assert (shares.min(axis=-1) < 1.5e-4).mean() > 0.1
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-6)


def test_mirrored_brain_gives_mirrored_result(network, head, found):
    image, mask = head
    turned = second_glance(image[:, ::-1], mask[:, ::-1], POSITIONS, 0.25, 'rat', network)
    same = found.fractions.argmax(-1) == turned.fractions[:, ::-1].argmax(-1)
    assert same[mask].mean() > 0.97
    away = found.coordinates[..., 0] + turned.coordinates[:, ::-1, :, 0]
    assert np.nanmax(np.abs(away)) < 0.15


def test_field_of_view_does_not_change_the_result(network, head, found):
    image, mask = head
    cut = np.s_[:, 4:58, 5:48]
    part = second_glance(image[cut], mask[cut], POSITIONS, 0.25, 'rat', network)
    assert np.allclose(found.fractions[cut], part.fractions, atol=1e-4)
    assert np.allclose(found.coordinates[cut], part.coordinates, atol=1e-3, equal_nan=True)


def test_voxels_far_from_the_mask_do_not_change_the_result(network, head, found):
    image, mask = head
    other = image.copy()
    other[:, :4], other[:, :, -5:] = 0, 500
    again = second_glance(other, mask, POSITIONS, 0.25, 'rat', network)
    assert np.array_equal(found.fractions, again.fractions)


def test_left_is_left(network, head, atlas):
    image, mask = head
    found = second_glance(image, mask, POSITIONS, 0.25, 'rat', network, atlas)
    assert np.all(found.regions[~mask] == 0)
    left, right = found.regions[:, :28][mask[:, :28]], found.regions[:, 33:][mask[:, 33:]]
    assert (left == 1).mean() > 0.98
    assert (right == 2).mean() > 0.98


def test_place_of_the_mask_is_where_the_network_starts(found):
    """With nothing added, a brain lies where its mask does: 14.6 mm wide about the midline."""
    across = found.coordinates[..., 0]
    assert np.nanmin(across) == pytest.approx(-7.3, abs=0.8)
    assert np.nanmax(across) == pytest.approx(7.3, abs=0.8)


def test_outputs_add_to_the_place():
    channels = torch.zeros(1, N_CHANNELS, 2, 2)
    outputs = torch.zeros(1, 7, 2, 2)
    outputs[:, 3] = 1.0
    _, places, _ = split_outputs(outputs, channels)
    _, still, _ = split_outputs(torch.zeros(1, 7, 2, 2), channels)
    assert torch.allclose((places - still)[0, :, 0, 0], torch.tensor([3.0, 0.0, 0.0]))


def test_place_runs_forward_and_up(network, head, found):
    """With nothing added: from 1.7 − 5.2 to 1.7 + 5.2 mm upwards, and forward along the head."""
    _, along, up = np.moveaxis(found.coordinates, -1, 0)
    assert np.nanmin(up) == pytest.approx(1.7 - 5.2, abs=0.6)
    assert np.nanmax(up) == pytest.approx(1.7 + 5.2, abs=0.6)
    middles = np.nanmedian(along, axis=(1, 2))
    # As wide as the rat atlas' brain is beside this one, 1 mm of the head is longer
    width = np.nanpercentile(found.coordinates[..., 0], [1, 99]) / 7.3
    given = brain_input(*head, POSITIONS, 0.25, 'rat', network.spacing)
    half = 7.3 * np.exp(given.channels[0, BRAIN_WIDTH, 0, 0])
    assert np.allclose(width, [-1, 1], atol=0.1)
    assert np.allclose(np.diff(middles), 7.3 / half, atol=0.02)
    assert np.median(middles) == pytest.approx(-2, abs=0.4)
    assert found.misfit_mm < 0.1


def test_regions_are_looked_up_by_place_and_tissue(network, head):
    rng = np.random.default_rng(1)
    affine = np.diag([0.4, 0.4, 0.4, 1.0])
    affine[:3, 3] = -16
    regions = (Region(1, 'a', 'a', '#000000', 'WM'), Region(2, 'b', 'b', '#ffffff', 'CSF'))
    atlas = RegionAtlas(rng.integers(1, 3, (80, 80, 80)).astype(np.int16), affine, regions)
    image, mask = head
    found = second_glance(image, mask, POSITIONS, 0.25, 'rat', network, atlas)
    places, shares = found.coordinates[mask], found.fractions[mask]
    same = found.regions[mask] == atlas.look_up(places, shares)
    assert same.mean() > 0.999
    assert (found.regions[mask] == atlas.look_up(places)).mean() < 0.99


def test_both_sides_of_the_brain_are_shown_and_averaged(network, head):
    image, mask = head
    given = brain_input(image, mask, POSITIONS, 0.25, 'rat', network.spacing)
    alone, *_ = predict_brain(network, given, mirror=False)
    both, places, _ = predict_brain(network, given)
    assert np.abs(alone - both).max() > 0.01
    turned = brain_input(image[:, ::-1], mask[:, ::-1], POSITIONS, 0.25, 'rat', network.spacing)
    other, others_places, _ = predict_brain(network, turned)
    assert np.abs(both.sum(axis=1) - 1).max() < 1e-5
    assert both.shape == other.shape
    assert np.median(np.abs(places[:, 0] + others_places[:, 0, ::-1])) < 0.5


def test_part_that_is_brain_is_what_the_network_says(network, head):
    """Mirrored with the brain; within the mask and the pixels beside it."""
    from dataclasses import replace

    class Half(torch.nn.Module):
        """A third of each pixel on the left is brain, two thirds on the right."""

        def forward(self, channels):
            outputs = torch.zeros(len(channels), 7, *channels.shape[2:])
            right = channels[:, ACROSS] > 0
            outputs[:, 6] = torch.where(right, 1.0, -1.0) * float(np.log(2))
            return outputs

    image, mask = head
    told = replace(network)
    told.__dict__['quick'] = Half()
    given = brain_input(image, mask, POSITIONS, 0.25, 'rat', network.spacing)
    _, _, alone = predict_brain(told, given, mirror=False)
    assert alone.shape == given.channels[:, 0].shape
    left, right = alone[:, :5], alone[:, -5:]
    assert np.allclose(left, 1 / 3, atol=1e-5)
    assert np.allclose(right, 2 / 3, atol=1e-5)
    _, _, both = predict_brain(told, given)
    # The mirrored brain is turned back, where left says what right did
    assert np.allclose(both[:, :5], 1 / 2, atol=1e-5)
    part = second_glance(image, mask, POSITIONS, 0.25, 'rat', told).amounts.sum(axis=-1)
    assert np.allclose(part[mask], 1 / 2, atol=1e-4)
    beside = ndimage.binary_dilation(mask, ndimage.generate_binary_structure(2, 1)[None]) & ~mask
    assert np.allclose(part[beside], 1 / 2, atol=1e-4)
    assert not part[~mask & ~beside].any()
    alone = second_glance(image * mask, mask, POSITIONS, 0.25, 'rat', told).amounts.sum(axis=-1)
    # Where the background was removed there is nothing beside the mask
    assert np.array_equal(alone > 0, mask)
