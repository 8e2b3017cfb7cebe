import base64
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from secondglance.imaging.pose import Pose
from secondglance.reports import figures
from secondglance.reports.data import geometry_of
from secondglance.reports.methods_text import REGION_SENTENCE, methods_text, volumes_of
from secondglance.reports.page import page_templates
from secondglance.reports.render import render_report


@pytest.fixture
def render(tmp_path):
    def _render(data):
        render_report(data, tmp_path / 'sub-01.html', tmp_path / 'sub-01/figures')
        return (tmp_path / 'sub-01.html').read_text()

    return _render


def _pictures(page):
    return re.findall(r'src="([^"]+)"', page)


def test_page_holds_its_pictures_and_needs_no_other_file(data, render):
    found = _pictures(render(data))
    assert len(found) == 7
    for source in found:
        kind, content = source.split(';base64,')
        assert kind == 'data:image/jpeg'
        with Image.open(BytesIO(base64.b64decode(content, validate=True))) as picture:
            picture.load()
            assert picture.size[0] > figures.PICTURE_WIDTH / 2


def test_picture_inside_the_page_equals_the_file(tmp_path, rng):
    path = tmp_path / 'a.png'
    smooth = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, 1)), 16, 0), 16, 1)
    picture = np.repeat(smooth, 3, 2).astype(np.uint8)
    figures.save_png(picture, path)
    content = base64.b64decode(figures.data_uri(picture).partition(',')[2])
    with Image.open(BytesIO(content)) as inside, Image.open(path) as file:
        apart = np.abs(np.asarray(inside, float) - np.asarray(file, float))
    assert apart.mean() < 4


def test_colours_inside_the_page_are_as_fine_as_brightness():
    picture = np.full((64, 64, 3), 90, np.uint8)
    picture[:, 32] = figures.MASK_COLOUR
    content = base64.b64decode(figures.data_uri(picture).partition(',')[2])
    with Image.open(BytesIO(content)) as inside:
        column = np.asarray(inside, float)[:, 32].mean(axis=0)
    assert np.allclose(column, figures.MASK_COLOUR, atol=20)


def test_picture_too_long_for_jpeg_is_png():
    picture = np.arange(2 * (figures.JPEG_SIDE + 1) * 3).reshape(-1, 2, 3).astype(np.uint8)
    kind, _, content = figures.picture_uri(picture).partition(';base64,')
    assert kind == 'data:image/png'
    with Image.open(BytesIO(base64.b64decode(content))) as inside:
        assert np.array_equal(np.asarray(inside), picture)


def test_only_diffusion_scans_have_b0_volumes():
    settings = {'mask_taken': 'network', 'second_glance': 'masked'}
    engine = {'engine': 'SimpleITK', 'n_b0': 4}
    assert 'b0' not in methods_text('0.1.0', engine, settings, volumes_of('bold'))
    assert '4 b0 volumes' in methods_text('0.1.0', engine, settings, volumes_of('dwi'))


@pytest.mark.parametrize('n_volumes', [1, 2])
def test_a_single_volume_has_no_plot_of_motion(data, render, n_volumes):
    names = [f'{kind}_{axis}' for kind in ('trans', 'rot') for axis in 'xyz']
    confounds = dict.fromkeys([*names, 'framewise_displacement'], np.zeros(n_volumes))
    page = render(replace(data, confounds=confounds))
    assert (f'Translation of {n_volumes} volumes' in page) == (n_volumes > 1)


def test_what_is_not_given_leaves_its_section_out(data, render):
    page = render(data)
    assert 'id="motion"' not in page
    assert 'Against the reference' not in page
    page = render(
        replace(
            data,
            metrics=[{'label': 'brain', 'dsc': 0.98765}],
            confounds={n: np.zeros(3) for n in (
                'trans_x', 'trans_y', 'trans_z', 'rot_x', 'rot_y', 'rot_z',
                'framewise_displacement',
            )},
        )
    )  # fmt: skip
    assert 'id="motion"' in page
    assert '0.988' in page


def test_text_is_escaped_everywhere(data, render):
    evil = '<script>alert(1)</script>'
    page = render(
        replace(
            data,
            title=evil,
            source=evil,
            summary={evil: evil},
            warnings=[evil],
            settings={evil: evil},
            volumes=[{'label': evil, 'volume_mm3': 1.0}],
        )
    )
    assert '<script>' not in page
    assert page.count('&lt;script&gt;') >= 7


