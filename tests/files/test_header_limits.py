"""Limits of what is made of a header's lengths and forms (`files.nifti_header`), each met."""

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.nifti_header import (
    affine_of,
    check_geometry,
    grid_of,
    mark_scale,
    scale_of,
    species_of_mask,
    with_position,
)
from secondglance.imaging.errors import InputError
from secondglance.imaging.pose import Pose

SIZES = np.array([0.25, 0.3, 0.9])
AFFINE = np.diag([*SIZES, 1.0])


def _head():
    """An ellipse of 18 mm in every slice of 25 × 24 × 4.5 mm."""
    i, j, k = np.indices((100, 80, 5))
    inside = np.hypot((i - 50) * 0.25, (j - 40) * 0.3) < 9
    return (inside * 900 + (7 * i + 3 * j + k) % 50).astype(np.float32)


HEAD = _head()


def image_of(affine=AFFINE, sform=1, qform=0, kind=nib.Nifti1Image, **fields):
    """A head with an affine, the codes of both forms, and fields of its header."""
    image = kind(HEAD, affine)
    image.header['sform_code'], image.header['qform_code'] = sform, qform
    for name, value in fields.items():
        image.header[name] = value
    return image


def turned(degrees, axes=(0, 1)):
    """A rotation in the plane of two axes."""
    matrix, angle = np.eye(4), np.radians(degrees)
    (i, j), (c, s) = axes, (np.cos(angle), np.sin(angle))
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('power', [1, 10, 0.1])
@pytest.mark.parametrize(
    ('share', 'same'), [(1.019, True), (0.981, True), (1.021, False), (0.979, False)]
)
def test_lengths_are_the_same_to_two_hundredths(axis, power, share, same):
    pixdim = np.array([1, *SIZES * power, 1, 1, 1, 1])
    pixdim[1 + axis] *= share
    image = image_of(pixdim=pixdim)
    if same:
        geometry = check_geometry(image)
        assert [' by its pixdim' in note for note in geometry.notes] == [True] * (power != 1)
        np.testing.assert_array_equal(geometry.affine, AFFINE)
    else:
        with pytest.raises(InputError, match='by its pixdim: correct its header'):
            check_geometry(image)


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize(
    ('size', 'fits'), [(1e-9, False), (1.1e-9, True), (0.9e9, True), (1e9, False)]
)
def test_voxels_of_no_size_span_no_volume(axis, size, fits):
    affine = np.eye(4)
    affine[axis, axis] = size
    image = image_of(affine)
    if fits:
        assert check_geometry(image, voxel_scale=1).affine[axis, axis] == size
    else:
        with pytest.raises(InputError, match='with axes that do not span a volume'):
            check_geometry(image, voxel_scale=1)


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize(('away', 'fits'), [(9e6, True), (-9e6, True), (9.001e6, False)])
def test_an_image_lies_ten_million_of_its_longest_voxels_away_at_most(axis, away, fits):
    affine = AFFINE.copy()
    affine[axis, 3] = away
    if fits:
        assert check_geometry(image_of(affine), voxel_scale=1).affine[axis, 3] == away
    else:
        with pytest.raises(InputError, match=r'lies 9\.001e\+06 mm from the origin'):
            check_geometry(image_of(affine), voxel_scale=1)


