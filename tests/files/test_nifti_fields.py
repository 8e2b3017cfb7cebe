"""Each field of a NIfTI header that is read, at its limits, in both byte orders."""

import gzip
import itertools
import re
import struct

import nibabel as nib
import numpy as np
import pytest

from secondglance.files import nifti
from secondglance.files.nifti import check_donor, read_volume, reading_notes
from secondglance.imaging.errors import InputError

SHAPE = (5, 4, 3)
VOXELS = np.arange(1, 61).reshape(SHAPE, order='F')
AFFINE = np.array([[0, -0.3, 0, 4], [0.2, 0, 0, -5], [0, 0, 0.9, 6.5], [0, 0, 0, 1]])

EXTENSIONS = 1 << 26
"""Bytes of extensions before the voxels, at most."""


def content_of(voxels=VOXELS, order='<', kind='i2', image=nib.Nifti1Image, **fields):
    """Bytes of an image; fields of the header are set as they are given."""
    header = image.header_class(endianness=order)
    header.set_data_shape(np.shape(voxels))
    header.set_data_dtype(np.dtype(kind))
    header['pixdim'][1:4] = 0.2, 0.3, 0.9
    header['srow_x'], header['srow_y'], header['srow_z'] = AFFINE[:3]
    header['sform_code'] = 1
    two = isinstance(header, nib.Nifti2Header)
    header['magic'] = b'n+2\x00\r\n\x1a\n' if two else b'n+1\x00'
    header['vox_offset'] = len(header.binaryblock) + 4
    for name, value in fields.items():
        header[name] = value
    data = np.asarray(voxels).astype(np.dtype(kind).newbyteorder(order))
    return header.binaryblock + bytes(4) + data.tobytes(order='F')


@pytest.fixture
def read(tmp_path):
    """Return a function that writes bytes and reads them as an image."""

    def _read(content, name='a.nii', **options):
        (tmp_path / name).write_bytes(content)
        return read_volume(tmp_path / name, **options)

    return _read


KINDS = ('u1', 'i1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f4', 'f8', 'c8', 'c16')


@pytest.mark.parametrize('kind', KINDS)
def test_every_type_is_read_in_both_byte_orders(read, kind):
    for image, order in itertools.product((nib.Nifti1Image, nib.Nifti2Image), '<>'):
        found, voxels = read(content_of(order=order, kind=kind, image=image))
        assert voxels.dtype == np.float32
        np.testing.assert_array_equal(voxels, VOXELS)
        np.testing.assert_allclose(found.affine, AFFINE, rtol=1e-6)
        assert len(reading_notes(found)) == (kind[0] == 'c')


def test_what_is_wider_than_sixteen_bytes_a_voxel_is_refused(read):
    with pytest.raises(InputError, match=r'of (a )?type .*: convert it to float32'):
        read(content_of(datatype=2048, bitpix=256))


@pytest.mark.parametrize('code', [128, 2304])
def test_colours_are_refused(read, code):
    with pytest.raises(InputError, match='is an RGB image, with colours'):
        read(content_of(datatype=code))


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize(
    ('slope', 'intercept', 'expected'),
    [
        (2, 3, 2 * VOXELS + 3),
        (-2, 300, 300 - 2 * VOXELS),
        (0.5, 0, 0.5 * VOXELS),
        # No scaling, by the standard: a slope of 0; programs also write NaN
        (0, 3, VOXELS),
        (np.nan, 3, VOXELS),
        (np.nan, np.nan, VOXELS),
        (0, np.nan, VOXELS),
    ],
)
def test_values_are_scaled_as_the_header_says(read, order, slope, intercept, expected):
    _, voxels = read(content_of(order=order, scl_slope=slope, scl_inter=intercept))
    np.testing.assert_allclose(voxels, expected)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_an_intercept_that_is_no_number_is_refused_where_it_counts(read, value):
    with pytest.raises(InputError, match=r'\(scl_slope, scl_inter\) of 2 and '):
        read(content_of(scl_slope=2, scl_inter=value))


