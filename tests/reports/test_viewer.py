"""What the viewer is given."""

import base64
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from secondglance.imaging.glance_changes import changes
from secondglance.reports import figures
from secondglance.reports.viewer import run_lengths, viewer_data, viewer_within


def _decode(text, shape):
    """Read run lengths as the format says: value of two bytes, length of one."""
    runs = base64.b64decode(text)
    out = []
    for low, high, length in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        out += [low + 256 * high] * length
    return np.array(out).reshape(shape)


@pytest.mark.parametrize('length', [1, 254, 255, 256, 510, 511, 2000])
def test_run_lengths_of_any_length(length):
    labels = np.r_[np.zeros(length), np.full(length, 700), 3].astype(int)
    assert (_decode(run_lengths(labels), -1) == labels).all()


def test_run_lengths_of_noise(rng):
    labels = rng.integers(0, 65536, (4, 5, 6))
    assert (_decode(run_lengths(labels), (4, 5, 6)) == labels).all()


def test_dorsal_is_the_first_row_and_left_the_first_column(data):
    labels = np.zeros_like(data.labels)
    labels[2, 0, -1] = 3  # leftmost and most dorsal
    told = viewer_data(replace(data, labels=labels))
    decoded = _decode(told['labels']['second'], (5, 10, 12))
    assert np.argwhere(decoded).tolist() == [[2, 0, 0]]
    assert (told['width'], told['height']) == (12, 10)


def test_margins_beyond_the_field_of_view_are_left_out(data):
    image = np.zeros((5, 40, 30))
    image[:, 20:32, 4:14] = 1 + data.image
    stacks = {
        name: np.zeros((5, 40, 30), int)
        for name in ('saliency', 'enhanced', 'first_labels', 'labels')
    }
    stacks['mask'] = np.zeros((5, 40, 30), bool)
    told = viewer_data(replace(data, image=image, **stacks))
    assert (told['width'], told['height']) == (12, 10)


