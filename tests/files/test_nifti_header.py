"""Lengths of headers: what can be known is corrected, what contradicts itself is refused."""

import re

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.nifti import read_volume
from secondglance.files.nifti_header import affine_of, check_geometry, scale_of, with_position
from secondglance.imaging.errors import InputError


@pytest.fixture
def rat(rng, save, oblique):
    """Return a function that saves a head of 20 mm, or 6 mm, with lengths times a factor."""

    def _rat(factor=1.0, units='mm', wide=False, name='rat.nii', edit=None):
        field = 480 if wide else 100
        voxels = rng.normal(0, 30, (field, field, 5))
        middle = field // 2
        i, j = np.indices((field, field)) - middle
        # 0.25 × 0.3 mm
        voxels[np.hypot(i * 0.25, j * 0.3) < 10] += 900
        image = nib.Nifti1Image(np.abs(voxels).astype('f4'), np.diag([*[factor] * 3, 1]) @ oblique)
        image.set_qform(image.affine, 1)
        image.set_sform(image.affine, 1)
        image.header.set_xyzt_units(units)
        if edit:
            edit(image)
        path = save(voxels, name=name)
        path.write_bytes(image.to_bytes())
        return read_volume(path)[0]

    return _rat


@pytest.mark.parametrize(
    ('factor', 'units', 'says'),
    [
        (1, 'mm', ''),
        (1, 'unknown', ''),
        (1000, 'micron', 'microns: they were converted'),
        (0.001, 'meter', 'metres: they were converted'),
        (1, 'micron', 'microns, by which the head is .* taken for mm'),
        (1, 'meter', 'metres, by which the head is .* taken for mm'),
        (10, 'mm', 'multiplied by 10'),
        (10, 'micron', 'multiplied by 10 .* by which the head is 200 mm wide'),
    ],
)
def test_lengths_become_those_of_the_animal(rat, oblique, factor, units, says):
    image = rat(factor, units)
    geometry = check_geometry(image)
    np.testing.assert_allclose(geometry.affine, oblique, rtol=1e-5)
    assert geometry.scale == pytest.approx(factor)
    notes = ' '.join(geometry.notes)
    assert re.search(says, notes) if says else not notes


@pytest.mark.parametrize(
    ('factor', 'units', 'remedy'),
    [
        (0.1, 'mm', r'are they cm\?.*--voxel-scale 10 '),
        (100, 'mm', '--voxel-scale 0.01 '),
        (1000, 'mm', r'are they microns\?.*--voxel-scale 0.001 '),
        (0.001, 'mm', r'are they metres\?.*--voxel-scale 1000 '),
    ],
)
def test_lengths_of_no_rodent_are_refused_and_the_remedy_works(rat, factor, units, remedy):
    image = rat(factor, units)
    with pytest.raises(InputError, match=remedy) as error:
        check_geometry(image)
    assert 'rat.nii' in str(error.value)
    asked = float(str(error.value).split('--voxel-scale ')[1].split()[0])
    sizes = nib.affines.voxel_sizes(check_geometry(image, voxel_scale=asked).affine)
    np.testing.assert_allclose(sizes, [0.25, 0.3, 0.9], rtol=1e-5)


def test_a_wide_field_of_view_is_no_scaled_header(rat):
    image = rat(wide=True)
    assert image.shape[0] * 0.25 == 120
    assert check_geometry(image).scale == 1
    assert check_geometry(rat(10, wide=True)).scale == 10


def test_what_was_asked_for_is_taken(rat):
    assert check_geometry(rat(10), voxel_scale=1).scale == 1
    assert check_geometry(rat(), voxel_scale=0.5).scale == 2
    assert not check_geometry(rat(), voxel_scale=1).notes
    [note] = check_geometry(rat(), voxel_scale=0.5).notes
    assert 'multiplied by 0.5 (asked)' in note


def test_sizes_that_contradict_each_other_are_both_named(rat, oblique):
    def edit(image):
        image.header['srow_x'], image.header['srow_y'], image.header['srow_z'] = np.eye(4)[:3]
        image._affine = np.eye(4)

    image = rat(edit=edit)
    with pytest.raises(InputError, match=r'1 × 1 × 1 mm .*0\.25 × 0\.3 × 0\.9 mm by its pixdim'):
        check_geometry(image)
    np.testing.assert_allclose(check_geometry(image, voxel_scale=1).affine, np.eye(4))