@pytest.mark.parametrize(
    ('shape', 'found', 'note'),
    [
        ((5, 4, 3), (5, 4, 3), ''),
        ((5, 4, 3, 1), (5, 4, 3), ''),
        ((5, 4, 3, 1, 1, 1, 1), (5, 4, 3), ''),
        ((5, 4, 1, 3), (5, 4, 1, 3), ''),
        ((5, 4, 3, 2), (5, 4, 3, 2), ''),
        ((5, 4, 3, 2, 1), (5, 4, 3, 2), ''),
        ((5, 4, 3, 1, 2), (5, 4, 3, 2), '1 × 2'),
        ((5, 4, 3, 2, 2), (5, 4, 3, 4), '2 × 2'),
        ((5, 4, 1), (5, 4, 1), ''),
        ((1, 4, 3), (1, 4, 3), ''),
    ],
)
def test_axes_beyond_the_third_are_volumes_in_the_order_of_the_file(read, shape, found, note):
    numbers = np.arange(1, np.prod(shape) + 1).reshape(shape, order='F')
    image, voxels = read(content_of(numbers))
    np.testing.assert_array_equal(voxels, numbers.reshape(found, order='F'))
    notes = [f'The image has {note} volumes: they were taken in the order of the file.']
    assert reading_notes(image) == (notes if note else [])


@pytest.mark.parametrize('shape', [(5, 4), (60,), (5, 4, 3, 1, 2, 2), (5, 4, 3, 2, 1, 2)])
def test_images_of_other_axes_are_refused_by_their_shape(read, shape):
    with pytest.raises(InputError) as caught:
        read(content_of(np.ones(shape) + np.arange(shape[-1])))
    assert f' has shape {shape}: give one volume (3-D)' in str(caught.value)


def test_a_plane_in_a_header_of_two_axes_is_no_volume(read):
    with pytest.raises(InputError, match=r'has a shape of \[5, -4, 3\] voxels'):
        read(content_of(dim=[3, 5, -4, 3, 1, 1, 1, 1]))


@pytest.mark.parametrize('axis', [1, 2, 3])
@pytest.mark.parametrize('size', [0, -0.3, np.nan, np.inf])
def test_voxels_have_a_size_along_every_axis(read, axis, size):
    sizes = np.array([1, 0.2, 0.3, 0.9, 1, 1, 1, 1])
    sizes[axis] = size
    told = ' × '.join(f'{one:g}' for one in sizes[1:4])
    with pytest.raises(InputError, match=re.escape(f'has voxel sizes of {told} mm: correct')):
        read(content_of(pixdim=sizes))


def test_other_fields_of_pixdim_may_be_anything(read):
    sizes = [np.nan, 0.2, 0.3, 0.9, 0, -1, np.nan, np.inf]
    np.testing.assert_array_equal(read(content_of(pixdim=sizes))[1], VOXELS)


@pytest.mark.parametrize('sform', [0, 1, 2, 3, 4])
def test_a_quaternion_must_be_a_rotation_where_it_alone_says_the_place(read, sform):
    for qform in range(5):
        content = content_of(sform_code=sform, qform_code=qform, quatern_b=1, quatern_c=1)
        if qform and not sform:
            with pytest.raises(InputError, match='a quaternion of 1, 1, 0, which is no rotation'):
                read(content)
            continue
        header = nib.Nifti1Image.from_bytes(content).header
        affine = AFFINE if sform else header.get_base_affine()
        np.testing.assert_allclose(read(content)[0].affine, affine, rtol=1e-6)


