"""Reading images: what is right is read, what is not is named with its cause."""

import contextlib
import gzip
import logging
import os
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.gradient_table import read_bvals
from secondglance.files.nifti import check_donor, read_volume, reading_notes
from secondglance.imaging.errors import InputError


@pytest.fixture
def head(rng, oblique):
    """Return an image of 12 × 11 × 5 voxels of int16."""
    voxels = rng.integers(1, 900, (12, 11, 5)).astype(np.int16)
    return nib.Nifti1Image(voxels, oblique)


def _voxels(image):
    return np.asarray(image.dataobj, np.float32)


def test_bytes_decide_what_a_file_is_and_not_its_name(head, tmp_path):
    packed, plain = tmp_path / 'packed.nii', tmp_path / 'plain.nii.gz'
    packed.write_bytes(gzip.compress(head.to_bytes()))
    plain.write_bytes(head.to_bytes())
    for path in (packed, plain):
        image, voxels = read_volume(path)
        np.testing.assert_array_equal(voxels, _voxels(head))
        np.testing.assert_allclose(image.affine, head.affine)


def test_joined_gzip_members_and_zeros_at_the_end_are_one_image(head, tmp_path):
    raw, path = head.to_bytes(), tmp_path / 'a.nii.gz'
    path.write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]) + bytes(700))
    np.testing.assert_array_equal(read_volume(path)[1], _voxels(head))


@pytest.mark.parametrize('level', [0, 9])
def test_no_flipped_bit_of_a_gzip_file_goes_unnoticed(head, tmp_path, level, rng):
    right, path = gzip.compress(head.to_bytes(), level, mtime=0), tmp_path / 'a.nii.gz'
    for _ in range(60):
        wrong = bytearray(right)
        # What comes before is the time, and the system that packed it
        wrong[rng.integers(10, len(right))] ^= 1 << int(rng.integers(8))
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=r'a\.nii\.gz.*(damaged|copy|correct|not a NIfTI)'):
            read_volume(path)


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda packed: packed[:-6], 'truncated'),
        (lambda packed: packed[: len(packed) // 2], 'truncated'),
        (lambda packed: packed + b'what follows', 'something follows'),
        (lambda packed: packed[:-8] + bytes(4) + packed[-4:], 'CRC'),
        (lambda packed: packed[:-4] + bytes(4), 'CRC'),
    ],
)
def test_damage_of_a_gzip_file_is_named(head, tmp_path, change, says):
    path = tmp_path / 'a.nii.gz'
    path.write_bytes(change(gzip.compress(head.to_bytes())))
    with pytest.raises(InputError, match=says):
        read_volume(path)


@pytest.mark.parametrize('packed', [False, True])
def test_memory_follows_what_a_file_holds_and_not_what_it_claims(head, tmp_path, packed):
    raw = bytearray(head.to_bytes())
    struct.pack_into('<4h', raw, 40, 3, 1000, 1000, 500)
    path = tmp_path / 'a.nii'
    path.write_bytes(gzip.compress(raw) if packed else raw)
    tracemalloc.start()
    with pytest.raises(InputError, match=r'holds .* bytes where its header claims'):
        read_volume(path)
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()


def test_more_than_can_be_read_is_refused_by_its_size(head, tmp_path):
    raw = bytearray(head.to_bytes())
    struct.pack_into('<4h', raw, 40, 3, 32767, 32767, 32767)
    (tmp_path / 'a.nii').write_bytes(raw)
    with pytest.raises(InputError, match='32767 × 32767 × 32767'):
        read_volume(tmp_path / 'a.nii')


def test_a_file_that_unpacks_without_end_is_refused(head, tmp_path):
    """Two mebibytes of zeros more than the extensions that there may be."""
    zeros = gzip.compress(bytes(1 << 20), compresslevel=1)
    (tmp_path / 'a.nii.gz').write_bytes(gzip.compress(head.to_bytes()) + 66 * zeros)
    with pytest.raises(InputError, match='far more bytes'):
        read_volume(tmp_path / 'a.nii.gz')


def test_voxels_begin_after_the_header_whatever_vox_offset_says(head, tmp_path):
    raw = bytearray(head.to_bytes())
    struct.pack_into('<f', raw, 108, 0)
    (tmp_path / 'a.nii').write_bytes(raw)
    image, voxels = read_volume(tmp_path / 'a.nii')
    np.testing.assert_array_equal(voxels, _voxels(head))
    assert 'vox_offset' in reading_notes(image)[0]


def test_complex_values_become_their_magnitude(head, tmp_path):
    voxels = _voxels(head)
    turned = voxels * np.exp(1j * np.arange(12))[:, None, None]
    path = tmp_path / 'a.nii'
    nib.save(nib.Nifti1Image(turned.astype(np.complex64), head.affine), path)
    image, found = read_volume(path)
    np.testing.assert_allclose(found, voxels, rtol=1e-5)
    assert 'magnitude' in reading_notes(image)[0]