def test_empty_slices_and_values_that_are_not_numbers(data, render):
    empty = np.zeros_like(data.image)
    page = render(
        replace(
            data,
            image=empty,
            saliency=np.full_like(empty, np.nan),
            enhanced=empty,
            mask=empty > 0,
            metrics=[{'label': 'WM', 'dsc': float('nan')}],
        )
    )
    text = re.sub(r'src="[^"]+"', '', page).lower()
    assert 'nan' not in text.replace('finance', '')


def test_no_page_without_its_figures(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError('No space left on device')

    monkeypatch.setattr(figures, 'save_png', full)
    with pytest.raises(OSError, match='No space'):
        render_report(data, tmp_path / 'sub-01.html', tmp_path / 'figures')
    assert not (tmp_path / 'sub-01.html').exists()


def test_dorsal_is_up_and_left_is_left():
    slices = np.zeros((1, 4, 6, 3), np.uint8)
    slices[0, 0, -1] = 255  # leftmost and most dorsal
    picture = figures.mosaic(slices, columns=1)
    rows, columns = np.nonzero(picture[..., 0] == 255)
    assert rows.max() < picture.shape[0] / 4
    assert columns.max() < picture.shape[1] / 3


def test_tissues_have_their_colours():
    base = np.zeros((1, 1, 4, 3), np.uint8)
    shown = figures.tissue_overlay(base, np.array([[[0, 1, 2, 3]]]), opacity=1)
    assert shown[0, 0].tolist() == [[0, 0, 0], *map(list, figures.COLOURS.values())]


def test_outline_lies_on_the_edge_of_the_mask():
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 5:15, 5:15] = True
    picture = figures.mosaic(np.zeros((1, 20, 20, 3), np.uint8), mask, columns=1)
    edge = (picture == figures.MASK_COLOUR).all(-1)
    zoom = (picture.shape[0] - 2) // 20
    assert edge[5 * zoom + 1, 10 * zoom]
    assert not edge[10 * zoom, 10 * zoom]
    assert not edge[2 * zoom, 10 * zoom]


def test_low_pixels_make_low_slices():
    picture = figures.mosaic(np.ones((1, 20, 20, 3), np.uint8), columns=20, aspect=0.5)
    height, width = np.argwhere(picture.any(axis=-1)).max(axis=0) + 1
    assert width == 2 * height