def test_tiles_of_a_sheet_are_the_slices(data):
    image = np.zeros((5, 16, 16))
    for n in range(5):
        image[n] = 1 + n
    flat = np.zeros((5, 16, 16))
    told = viewer_data(
        replace(
            data,
            image=image,
            mask=flat > 0,
            labels=flat,
            first_labels=flat,
            saliency=flat,
            enhanced=flat,
        )
    )
    source = told['sheets']['image'].partition(',')[2]
    with Image.open(BytesIO(base64.b64decode(source))) as picture:
        sheet = np.asarray(picture.convert('L'), float)
    assert sheet.shape == (2 * 16, 3 * 16)
    tiles = [sheet[16 * (n // 3) :, 16 * (n % 3) :][4:12, 4:12].mean() for n in range(5)]
    assert np.allclose(tiles, np.linspace(0, 255, 5), atol=4)


def _sheet(told, key):
    source = told['sheets'][key].partition(',')[2]
    with Image.open(BytesIO(base64.b64decode(source))) as picture:
        return np.asarray(picture.convert('L'), float)


def test_layers_are_grey_by_their_own_values(data):
    """One grey scale for all images, zero saliency in the middle, a tissue by its own class."""
    flat = np.ones((5, 16, 16))
    half = flat.copy()
    half[:, :8] = 0
    saliency = np.where(half > 0, 1.0, -1.0)
    probabilities = np.stack([0.1 * flat, 0.2 * flat, 0.3 * flat, 0.4 * flat], axis=1)
    labels = dict.fromkeys(('labels', 'first_labels'), flat.astype(int))
    told = viewer_data(
        replace(
            data,
            image=half,
            compared={'darker': half / 2},
            mask=flat > 0,
            saliency=saliency,
            enhanced=flat,
            probabilities=probabilities,
            **labels,
        )
    )
    # The first tile; H runs to the right
    left, right = np.s_[4:12, 2:6], np.s_[4:12, 10:14]
    expected = {'image': (0, 255), 'compared1': (0, 127), 'saliency': (0, 255)}
    for key, values in expected.items():
        sheet = _sheet(told, key)
        assert (sheet[left].mean(), sheet[right].mean()) == pytest.approx(values, abs=3)
    shares = {'WM': 0.2, 'GM': 0.3, 'CSF': 0.4}
    for tissue, share in shares.items():
        assert _sheet(told, f'probability{tissue}')[left].mean() == pytest.approx(
            255 * share, abs=2
        )


def test_sheets_are_as_fine_as_is_asked_for(data):
    fine, coarse = (viewer_data(data, quality)['sheets'] for quality in (85, 20))
    for key, sheet in fine.items():
        assert sheet.startswith('data:image/jpeg;base64,/9j/')
        assert len(coarse[key]) <= len(sheet)
    assert len(coarse['image']) < len(fine['image'])


def test_large_stacks_are_thinned_and_know_their_pixel(data):
    told = viewer_data(replace(data, spacing=(0.3, 0.2)), most_pixels=5 * 12 * 10 / 4)
    assert (told['width'], told['height']) == (6, 5)
    assert told['mm'] == pytest.approx([0.6, 0.4])


def test_regions_are_packed_and_named(data):
    regions = np.zeros_like(data.labels)
    regions[0, 0, 0], regions[1, 1, 1] = 30000, 9
    told = viewer_data(replace(data, regions=regions, region_names={30000: 'Cortex'}))
    layer = next(layer for layer in told['layers'] if layer['key'] == 'regions')
    assert [c['name'] for c in layer['classes']] == ['region 9', 'Cortex']
    decoded = _decode(told['labels']['regions'], (5, 10, 12))
    assert decoded[0, -1, 0] == 2
    assert decoded[1, -2, 1] == 1


def test_regions_that_fill_the_image_keep_their_names(data):
    regions = np.where(np.arange(10) < 5, 4, 7) * np.ones_like(data.labels)
    told = viewer_data(replace(data, regions=regions, region_names={4: 'Four', 7: 'Seven'}))
    layer = next(layer for layer in told['layers'] if layer['key'] == 'regions')
    assert [c['name'] for c in layer['classes']] == ['Four', 'Seven']
    decoded = _decode(told['labels']['regions'], (5, 10, 12))
    assert (decoded[:, 5:] == 1).all()
    assert (decoded[:, :5] == 2).all()


def test_each_layer_of_labels_is_its_own(data):
    first, second = np.ones_like(data.labels), np.full_like(data.labels, 2)
    first[:, :5] = 0
    told = viewer_data(
        replace(data, first_labels=first, labels=second, reference=np.full_like(first, 3))
    )
    values = {key: np.unique(_decode(text, (5, 10, 12))) for key, text in told['labels'].items()}
    assert values['first'].tolist() == [0, 1]
    assert values['second'].tolist() == [2]
    # A reference is a mask, whatever its tissues
    assert values['reference'].tolist() == [1]
    shown = np.swapaxes(changes(first, second), 1, 2)[:, ::-1]
    np.testing.assert_array_equal(_decode(told['labels']['changes'], (5, 10, 12)), shown)
    assert (shown != np.swapaxes(changes(second, first), 1, 2)[:, ::-1]).any()
    layers = {layer['key']: layer for layer in told['layers']}
    for key in ('first', 'second'):
        colours = [c['colour'] for c in layers[key]['classes']]
        assert colours == [figures.COLOURS[n] for n in (1, 2, 3)]


def test_all_is_plain_json(data):
    json.dumps(viewer_data(data), allow_nan=False)


def test_an_empty_scan_can_be_shown(data):
    empty = np.zeros_like(data.image)
    told = viewer_data(replace(data, image=empty, mask=empty > 0, saliency=empty * np.nan))
    assert (told['n'], told['width'], told['start']) == (5, 12, 2)


def test_viewer_is_thinned_until_it_fits(data, rng):
    shape = (12, 64, 64)
    noise = replace(
        data,
        image=1 + rng.random(shape),
        mask=np.ones(shape, bool),
        saliency=rng.normal(size=shape),
        enhanced=rng.random(shape),
        labels=rng.integers(0, 4, shape),
        first_labels=rng.integers(0, 4, shape),
    )
    whole = viewer_within(noise, 10_000_000)
    assert whole['width'] == 64
    thinned = viewer_within(noise, 60_000)
    assert sum(map(len, (*thinned['sheets'].values(), *thinned['labels'].values()))) <= 60_000
    assert 16 <= thinned['width'] < 64