def test_directions_and_repetitions_are_volumes_in_the_order_of_the_file(rng, tmp_path):
    series = rng.random((6, 5, 4, 6), dtype=np.float32)
    # In a file the first axis runs fastest
    image = nib.Nifti1Image(series.reshape(6, 5, 4, 3, 2, order='F'), np.eye(4))
    nib.save(image, tmp_path / 'a.nii')
    image, voxels = read_volume(tmp_path / 'a.nii')
    np.testing.assert_array_equal(voxels, series)
    assert ' has 3 × 2 volumes' in reading_notes(image)[0]
    # Axes of one volume are no more volumes
    nib.save(nib.Nifti1Image(series[..., None, None], np.eye(4)), tmp_path / 'a.nii')
    image, voxels = read_volume(tmp_path / 'a.nii')
    assert voxels.shape[:4] == series.shape
    assert reading_notes(image) == []


def test_a_pair_of_files_is_read_by_either_name(head, tmp_path):
    nib.save(nib.Nifti1Pair(head.dataobj, head.affine), tmp_path / 'a.hdr')
    for name in ('a.hdr', 'a.img'):
        np.testing.assert_array_equal(read_volume(tmp_path / name)[1], _voxels(head))
    (tmp_path / 'a.img').unlink()
    with pytest.raises(InputError, match=r'a\.img is not there'):
        read_volume(tmp_path / 'a.hdr')
    (tmp_path / 'a.hdr').rename(tmp_path / 'a.img')
    with pytest.raises(InputError, match=r'a\.hdr is not there'):
        read_volume(tmp_path / 'a.img')


def _rgb(voxels):
    kind = np.dtype([(c, 'u1') for c in 'RGB'])
    return nib.Nifti1Image(np.repeat(voxels.astype('u1'), 3, -1).view(kind), np.eye(4))


def _patched(image, offset, kind, *values):
    raw = bytearray(image.to_bytes())
    struct.pack_into('<' + kind, raw, offset, *values)
    return bytes(raw)


def _header(kind, shape):
    header = nib.Nifti1Header()
    header.set_data_dtype(kind)
    header.set_data_shape(shape)
    header['magic'] = b'n+1'
    header['vox_offset'] = 352
    return header.binaryblock + bytes(100)