def test_the_thumbnail_is_of_the_slice_with_most_brain():
    slices = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((40, 20, 3), np.uint8)
    mask = np.zeros((3, 40, 20), bool)
    mask[0, :3], mask[1, 10:30, 5:15] = True, True
    picture = figures.thumbnail(slices, mask, 0.5)
    height, width = picture.shape[:2]
    assert picture[height // 2, width // 2].tolist() == [1, 1, 1]
    # 40 pixels across and 20 upwards, of half their height
    assert width / height == pytest.approx(4, abs=0.1)


def test_pictures_have_a_bar_of_their_own_millimetres_and_outlines(data, render, tmp_path):
    """Slices of 12 pixels of 2.5 mm from left to right: 10 mm are a third of a slice."""
    render(replace(data, spacing=(2.5, 1.0)))
    [path] = (tmp_path / 'sub-01' / 'figures').glob('*_mask.png')
    with Image.open(path) as picture:
        shown = np.asarray(picture.convert('RGB'))
    assert (shown == figures.MASK_COLOUR).all(-1).any()
    width, height = shown.shape[1] // 4, shown.shape[0] // 2
    white = (shown[height - 6, :width] == 255).all(-1)
    assert white.sum() == pytest.approx((width - 2) / 3, abs=2)


def test_a_mask_that_reaches_the_end_of_a_slice_is_outlined_there():
    mask = np.ones((1, 20, 20), bool)
    picture = figures.mosaic(np.zeros((1, 20, 20, 3), np.uint8), mask, columns=20)
    zoom = (picture.shape[0] - 2) // 20
    edge = (picture == figures.MASK_COLOUR).all(-1)[: 20 * zoom, : 20 * zoom]
    assert edge[[0, -1]].all()
    assert edge[:, [0, -1]].all()
    assert not edge[zoom:-zoom, zoom:-zoom].any()


def test_a_few_bright_pixels_do_not_darken_the_others():
    """Of 500 pixels above zero the 99.5th percentile is 1; the 1st of all is 0."""
    stack = np.zeros((10, 10, 10))
    stack[5:] = 1
    stack[9, 9, 9] = 100
    shown = figures.grey(stack)
    assert (shown[:5] == 0).all()
    assert (shown[5:] == 255).all()


@pytest.mark.parametrize(
    ('engine', 'says'),
    [
        (
            {'engine': 'SimpleITK', 'n_b0': 4},
            '4 b0 volumes were corrected for motion with SimpleITK',
        ),
        ({'engine': 'FSL MCFLIRT', 'n_b0': 2}, 'MCFLIRT'),
        ({'engine': 'none', 'n_b0': 2}, '2 b0 volumes were averaged without motion correction'),
        ({'engine': 'none: one volume', 'n_b0': 1}, 'One volume was used as it was'),
    ],
)
def test_methods_say_what_was_done(engine, says):
    text = methods_text(
        '0.1.0',
        engine,
        {
            'saliency': 'guided',
            'weights_checksum': 'ab' * 32,
            'mask_taken': 'network',
            'second_glance': 'network',
        },
    )
    assert says in text
    assert '10.1007/978-3-030-19823-7_25' in text
    assert 'guided backpropagation' in text


@pytest.mark.parametrize(
    ('second_glance', 'removed', 'weights'),
    [('network', False, True), ('masked', True, False), ('none', False, False)],
)
def test_methods_name_the_second_glance_that_ran(second_glance, removed, weights):
    text = methods_text(
        '0.1.0',
        {'engine': 'none', 'n_b0': 1},
        {
            'mask_taken': 'network',
            'second_glance': second_glance,
            'second_checksum': 'cd' * 32,
        },
    )
    assert ('background removed' in text) == removed
    assert ('cdcdcdcdcdcd' in text) == weights


@pytest.mark.parametrize(
    ('second_glance', 'regions', 'told'),
    [('network', 'atlas', True), ('network', '', False), ('masked', 'atlas', False)],
)
def test_methods_tell_of_regions_where_the_network_found_places(second_glance, regions, told):
    settings = {'mask_taken': 'network', 'second_glance': second_glance, 'regions': regions}
    text = methods_text('0.1.0', {'engine': 'none', 'n_b0': 1}, settings)
    assert (REGION_SENTENCE in text) == told


def test_numbers_and_scale_are_written_on_each_slice():
    n, side = 6, 100
    plain = figures.mosaic(np.zeros((n, side, side, 3), np.uint8))
    shown = figures.annotate(plain, n, 30.0, ('L', 'R', 'D', 'V'))
    assert shown.shape == plain.shape
    columns = 4
    width, height = plain.shape[1] // columns, plain.shape[0] // 2
    for index in range(n):
        row, column = divmod(index, columns)
        corner = shown[row * height :, column * width :][:20, :20]
        assert corner.max() > 200
    # 10 mm of the 30 mm that a slice is wide
    bar = shown[height - 6, :width, 0] > 200
    assert bar.sum() == pytest.approx((width - 2) / 3, abs=2)
    assert not plain.any()


def test_tiny_slices_are_not_written_over():
    plain = np.zeros((30, 60, 3), np.uint8)
    assert figures.annotate(plain, 2, 30.0, ('L', 'R', 'D', 'V')) is plain


@pytest.mark.slow
def test_a_large_scan_makes_a_page_that_can_be_mailed(data, tmp_path, rng):
    shape = (80, 90, 90)
    noise = {name: rng.integers(0, 4, shape) for name in ('labels', 'first_labels')}
    large = replace(
        data,
        image=1 + rng.random(shape),
        saliency=rng.normal(size=shape),
        enhanced=rng.random(shape),
        mask=rng.random(shape) > 0.5,
        placed=rng.random(shape) > 0.5,
        kernels=rng.random((80, 2, 110, 110)),
        **noise,
    )
    render_report(large, tmp_path / 'a.html', tmp_path / 'figures')
    page = (tmp_path / 'a.html').read_text()
    assert len(page.encode()) < 4_000_000
    shown = re.findall(r'<div data-step="\d+"(?! hidden)', page)
    assert len(shown) == 1


def test_each_slice_of_signed_values_has_its_own_range(rng):
    values = rng.normal(0, 1, (1, 40, 40))
    faint, bright = figures.signed_level(np.concatenate([values, 100 * values]))
    np.testing.assert_allclose(faint, bright, rtol=1e-5)
    assert faint.max() == 1
    assert faint.min() == -1


def test_slices_run_along_the_rows_of_a_mosaic():
    """Three in two columns: the second lies beside the first, the third below it."""
    slices = np.repeat(np.array([40, 80, 120], np.uint8), 6 * 5 * 3).reshape(3, 6, 5, 3)
    picture = figures.mosaic(slices, columns=2)[..., 0]
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    middles = picture[height // 2 :: height, width // 2 :: width]
    assert middles.tolist() == [[40, 80], [120, 0]]


def test_changes_have_their_colours_over_slices_half_as_bright():
    base = np.full((1, 1, 4, 3), 90, np.uint8)
    kinds = [0, *figures.CHANGES]
    shown = figures.changed(base, np.array([[kinds]]))
    assert shown[0, 0].tolist() == [[45] * 3, *map(list, figures.CHANGES.values())]
    assert (base == 90).all()


def test_a_pixel_is_as_high_as_its_second_axis_is_long():
    """Millimetres of a stack: left to right, ventral to dorsal, from slice to slice."""
    affine = np.array([[0.2, 0, 0, 0], [0, 0, 0.9, 0], [0, 0.3, 0, 0], [0, 0, 0, 1]])
    found = geometry_of(affine, Pose('rat', 0.2))
    assert found['aspect'] == pytest.approx(1.5)
    assert found['spacing'] == pytest.approx((0.2, 0.3))
    assert found['edges'] == ('L', 'R', 'D', 'V')


def test_what_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError, match='nothing'):
        page_templates().from_string('<p>{{ nothing }}</p>').render()


def test_mosaics_leave_out_what_lies_beyond_the_field_of_view(data, render, tmp_path):
    image = np.where(data.image != 0, data.image, 1)
    wide = {
        name: np.pad(value, ((0, 0), (9, 4), (0, 7)))
        for name, value in vars(replace(data, image=image)).items()
        if isinstance(value, np.ndarray) and value.shape == data.image.shape
    }
    shown = []
    for given in (replace(data, image=image), replace(data, **wide)):
        render(given)
        with Image.open(tmp_path / 'sub-01/figures/sub-01_tissues.png') as picture:
            shown.append(np.asarray(picture, float))
    # The range of grey depends on the margin a little
    np.testing.assert_allclose(*shown, atol=4)


@pytest.mark.parametrize(
    ('n', 'width', 'pixels'), [(40, 97, 1764), (128, 59, 1920), (17, 80, 1452)]
)
def test_a_mosaic_is_wide_enough_to_be_read(n, width, pixels):
    """The least whole number of pixels each, two between slices: 2 × 97 + 2, nine times."""
    picture = figures.mosaic(np.zeros((n, width, 8, 3), np.uint8))
    assert picture.shape[1] == pixels


def test_a_mask_beyond_the_image_is_shown():
    image, mask = np.zeros((2, 9, 8)), np.zeros((2, 9, 8), bool)
    image[0, 4, 3], mask[1, 2, 6] = 1, True
    assert figures.occupied_box(image, mask) == (slice(0, 2), slice(2, 5), slice(3, 7))
    assert figures.occupied_box(image, mask & False)[1:] == (slice(4, 5), slice(3, 4))


def test_a_coarser_figure_is_smaller_and_not_wider_than_a_mosaic(rng):
    picture = rng.integers(0, 256, (40, figures.PICTURE_WIDTH + 100, 3)).astype(np.uint8)
    sizes = []
    for quality in (figures.QUALITY, 60, 20):
        content = base64.b64decode(figures.data_uri(picture, quality).partition(',')[2])
        with Image.open(BytesIO(content)) as shown:
            sizes.append((shown.size, len(content)))
    width = figures.PICTURE_WIDTH
    assert [size for size, _ in sizes] == [(width + 100, 40), (width, 37), (width, 37)]
    assert sizes[0][1] > sizes[1][1] > 2 * sizes[2][1]


def test_mosaics_beyond_their_share_of_the_page_are_coarser(data, render, monkeypatch):
    fine = _pictures(render(data))
    monkeypatch.setattr('secondglance.reports.render.MOST_BYTES', 1)
    coarse = _pictures(render(data))
    assert len(coarse) == len(fine)
    assert all(len(less) < len(more) for less, more in zip(coarse, fine, strict=True))