@pytest.mark.parametrize('affine_factor', [1, 10])
def test_of_two_sizes_a_power_of_ten_apart_the_head_decides(rat, oblique, affine_factor):
    def edit(image):
        image.header['pixdim'][1:4] = np.array([0.25, 0.3, 0.9]) * 10 / affine_factor

    geometry = check_geometry(rat(affine_factor, edit=edit))
    assert geometry.scale == affine_factor
    assert 'fit the size of the head' in geometry.notes[0]


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_head_as_long_as_none_is_reported(rat, oblique, axis):
    sizes = np.ones(4)
    # 20 × 20 × 4.5 mm
    sizes[axis] = (5, 5, 25)[axis]

    def edit(image):
        image.set_qform(oblique @ np.diag(sizes), 1)
        image.set_sform(oblique @ np.diag(sizes), 1)

    [note] = check_geometry(rat(edit=edit)).notes
    assert 'are the voxel sizes right' in note


def test_axes_that_are_not_square_are_reported_and_flat_ones_refused(rat, oblique):
    def shear(by):
        def edit(image):
            affine = oblique.copy()
            affine[:3, 1] += by * affine[:3, 0]
            image.set_sform(affine, 1)
            image.set_qform(None, 0)
            image.header['pixdim'][2] = np.linalg.norm(affine[:3, 1])

        return rat(edit=edit)

    # tan = 0.3 / (0.25 × 0.6)
    geometry = check_geometry(shear(0.6))
    assert 'axes i and j of the image are 63° apart' in geometry.notes[0]
    # The volume of a voxel is that of the box sheared, not the product of the lengths
    assert abs(np.linalg.det(geometry.affine)) == pytest.approx(0.25 * 0.3 * 0.9, rel=1e-5)
    # Four degrees, and two: tan(4°) = 0.0699
    assert '86° apart' in check_geometry(shear(0.0699 * 0.3 / 0.25)).notes[0]
    assert not check_geometry(shear(0.0349 * 0.3 / 0.25)).notes
    with pytest.raises(InputError, match='do not span a volume'):
        check_geometry(shear(5))


@pytest.mark.parametrize('value', [0, np.nan, np.inf])
def test_an_affine_that_cannot_be_inverted_names_the_file(rat, value):
    def edit(image):
        image.header['srow_x'] = image.header['srow_y'] = value
        # Not written anew from what it was
        image._affine = None

    with pytest.raises(InputError, match=r'rat\.nii'):
        check_geometry(rat(edit=edit))


def test_an_image_at_the_end_of_the_world_is_refused(rat, oblique):
    def edit(image):
        image.header['srow_x'][3] = 1e15
        image._affine = None

    with pytest.raises(InputError, match='from the origin'):
        check_geometry(rat(edit=edit))


def test_sform_and_qform_that_differ_are_reported(rat, oblique):
    def edit(image):
        image.set_qform(oblique @ np.diag([-1, -1, 1, 1]), 1)

    assert 'differ by 180°' in check_geometry(rat(edit=edit)).notes[0]
    assert not check_geometry(rat()).notes


def test_a_header_that_says_nothing_of_left_and_right_is_reported(rat):
    def forget(image):
        image.set_sform(None, 0)
        image.set_qform(None, 0)

    [note] = check_geometry(rat(edit=forget)).notes
    assert 'sform_code and qform_code are 0' in note
    assert not check_geometry(rat()).notes


def test_a_scale_once_noted_is_not_estimated_again(save, rng, oblique):
    small = nib.load(save(rng.random((5, 5, 5), dtype='f4'), oblique))
    out = with_position(np.zeros((5, 5, 5), 'f4'), small, 10)
    np.testing.assert_allclose(affine_of(out)[:3, :3], oblique[:3, :3] / 10, rtol=1e-5)


def test_position_is_that_of_the_other_image_to_the_bit(rat):
    image = rat(1000, 'micron')
    out = nib.Nifti1Image.from_bytes(with_position(np.ones((100, 100, 5)), image).to_bytes())
    for field in ('sform_code', 'qform_code', 'srow_x', 'quatern_b', 'pixdim', 'xyzt_units'):
        np.testing.assert_array_equal(out.header[field], image.header[field])