OTHERS = {
    'rgb.nii': (lambda image: _rgb(np.asarray(image.dataobj)).to_bytes(), 'RGB'),
    'analyze.hdr': (
        lambda image: nib.AnalyzeImage(image.dataobj, image.affine).header.binaryblock,
        'Analyze',
    ),
    'a.mgz': (
        lambda image: gzip.compress(nib.MGHImage(_voxels(image), image.affine).to_bytes()),
        'MGH.*mri_convert',
    ),
    'a.dcm': (lambda _: bytes(128) + b'DICM' + bytes(300), 'DICOM.*dcm2niix'),
    'a.nrrd': (lambda _: b'NRRD0004\n' + bytes(500), 'NRRD'),
    'a.mnc': (lambda _: b'\x89HDF\r\n' + bytes(500), 'MINC'),
    'a.cdf': (lambda _: b'CDF\x01' + bytes(500), 'MINC.*mnc2nii'),
    'a.nii.bz2': (lambda _: b'BZh91AY' + bytes(500), 'bzip2'),
    'a.nii.xz': (lambda _: b'\xfd7zXZ\x00' + bytes(500), 'unxz'),
    'a.nii.zst': (lambda _: b'\x28\xb5\x2f\xfd' + bytes(500), 'unzstd'),
    'a.zip': (lambda _: b'PK\x03\x04' + bytes(500), 'zip archive'),
    'no-axes.nii': (lambda image: _patched(image, 40, 'h', 0), 'has a shape of no voxels'),
    'axes.nii': (lambda image: _patched(image, 40, 'h', 8), 'has a shape of no voxels'),
    'none.nii': (lambda image: _patched(image, 44, 'h', 0), 'has a shape of .* 0, .* voxels'),
    'voxels.nii': (lambda _: _header(np.uint8, (1024, 1024, 1025)), 'more than is read'),
    'bytes.nii': (lambda _: _header(np.float64, (1024, 1024, 513)), 'more than is read'),
    # As much as may be, if it were there
    'most-voxels.nii': (
        lambda _: _header(np.uint8, (1024, 1024, 1024)),
        'where its header claims',
    ),
    'most-bytes.nii': (
        lambda _: _header(np.float64, (1024, 1024, 512)),
        'where its header claims',
    ),
    'a.json': (lambda _: b'{"EchoTime": 0.02}', 'not a NIfTI file'),
    'two.nii': (
        lambda image: nib.Nifti2Image(_voxels(image), image.affine).to_bytes()[:400],
        'ends within its header',
    ),
    'text.nii': (lambda _: b'no image at all ' * 50, 'not a NIfTI file'),
    'type.nii': (
        lambda image: image.to_bytes()[:70] + b'\x00\x10' + image.to_bytes()[72:],
        r'type that NIfTI does not have \(code 4096\)',
    ),
    'bits.nii': (lambda image: _patched(image, 70, 'h', 1), r'cannot be read \(code 1\)'),
    'quaternion.nii': (
        lambda image: _patched(image, 252, '2h3f', 1, 0, 5, 0, 0),
        'quaternion of 5, 0, 0, which is no rotation',
    ),
    'intercept.nii': (
        lambda image: _patched(image, 112, '2f', 1, np.nan),
        r'scaling \(scl_slope, scl_inter\) of 1 and nan',
    ),
    'steep.nii': (lambda image: _patched(image, 112, '2f', 1e38, 0), 'values of up to .*e.4'),
    'flat.nii': (lambda image: _patched(image, 112, '2f', 1e-38, 0), 'scl_slope'),
    'negative.nii': (
        lambda image: nib.Nifti1Image(-_voxels(image).astype('i2') - 1, image.affine).to_bytes(),
        'no value above 0',
    ),
    'below.nii': (
        lambda image: nib.Nifti1Image(
            (_voxels(image).min() - _voxels(image)).astype('i2'), image.affine
        ).to_bytes(),
        r'no value above 0 \(they are -\d+ to 0\)',
    ),
    'short.nii': (lambda image: image.to_bytes()[:200], 'ends within its header'),
    'empty.nii.gz': (lambda _: b'', 'is empty'),
    'annex.nii.gz': (lambda _: b'/annex/objects/MD5E-s17--d41d.nii.gz\n', 'git annex get'),
    'windows.nii.gz': (
        lambda _: b'..\\..\\.git\\annex\\objects\\MD5E-s17--d41d.nii.gz',
        'git annex get',
    ),
    'lfs.nii.gz': (lambda _: b'version https://git-lfs.github.com/spec/v1\noid', 'git lfs pull'),
}