@pytest.mark.parametrize('axes', [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize(
    ('degrees', 'told'), [(87.1, 0), (92.9, 0), (86.6, 87), (93.4, 87), (31, 31), (149, 31)]
)
def test_axes_are_told_apart_by_their_angle(axes, degrees, told):
    i, j = axes
    affine = AFFINE.copy()
    affine[:3, j] = SIZES[j] * turned(degrees, axes)[:3, i]
    notes = check_geometry(image_of(affine), voxel_scale=1).notes
    says = f'The axes {"ijk"[i]} and {"ijk"[j]} of the image are {told}° apart by its header'
    assert [note.startswith(says) for note in notes] == [True] * bool(told)


@pytest.mark.parametrize('axes', [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize('degrees', [29, 151, 0])
def test_axes_that_are_less_than_thirty_degrees_apart_span_no_volume(axes, degrees):
    i, j = axes
    affine = AFFINE.copy()
    affine[:3, j] = SIZES[j] * turned(degrees, axes)[:3, i]
    with pytest.raises(InputError, match='with axes that do not span a volume'):
        check_geometry(image_of(affine), voxel_scale=1)


@pytest.mark.parametrize('sform', [0, 1, 2, 3, 4])
def test_forms_are_compared_where_both_say_something(sform):
    for qform in range(5):
        image = nib.Nifti1Image(HEAD, AFFINE)
        image.set_qform(turned(180) @ AFFINE, qform)
        image.set_sform(AFFINE, sform)
        notes = check_geometry(nib.Nifti1Image(HEAD, image.affine, image.header)).notes
        if sform and qform:
            says = ['The sform (RAS) and the qform (LPS) of the header differ by 180°']
        else:
            says = [] if sform or qform else ['The header does not say how the head lies']
        assert [note[: len(text)] for note, text in zip(notes, says, strict=True)] == says


@pytest.mark.parametrize('axes', [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize(('degrees', 'told'), [(19.9, False), (20.2, True), (-20.2, True)])
def test_forms_differ_from_twenty_degrees_on_about_any_axis(axes, degrees, told):
    image = nib.Nifti1Image(HEAD, AFFINE)
    image.set_qform(turned(degrees, axes) @ AFFINE, 1)
    image.set_sform(AFFINE, 1)
    notes = check_geometry(image).notes
    assert ['of the header differ by 20°' in note for note in notes] == [True] * told


def test_a_qform_that_is_no_rotation_says_nothing_beside_an_sform():
    assert check_geometry(image_of(qform=1, quatern_b=1, quatern_c=1)).notes == ()


@pytest.mark.parametrize('kind', [nib.MGHImage, nib.Spm99AnalyzeImage])
def test_of_other_formats_the_affine_counts_in_millimetres(kind):
    geometry = check_geometry(kind(HEAD, AFFINE))
    np.testing.assert_allclose(geometry.affine, AFFINE)
    assert (geometry.scale, geometry.notes) == (1, ())
    tenfold = kind(HEAD, np.diag([*SIZES * 10, 1]))
    assert scale_of(tenfold) == 10
    np.testing.assert_allclose(affine_of(tenfold), AFFINE, rtol=1e-6)


@pytest.mark.parametrize(
    ('scale', 'text'),
    [
        (1, 'secondglance: mm = lengths / 1'),
        (10.0, 'secondglance: mm = lengths / 10'),
        (0.001, 'secondglance: mm = lengths / 0.001'),
        (1 / 3, 'secondglance: mm = lengths / 0.333333333333'),
        (1e-15, 'secondglance: mm = lengths / 1e-15'),
        (1e20, 'secondglance: mm = lengths / 1e+20'),
    ],
)
def test_a_scale_is_noted_in_the_header_and_read_again(scale, text):
    image = image_of(descrip=b'what was there before')
    mark_scale(image.header, scale)
    assert image.header['descrip'].item() == text.encode()
    assert scale_of(image) == pytest.approx(scale, rel=1e-11)
    affine = np.diag([*SIZES / scale, 1])
    np.testing.assert_allclose(affine_of(image), affine, rtol=1e-11)


@pytest.mark.parametrize('text', [b'made by secondglance: mm = lengths / 7', b'', b'\xe9 7'])
def test_a_scale_that_is_not_noted_is_estimated(text):
    assert scale_of(image_of(np.diag([*SIZES * 10, 1]), descrip=text)) == 10
    assert scale_of(image_of(descrip=text)) == 1
    # As wide as nothing is: as the header has it
    assert scale_of(image_of(np.diag([*SIZES * 1e4, 1]), descrip=text)) == 1


@pytest.mark.parametrize('kind', [nib.Nifti1Image, nib.Nifti2Image])
def test_each_field_of_the_position_is_taken_over_and_no_other(kind):
    fields = {
        'qform_code': 3,
        'sform_code': 4,
        **dict(zip(('quatern_b', 'quatern_c', 'quatern_d'), (0.25, 0.5, 0.125), strict=True)),
        **dict(zip(('qoffset_x', 'qoffset_y', 'qoffset_z'), (7, 8, 9), strict=True)),
        'srow_x': [0.25, 0, 0, 1],
        'srow_y': [0, 0.5, 0, 2],
        'srow_z': [0, 0, 1, 3],
        'xyzt_units': 3 + 16,
        'dim_info': 57,
    }
    others = {'descrip': b'mine', 'cal_max': 5, 'intent_code': 3, 'slice_duration': 2}
    image = image_of(kind=kind, **fields, **others, pixdim=[-1, 2, 3, 4, 5, 6, 7, 8])
    header = with_position(np.zeros((2, 3, 4)), image).header
    assert type(header) is nib.Nifti1Header
    for name, value in fields.items():
        np.testing.assert_array_equal(header[name], value)
    assert header['pixdim'].tolist() == [-1, 2, 3, 4, 1, 1, 1, 1]
    plain = nib.Nifti1Header()
    assert all(header[name] == plain[name] for name in others)
    assert not header['descrip'].item()
    marked = with_position(np.zeros((2, 3, 4)), image, 2.5)
    assert scale_of(marked) == 2.5


@pytest.mark.parametrize(
    ('scale', 'note'),
    [(1, None), (0.1, 'multiplied by 0.1 (asked).'), (25.4, 'multiplied by 25.4 (asked).')],
)
def test_a_scale_that_is_asked_for_multiplies_the_lengths(scale, note):
    # Whatever pixdim, units and head say
    image = image_of(pixdim=np.ones(8), xyzt_units=3)
    geometry = check_geometry(image, HEAD * 0, scale)
    np.testing.assert_allclose(geometry.affine, np.diag([*SIZES * scale, 1]))
    assert geometry.scale == pytest.approx(1 / scale)
    assert [told.endswith(note) for told in geometry.notes] == [True] * (note is not None)


def test_the_voxels_that_are_given_are_measured_and_not_those_of_the_file():
    image = image_of(np.diag([*SIZES * 10, 1]))
    assert check_geometry(image).scale == 10
    # A bright spot of 2.5 mm by the affine, in a field of 250 mm
    spot = np.zeros_like(HEAD)
    spot[50, 40, 2] = 1
    with pytest.raises(InputError, match='--voxel-scale'):
        check_geometry(image_of(), spot)
    series = np.stack([HEAD, spot], -1)
    assert check_geometry(image, series).scale == 10
    # Also of a series of series
    five = nib.Nifti1Image(series[..., None, :], image.affine)
    assert scale_of(five) == check_geometry(five).scale == 10


def test_an_image_without_a_name_is_called_the_image():
    with pytest.raises(InputError, match='The image has an affine'):
        check_geometry(image_of(np.diag([0.2, 1e-9, 0.2, 1])))


def test_grid_and_species_are_those_of_the_animals_millimetres(save):
    """A brain of 12 × 12 mm in its largest section is a rat's, of 8 × 8 mm a mouse's."""
    pose = Pose('rat', 0.5, slice_axis='k')
    path = save(HEAD, np.diag([*SIZES * 10, 1]), 'head.nii')
    expected = pose.grid(HEAD.shape, AFFINE)
    found = grid_of(path, pose)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    assert found.stack_shape == expected.stack_shape
    # A grid is of three axes, whatever the file has
    series = grid_of(save(np.stack([HEAD] * 2, -1), AFFINE, 'series.nii'), pose)
    assert series.shape == found.shape == HEAD.shape
    for side, species in ((12, 'rat'), (8, 'mouse')):
        mask = np.zeros((80, 80, 5), np.uint8)
        n = round(side / 0.25)
        mask[10 : 10 + n, 10 : 10 + n, 1:4] = 1
        for scale in (1, 10):
            affine = np.diag([0.25 * scale, 0.25 * scale, scale, 1])
            assert species_of_mask(save(mask, affine, f'{side}.nii')) == species