def test_all_that_says_where_voxels_lie_is_taken_over(rng, oblique):
    image = nib.Nifti1Image(rng.random((4, 5, 6), dtype=np.float32), oblique)
    image.set_qform(np.diag([0.3, 0.3, 0.9, 1]) @ oblique, 2)
    image.set_sform(oblique, 3)
    image.header.set_dim_info(freq=2, phase=0, slice=1)
    image.header.set_xyzt_units('micron', 'msec')
    other = with_position(np.zeros((4, 5, 6, 2), np.float32), image, 10.0)
    for header in (other.header, nib.Nifti1Image.from_bytes(other.to_bytes()).header):
        assert header.get_dim_info() == (2, 0, 1)
        assert header.get_xyzt_units() == ('micron', 'msec')
        assert header['qform_code'] == 2
        assert header['sform_code'] == 3
        np.testing.assert_array_equal(header.get_qform(), image.header.get_qform())
        np.testing.assert_array_equal(header.get_sform(), image.header.get_sform())
    assert scale_of(other) == 10


@pytest.mark.parametrize(('sform', 'qform'), [(0, 1), (1, 0), (2, 1)])
def test_one_of_two_forms_says_how_a_head_lies(rat, sform, qform):
    def edit(image):
        affine = image.affine
        image.set_qform(affine, qform)
        image.set_sform(affine, sform)

    assert not check_geometry(rat(edit=edit)).notes
    [note] = check_geometry(rat(edit=lambda image: _without_forms(image))).notes
    assert 'does not say how the head lies' in note


def _without_forms(image):
    image.set_qform(image.affine, 0)
    image.set_sform(image.affine, 0)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_one_size_alone_that_is_ten_times_another_is_no_unit(rat, axis):
    def edit(image):
        image.header['pixdim'][1 + axis] *= 10

    with pytest.raises(InputError, match='by its pixdim: correct its header'):
        check_geometry(rat(edit=edit))


def test_a_size_beyond_all_numbers_is_refused_in_a_sentence(oblique):
    """NIfTI-2 has voxel sizes in double precision: their ratio overflows."""
    image = nib.Nifti2Image(np.ones((9, 9, 3), 'f4'), oblique)
    image.set_sform(oblique, 1)
    image.header['pixdim'][2] = 1e308
    with pytest.raises(InputError, match='by its pixdim: correct its header'):
        check_geometry(image)


@pytest.mark.parametrize('n_volumes', [1, 2])
def test_a_series_is_measured_by_its_first_volume(rat, n_volumes):
    image = rat(10)
    shown = np.asarray(image.dataobj)
    series = np.stack([shown, *[np.zeros_like(shown)] * (n_volumes - 1)], -1)
    assert check_geometry(image, voxels=series).scale == 10


@pytest.mark.parametrize('kind', [nib.MGHImage, nib.Spm99AnalyzeImage])
def test_what_has_the_position_of_another_format_is_in_millimetres(rng, oblique, kind):
    voxels = rng.random((3, 4, 5), dtype=np.float32)
    out = with_position(voxels, kind(voxels, oblique))
    assert out.header.get_xyzt_units()[0] == 'mm'
    np.testing.assert_allclose(out.affine, oblique)


def test_a_left_handed_quaternion_stays_left_handed_beside_another_sform(rng):
    voxels = rng.random((3, 4, 5), dtype=np.float32)
    image = nib.Nifti1Image(voxels, np.diag([0.3, 0.4, 0.5, 1]))
    left = np.diag([-0.3, 0.4, 0.5, 1])
    image.set_qform(left, 1)
    image.set_sform(np.diag([0.3, 0.4, 0.5, 1]), 1)
    out = with_position(voxels, image)
    assert out.header['pixdim'][0] == image.header['pixdim'][0] == -1
    np.testing.assert_allclose(out.get_qform(), left, atol=1e-6)


@pytest.mark.parametrize(('degrees', 'told'), [(15, False), (25, True)])
def test_forms_that_differ_by_more_than_twenty_degrees_are_reported(rat, degrees, told):
    def turn(image):
        angle = np.radians(degrees)
        about = np.eye(4)
        about[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        image.set_qform(about @ image.affine, 1)

    notes = ' '.join(check_geometry(rat(edit=turn)).notes)
    assert ('qform' in notes) == told