@pytest.mark.parametrize('name', OTHERS)
def test_what_is_no_nifti_image_is_named_with_its_remedy(head, tmp_path, name):
    content, says = OTHERS[name]
    (tmp_path / name).write_bytes(content(head))
    with pytest.raises(InputError, match=says) as error:
        read_volume(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_file_packed_twice_is_named(head, tmp_path):
    (tmp_path / 'a.nii.gz').write_bytes(gzip.compress(gzip.compress(head.to_bytes())))
    with pytest.raises(InputError, match='compressed twice'):
        read_volume(tmp_path / 'a.nii.gz')


def test_big_endian_files_are_read(head, tmp_path):
    swapped = head.header.as_byteswapped('>')
    content = swapped.binaryblock + bytes(4) + _voxels(head).astype('>i2').tobytes(order='F')
    raw = bytearray(content)
    struct.pack_into('>f', raw, 108, 0)
    (tmp_path / 'a.nii').write_bytes(raw)
    image, voxels = read_volume(tmp_path / 'a.nii')
    np.testing.assert_array_equal(voxels, _voxels(head))
    np.testing.assert_allclose(image.affine, head.affine, rtol=1e-5)


def test_b_values_that_are_not_here_are_named(tmp_path):
    (tmp_path / 'a.bval').write_text('/annex/objects/MD5E-s17--d41d.bval\n')
    os.symlink('.git/annex/objects/x/MD5E-s1--d.bval', tmp_path / 'b.bval')
    for name in ('a.bval', 'b.bval'):
        with pytest.raises(InputError, match=rf'{name}.*git annex get'):
            read_bvals(tmp_path / name)


def test_links_to_what_is_not_here_are_named(tmp_path):
    os.symlink('.git/annex/objects/x/MD5E-s1--d.nii.gz', tmp_path / 'a.nii.gz')
    os.symlink('elsewhere.nii', tmp_path / 'b.nii')
    with pytest.raises(InputError, match=r'link to \.git/annex.*git annex get'):
        read_volume(tmp_path / 'a.nii.gz')
    with pytest.raises(InputError, match=r'link to elsewhere\.nii, which is not here'):
        read_volume(tmp_path / 'b.nii')
    with pytest.raises(InputError, match='is a folder'):
        read_volume(tmp_path)


def test_libraries_say_nothing_on_the_screen(head, tmp_path, capfd, recwarn):
    raw = bytearray(head.to_bytes())
    struct.pack_into('<h', raw, 72, 7)  # bitpix that does not go with the type
    struct.pack_into('<h', raw, 252, 99)  # no such qform_code
    (tmp_path / 'a.nii').write_bytes(raw)
    with contextlib.suppress(InputError):
        read_volume(tmp_path / 'a.nii')
    assert capfd.readouterr() == ('', '')
    assert not recwarn.list


@pytest.mark.parametrize('n_dims', [0, 8, -1])
def test_an_image_has_one_to_seven_axes(head, tmp_path, n_dims):
    raw = bytearray(head.to_bytes())
    raw[40:42] = struct.pack('<h', n_dims)
    (tmp_path / 'a.nii').write_bytes(raw)
    with pytest.raises(InputError, match=r'a\.nii'):
        read_volume(tmp_path / 'a.nii')


@pytest.mark.parametrize('n_dims', [4, 5, 6, 7])
def test_further_axes_of_one_are_a_single_volume(head, tmp_path, n_dims):
    raw = bytearray(head.to_bytes())
    raw[40:42] = struct.pack('<h', n_dims)
    raw[48:56] = struct.pack('<4h', 1, 1, 1, 1)
    (tmp_path / 'a.nii').write_bytes(raw)
    image, voxels = read_volume(tmp_path / 'a.nii')
    np.testing.assert_array_equal(voxels, np.asarray(head.dataobj, np.float32))
    np.testing.assert_allclose(image.affine, head.affine, atol=1e-6)


@pytest.mark.parametrize(
    ('fault', 'says'),
    [
        ('labels', 'as a mask or labels do'),
        ('series', 'has 2 volumes: give their mean'),
        ('place', 'different grids'),
        ('shape', 'different grids'),
    ],
)
def test_a_donor_is_one_volume_of_a_scan_with_a_mask_on_its_grid(save, rng, fault, says):
    affine = np.diag([0.3, 0.3, 1, 1])
    voxels = rng.normal(100, 20, (12, 11, 8)).astype(np.float32)
    mask = np.zeros((12, 11, 8), np.uint8)
    mask[3:9, 3:9, 2:6] = 1
    brain = save(mask, affine, 'mask.nii.gz')
    check_donor(save(voxels, affine, 'head.nii.gz'), brain)
    if fault == 'labels':
        voxels = (voxels > 100).astype(np.float32)
    elif fault == 'series':
        voxels = np.stack([voxels, voxels], axis=-1)
    elif fault == 'place':
        affine[0, 3] = 0.1
    else:
        voxels = voxels[:, 1:]
    head = save(voxels, affine, 'other.nii.gz')
    with pytest.raises(InputError, match=says) as caught:
        check_donor(head, brain)
    assert str(head) in str(caught.value)


@pytest.mark.parametrize('intent', [1004, 1005, 1006, 1007, 1008])
def test_matrices_and_vectors_are_no_volumes(tmp_path, intent):
    """By the standard: general and symmetric matrices, displacements, vectors and points."""
    image = nib.Nifti1Image(np.ones((4, 5, 6, 2, 3), np.float32) + np.eye(3)[0], np.eye(4))
    image.header['intent_code'] = intent
    nib.save(image, tmp_path / 'a.nii')
    with pytest.raises(InputError, match='give one volume'):
        read_volume(tmp_path / 'a.nii')


def test_a_mask_of_ones_alone_is_a_mask_and_no_scan(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((8, 9, 5), np.uint8), np.eye(4)), tmp_path / 'a.nii')
    assert read_volume(tmp_path / 'a.nii', mask=True)[1].all()
    with pytest.raises(InputError, match='nothing but the value 1'):
        read_volume(tmp_path / 'a.nii')
    nib.save(nib.Nifti1Image(np.zeros((8, 9, 5), np.uint8), np.eye(4)), tmp_path / 'a.nii')
    with pytest.raises(InputError, match='nothing but the value 0'):
        read_volume(tmp_path / 'a.nii', mask=True)


@pytest.mark.parametrize('level', [logging.DEBUG, logging.ERROR])
def test_what_libraries_say_is_heard_again_after_a_file_was_read(head, tmp_path, level):
    """Whether it could be read or not; what is said of the file itself is not."""
    logger = logging.getLogger('nibabel.global')
    before = logger.level
    try:
        logger.setLevel(level)
        nib.save(head, tmp_path / 'a.nii')
        read_volume(tmp_path / 'a.nii')
        assert logger.level == level
        (tmp_path / 'a.nii').write_bytes(bytes(400))
        with pytest.raises(InputError):
            read_volume(tmp_path / 'a.nii')
        assert logger.level == level
    finally:
        logger.setLevel(before)