@pytest.mark.parametrize('sform', [0, 1, 2, 3, 4])
def test_the_sform_counts_more_than_the_qform(read, sform):
    """A half turn about x, by hand: y and z point the other way."""
    place = dict(zip(('qoffset_x', 'qoffset_y', 'qoffset_z'), (7, 8, 9), strict=True))
    turned = np.array([[0.2, 0, 0, 7], [0, -0.3, 0, 8], [0, 0, -0.9, 9], [0, 0, 0, 1]])
    for qform in range(0 if sform else 1, 5):
        image, _ = read(content_of(sform_code=sform, qform_code=qform, quatern_b=1, **place))
        np.testing.assert_allclose(image.affine, AFFINE if sform else turned, atol=1e-6)


@pytest.mark.parametrize('image', [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('offset', [0, 100, 352, 360, 1000])
def test_voxels_begin_where_the_header_says_but_never_within_it(read, image, packed, offset):
    first = image.header_class.single_vox_offset
    if offset >= 352:
        offset += first - 352
    content = content_of(image=image, vox_offset=offset)
    end = len(content) - VOXELS.size * 2
    content = content[:end] + bytes(max(0, offset - first)) + content[end:]
    found, voxels = read(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(voxels, VOXELS)
    assert ['vox_offset' in note for note in reading_notes(found)] == [True] * (offset < first)


@pytest.mark.parametrize('value', [np.nan, np.inf, -1, -0.5, 352 + EXTENSIONS + 8])
def test_voxels_that_begin_nowhere_are_refused(read, value):
    with pytest.raises(InputError, match=r'has a vox_offset of .*: correct its header'):
        read(content_of(vox_offset=value))


def test_extensions_are_of_64_mebibytes_at_most(read):
    with pytest.raises(InputError, match=r'holds 472 bytes where its header claims 67109336'):
        read(content_of(vox_offset=352 + EXTENSIONS))


def test_of_a_pair_the_voxels_begin_at_their_own_start(read, tmp_path):
    content = content_of(magic=b'ni1\x00', vox_offset=16)
    for packed in ('', '.gz'):
        pack = gzip.compress if packed else bytes
        (tmp_path / f'b.img{packed}').write_bytes(pack(bytes(16) + content[352:]))
        for name in (f'b.hdr{packed}', f'b.img{packed}'):
            (tmp_path / f'b.hdr{packed}').write_bytes(pack(content[:348]))
            image, voxels = read_volume(tmp_path / name)
            np.testing.assert_array_equal(voxels, VOXELS)
            assert reading_notes(image) == []
            assert image.get_filename() == str(tmp_path / f'b.hdr{packed}')
    (tmp_path / 'b.hdr').write_bytes(content_of(magic=b'ni1\x00', vox_offset=EXTENSIONS + 8)[:348])
    with pytest.raises(InputError, match='has a vox_offset of'):
        read_volume(tmp_path / 'b.img')
    (tmp_path / 'b.hdr').write_bytes(content_of(magic=b'ni1\x00', vox_offset=EXTENSIONS)[:348])
    with pytest.raises(InputError, match=r'b\.img holds 136 bytes where .* claims 67108984'):
        read_volume(tmp_path / 'b.hdr')


@pytest.mark.parametrize(('image', 'magic'), [(nib.Nifti2Pair, b'ni2\x00\r\n\x1a\n')])
def test_a_pair_of_the_second_kind_is_read(tmp_path, image, magic):
    content = content_of(image=image, magic=magic, vox_offset=0)
    (tmp_path / 'b.hdr').write_bytes(content[:540])
    (tmp_path / 'b.img').write_bytes(content[544:])
    np.testing.assert_array_equal(read_volume(tmp_path / 'b.hdr')[1], VOXELS)


@pytest.mark.parametrize('cut', [1, 2, 60, 120])
@pytest.mark.parametrize('packed', [False, True])
def test_a_file_that_lacks_a_byte_is_refused_with_both_numbers(read, cut, packed):
    content = content_of()[:-cut]
    says = f'holds {472 - cut} bytes where its header claims 472: it is truncated'
    with pytest.raises(InputError, match=says):
        read(gzip.compress(content) if packed else content)


@pytest.mark.parametrize('packed', [False, True])
def test_bytes_after_the_voxels_do_not_matter(read, packed):
    content = content_of() + bytes(range(200))
    np.testing.assert_array_equal(read(gzip.compress(content) if packed else content)[1], VOXELS)


@pytest.mark.parametrize(
    ('start', 'says'),
    [
        (b'', 'is empty'),
        (struct.pack('<i', 348), 'ends within its header'),
        (struct.pack('>i', 348) + bytes(343), 'ends within its header'),
        (struct.pack('>i', 348) + bytes(344), 'is an Analyze file'),
        (struct.pack('<i', 348) + bytes(400), 'is an Analyze file'),
        (struct.pack('<i', 540) + bytes(535), 'ends within its header'),
        (struct.pack('<i', 540) + bytes(536), 'is not a NIfTI file'),
        (struct.pack('<i', 349) + bytes(10), 'is not a NIfTI file'),
    ],
)
def test_a_header_that_ends_is_told_from_one_of_another_kind(read, start, says):
    with pytest.raises(InputError, match=says):
        read(start)
    if start:
        with pytest.raises(InputError, match=says):
            read(gzip.compress(start))


@pytest.mark.parametrize('image', [nib.Nifti1Image, nib.Nifti2Image])
def test_a_header_without_its_last_byte_ends_within(read, image):
    content = content_of(image=image)
    size = len(content) - 4 - 2 * VOXELS.size
    with pytest.raises(InputError, match='ends within its header'):
        read(content[: size - 1])
    with pytest.raises(InputError, match=f'holds {size} bytes where'):
        read(content[:size])


def test_files_of_several_pieces_are_unpacked_to_their_end(read, rng):
    """Of more than two reads, in voxels that no packer makes smaller."""
    voxels = rng.integers(0, 255, (150, 140, 110)).astype('u1')
    content = content_of(voxels, kind='u1')
    packed = gzip.compress(content, compresslevel=1)
    assert len(packed) > 2.1 * (1 << 20)
    np.testing.assert_array_equal(read(content)[1], voxels)
    np.testing.assert_array_equal(read(packed + bytes(5 << 19))[1], voxels)
    with pytest.raises(InputError, match='something follows'):
        read(packed + bytes(5 << 19) + b'x')
    with pytest.raises(InputError, match='truncated'):
        read(packed[: 5 << 18])


def test_members_of_a_few_bytes_each_are_one_image(read):
    content = content_of()
    parts = [gzip.compress(content[k : k + 40]) for k in range(0, len(content), 40)]
    np.testing.assert_array_equal(read(b''.join(parts))[1], VOXELS)
    np.testing.assert_array_equal(read((b'\x00' * 3).join(parts))[1], VOXELS)


def test_what_repeats_after_the_longest_way_back_is_unpacked_in_every_member(read, rng):
    """A packer looks back up to 32,506 bytes: noise that comes again after as many."""
    noise = rng.integers(1, 255, (325, 100, 1))
    content = content_of(np.concatenate([noise] * 4, axis=2), kind='u1')
    whole = gzip.compress(content)
    assert len(whole) < 1.2 * noise.size
    np.testing.assert_array_equal(read(whole)[1][..., 3:], noise)
    half = len(content) // 2
    parts = gzip.compress(content[:half]) + gzip.compress(content[half:])
    np.testing.assert_array_equal(read(parts)[1][..., 3:], noise)


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        ([0, 1e20], r'up to 1e\+20, with which nothing'),
        ([0, 0.9e20], ''),
        ([-1e20, 1], r'up to 1e\+20, with which nothing'),
        ([-0.9e20, 1], ''),
        ([0, 1e-20], 'up to 1e-20, with which nothing'),
        ([0, 1.1e-20], ''),
        ([-1e-20, 0.5e-20], 'up to 1e-20'),
        ([-2, 0], r'no value above 0 \(they are -2 to 0\)'),
        ([-2, 1], ''),
        ([3, 3], 'nothing but the value 3'),
        ([0, 0], 'nothing but the value 0'),
        ([1, np.nan], 'has 30 voxels that are NaN or infinite'),
        ([1, -np.inf], 'has 30 voxels that are NaN or infinite'),
    ],
)
@pytest.mark.parametrize('mask', [False, True])
def test_values_of_which_no_brain_can_be_made_are_refused(read, values, says, mask):
    content = content_of(np.resize(values, SHAPE), kind='f8')
    if says and not (mask and values == [3, 3]):
        with pytest.raises(InputError, match=says):
            read(content, mask=mask)
    else:
        assert read(content, mask=mask)[1].max() == np.float32(max(values))


@pytest.mark.parametrize(
    ('error', 'says'),
    [
        (MemoryError(), 'does not fit into memory: give fewer volumes.'),
        (ValueError('a  long\nstory'), 'cannot be read as NIfTI (a long story): repair or copy'),
        (KeyError(), 'cannot be read as NIfTI (KeyError): repair or copy'),
        (ValueError('x' * 300), f'cannot be read as NIfTI ({"x" * 200}): repair or copy'),
    ],
)
def test_what_libraries_raise_is_told_in_a_sentence(read, monkeypatch, error, says):
    def fail(*_):
        raise error

    monkeypatch.setattr(nib.Nifti1Image, 'from_stream', fail)
    with pytest.raises(InputError) as caught:
        read(content_of())
    assert f'a.nii {says}' in str(caught.value)


@pytest.mark.parametrize(
    ('size', 'place', 'told'), [(4096, 497, True), (4097, 497, False), (4096, 498, False)]
)
def test_a_pointer_names_its_content_early_in_a_small_file(tmp_path, size, place, told):
    """Of at most 4096 bytes, with the name in the first 512."""
    content = (bytes(place) + b'/annex/objects/').ljust(size, b'\0')
    (tmp_path / 'a.nii').write_bytes(content)
    says = 'git annex get' if told else 'not a NIfTI file'
    with pytest.raises(InputError, match=says):
        read_volume(tmp_path / 'a.nii')


def test_a_link_to_an_image_is_that_image(tmp_path):
    (tmp_path / 'annex').write_bytes(content_of())
    (tmp_path / 'a.nii').symlink_to('annex')
    np.testing.assert_array_equal(read_volume(tmp_path / 'a.nii')[1], VOXELS)
    with pytest.raises(InputError, match=r'none\.nii is not there: check the name'):
        read_volume(tmp_path / 'none.nii')


def test_the_least_that_is_too_much_is_refused_unread(read, monkeypatch):
    for count, size, most in ((60, 'i2', {'MOST_VOXELS': 59}), (60, 'i2', {'MOST_VOXELS': 60})):
        for name, value in most.items():
            monkeypatch.setattr(nifti, name, value)
        if most['MOST_VOXELS'] < count:
            with pytest.raises(InputError, match='a shape of 5 × 4 × 3, more than is read'):
                read(content_of(kind=size))
        else:
            np.testing.assert_array_equal(read(content_of(kind=size))[1], VOXELS)


@pytest.mark.parametrize(('away', 'same'), [(0.009, True), (0.011, False)])
def test_grids_of_a_donor_are_the_same_to_a_hundredth_of_a_millimetre(save, rng, away, same):
    affine = np.diag([0.3, 0.3, 1, 1])
    head = save(rng.normal(100, 20, (12, 11, 8)).astype(np.float32), affine, 'head.nii')
    affine[1, 3] += away
    mask = np.zeros((12, 11, 8), np.uint8)
    mask[3:9, 3:9, 2:6] = 1
    brain = save(mask, affine, 'mask.nii')
    if same:
        check_donor(head, brain)
    else:
        with pytest.raises(InputError, match='lie on different grids: resample it'):
            check_donor(head, brain)
