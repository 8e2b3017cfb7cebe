"""Reading NIfTI files, and refusing those that cannot be used."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import spatialimages
from numpy.typing import NDArray

from secondglance.imaging.errors import InputError
from secondglance.imaging.scan_values import check_scan_values

MOST_VOXELS = 2**30
"""Of an image, all volumes together: 4 GiB as float32. Larger ones are refused unread."""

_MOST_BYTES = 2**32
"""Of an image's voxels in its file, unpacked."""

_CHUNK = 1 << 20
"""Bytes that are read, or taken out of a gzip file, at a time."""

_LONGEST_EXTENSIONS = 1 << 26
"""Bytes between the header of a NIfTI file and its voxels, or after these."""

_POINTER_BYTES = 4096
"""A file that stands for another that is not here is no longer."""

_OTHER_FORMATS = (
    (0, b'\x00\x00\x00\x01\x00\x00', 'an MGH file', 'convert it with mri_convert'),
    (128, b'DICM', 'a DICOM file', 'convert the series with dcm2niix'),
    (0, b'NRRD', 'an NRRD file', 'convert it to NIfTI'),
    (0, b'\x89HDF', 'an HDF5 or MINC file', 'convert it to NIfTI'),
    (0, b'CDF', 'a MINC file', 'convert it with mnc2nii'),
    (0, b'\x1f\x8b', 'compressed twice', 'unpack it once with gunzip'),
    (0, b'BZh', 'compressed with bzip2', 'unpack it with bunzip2'),
    (0, b'\xfd7zXZ', 'compressed with xz', 'unpack it with unxz'),
    (0, b'\x28\xb5\x2f\xfd', 'compressed with zstd', 'unpack it with unzstd'),
    (0, b'PK\x03\x04', 'a zip archive', 'unpack it'),
)
"""Place in the file, bytes there, what the file is, and what to do."""

_SMALLEST_VALUE, _LARGEST_VALUE = 1e-20, 1e20
"""Of the largest value of an image; squares of others are none in single precision."""

_VECTOR_INTENTS = (1004, 1005, 1006, 1007, 1008)
"""Matrices, displacements, vectors and points, by the NIfTI standard."""


def read_volume(
    path: str | Path, *, mask: bool = False
) -> tuple[nib.Nifti1Pair, NDArray[np.float32]]:
    """Read an image whole, refusing what cannot be segmented.

    What a file claims is compared with what it holds before memory is taken, and a gzip file is
    read to its end, so that its checksum is compared. The name's ending does not matter. Complex
    values become their magnitude; dimensions beyond the third are volumes, in the order of the
    file. :func:`reading_notes` says what was done.

    Parameters
    ----------
    path : path
    mask : bool
        Whether it is a mask or labels, which may hold one value above 0 throughout.

    Returns
    -------
    image : nibabel image
        NIfTI; its header tells where the voxels lie.
    voxels : (X, Y, Z) or (X, Y, Z, T) float32 array

    Raises
    ------
    InputError
        If it is missing, unreadable, truncated or damaged, of another format, larger than
        `MOST_VOXELS`, has a size other than 3-D to 5-D, voxels of no size, colours, NaN or
        infinite values, nothing but one value, none above 0, or values too large to compute with.
    """
    path = Path(path)
    check_there(path)
    try:
        with _quiet():
            image = _open(path)
            voxels = np.asanyarray(image.dataobj)
            if voxels.dtype.kind == 'c':
                voxels = np.abs(voxels)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f'{path} does not fit into memory: give fewer volumes.') from error
    except Exception as error:  # nibabel, zlib and numpy each have their own
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f'{path} cannot be read as NIfTI ({reason}): repair or copy it.'
        ) from error
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == 5 and int(image.header['intent_code']) not in _VECTOR_INTENTS:
        voxels = voxels.reshape(*voxels.shape[:3], -1, order='F')
    if voxels.ndim not in (3, 4) or 0 in voxels.shape:
        raise InputError(
            f'{path} has shape {image.shape}: give one volume (3-D) or a series of them (4-D, '
            'one volume after another along the fourth axis).'
        )
    _check_values(path, voxels, mask)
    return image, voxels.astype(np.float32, copy=False)


def _check_values(path: Path, voxels: NDArray, mask: bool) -> None:
    """Refuse voxels of which no brain can be made, in the precision of the file."""
    finite = np.isfinite(voxels)
    if not finite.all():
        raise InputError(
            f'{path} has {finite.size - int(finite.sum())} voxels that are NaN or infinite: set '
            'them to 0 first.'
        )
    low, high = float(voxels.min()), float(voxels.max())
    if low == high and not (mask and high > 0):
        raise InputError(f'{path} holds nothing but the value {high:g}: is it the right image?')
    if high <= 0:
        raise InputError(
            f'{path} has no value above 0 (they are {low:g} to {high:g}): is it an image of '
            'intensities?'
        )
    largest = max(-low, high)
    if not _SMALLEST_VALUE < largest < _LARGEST_VALUE:
        raise InputError(
            f'{path} has values of up to {largest:g}, with which nothing can be computed: is its '
            'scaling (scl_slope) right?'
        )


def reading_notes(image: nib.Nifti1Pair) -> list[str]:
    """Say what :func:`read_volume` did to the values of an image, a sentence each."""
    notes = []
    if image.extra.get('vox_offset'):
        notes.append(
            'The header says that its voxels begin within it (vox_offset): they were read from '
            'its end on.'
        )
    if image.get_data_dtype().kind == 'c':
        notes.append('The image holds complex values: their magnitude was used.')
    if len(image.shape) > 4 and any(n > 1 for n in image.shape[4:]):
        shape = ' × '.join(map(str, image.shape[3:]))
        notes.append(f'The image has {shape} volumes: they were taken in the order of the file.')
    return notes


def check_values(path: str | Path, volume: NDArray) -> list[str]:
    """Refuse a file of a mask or labels that is given as a scan.

    Parameters
    ----------
    path : path
    volume : (X, Y, Z) array

    Returns
    -------
    list of str
        As of :func:`secondglance.imaging.scan_values.check_scan_values`.

    Raises
    ------
    InputError
        With the name of the file.
    """
    try:
        return check_scan_values(volume)
    except InputError as error:
        raise InputError(f'{path} {error}') from error


def check_donor(image: Path, mask: Path) -> None:
    """Check a donor's image and mask.

    Parameters
    ----------
    image, mask : Path

    Raises
    ------
    InputError
        For every fault of :func:`read_volume`, or if the two lie on different grids or are not
        one volume each.
    """
    (head, head_voxels), (brain, _) = read_volume(image), read_volume(mask)
    if head_voxels.ndim != 3:
        raise InputError(f'Donor {image} has {head_voxels.shape[3]} volumes: give their mean.')
    check_values(image, head_voxels)
    if head.shape != brain.shape or not np.allclose(head.affine, brain.affine, atol=1e-2):
        raise InputError(f'Donor {image} and its mask {mask} lie on different grids: resample it.')


def check_there(path: Path) -> None:
    """Refuse what is not a file, or only stands for one that is not here.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If it is missing, a folder, empty, a link to nothing, or a pointer of git-annex or Git LFS.
    """
    get = 'get it with git annex get (or datalad get)'
    try:
        if path.is_symlink() and not path.exists():
            target = os.readlink(path)
            what = get if 'annex' in target else 'get that file, or correct the link'
            raise InputError(f'{path} is a link to {target}, which is not here: {what}.')
        if path.is_dir():
            raise InputError(f'{path} is a folder: give the file in it.')
        if not path.is_file():
            raise InputError(f'{path} is not there: check the name.')
        size = path.stat().st_size
        with path.open('rb') as stream:
            start = stream.read(_POINTER_BYTES) if size <= _POINTER_BYTES else b''
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}).') from error
    if not size:
        raise InputError(f'{path} is empty: copy it again.')
    if re.search(rb'[/\\]annex[/\\]objects[/\\]', start[:512]):
        raise InputError(f'{path} only names its content, which is not here: {get}.')
    if start.startswith(b'version https://git-lfs'):
        raise InputError(
            f'{path} only names its content, which is not here: get it with git lfs pull.'
        )


def _open(path: Path) -> nib.Nifti1Pair:
    """Open a NIfTI file of any name; its bytes are in memory then, checked for their number."""
    voxels = path.with_name(re.sub(r'\.hdr(\.gz)?$', r'.img\1', path.name))
    if re.search(r'\.img(\.gz)?$', path.name):
        path = path.with_name(re.sub(r'\.img(\.gz)?$', r'.hdr\1', path.name))
        check_there(path)
    source = _Source(path)
    start = source.read(544)
    for place, magic, what, remedy in _OTHER_FORMATS:
        if start[place:].startswith(magic):
            raise InputError(f'{path} is {what}, not NIfTI: {remedy}.')
    kind, single = _kind(path, start)
    raw = start[: kind.header_class.template_dtype.itemsize]
    header = kind.header_class(raw, check=False)
    offset, n_bytes = _sizes(path, header, single)
    if not single:
        return _open_pair(path, voxels, kind, raw, offset, n_bytes)
    moved = False
    if int(header['vox_offset']) < offset:
        # Programs that write headers by hand leave it 0, where the header itself lies
        header['vox_offset'] = offset
        raw = header.binaryblock
        moved = True
    content = bytearray(raw + start[len(raw) :])
    del start
    source.into(content, offset + n_bytes)
    image = _named(kind.from_stream(io.BytesIO(content)), path)
    image.extra['vox_offset'] = moved
    return image


def _open_pair(
    path: Path, voxels: Path, kind: type[nib.Nifti1Pair], raw: bytes, offset: int, n_bytes: int
) -> nib.Nifti1Pair:
    check_there(voxels)
    content = bytearray()
    _Source(voxels).into(content, offset + n_bytes)
    files = kind.make_file_map()
    files['header'].fileobj, files['image'].fileobj = io.BytesIO(raw), io.BytesIO(content)
    return _named(kind.from_file_map(files), path)


def _named(image: nib.Nifti1Pair, path: Path) -> nib.Nifti1Pair:
    image.file_map['image'].filename = str(path)
    return image


def _kind(path: Path, start: bytes) -> tuple[Any, bool]:
    """Tell NIfTI-1 from NIfTI-2, and one file from a pair, by the magic bytes."""
    for kind, place, magic in (
        (nib.Nifti1Image, 344, b'n+1\x00'),
        (nib.Nifti1Pair, 344, b'ni1\x00'),
        (nib.Nifti2Image, 4, b'n+2\x00'),
        (nib.Nifti2Pair, 4, b'ni2\x00'),
    ):
        if start[place : place + 4] == magic:
            if len(start) < kind.header_class.template_dtype.itemsize:
                break
            return kind, magic[1:2] == b'+'
    # A header begins with its own length
    lengths = {int.from_bytes(start[:4], order) for order in ('little', 'big')} & {348, 540}
    if not start or any(len(start) < length for length in lengths):
        raise InputError(f'{path} ends within its header: copy it again.')
    if 348 in lengths:
        raise InputError(
            f'{path} is an Analyze file, which does not say where left and right are: convert it '
            'to NIfTI.'
        )
    raise InputError(f'{path} is not a NIfTI file: convert it to one.')


def _sizes(path: Path, header: nib.Nifti1Header, single: bool) -> tuple[int, int]:
    """Where voxels begin, and how many bytes they are; refuse what no image is like."""
    n_dims = int(header['dim'][0])
    shape = [int(n) for n in header['dim'][1 : n_dims + 1]] if 1 <= n_dims <= 7 else []
    if not shape or min(shape) < 1:
        raise InputError(f'{path} has a shape of {shape or "no"} voxels: correct its header.')
    sizes = np.asarray(header['pixdim'][1:4], np.float64)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        told = ' × '.join(f'{size:g}' for size in sizes)
        raise InputError(f'{path} has voxel sizes of {told} mm: correct its header.')
    if not header['sform_code'] and header['qform_code']:
        try:
            header.get_qform()
        except (ValueError, spatialimages.HeaderDataError) as error:
            b, c, d = (float(header[f'quatern_{letter}']) for letter in 'bcd')
            raise InputError(
                f'{path} has a qform with a quaternion of {b:g}, {c:g}, {d:g}, which is no '
                'rotation: correct its header.'
            ) from error
    try:
        kind = header.get_data_dtype()
    except (spatialimages.HeaderDataError, KeyError) as error:
        code = int(header['datatype'])
        raise InputError(
            f'{path} has voxels of a type that NIfTI does not have (code {code}): correct its '
            'header.'
        ) from error
    if kind.names:
        raise InputError(f'{path} is an RGB image, with colours: give one of intensities.')
    if kind.itemsize > 16:
        kind_name = kind.name
        raise InputError(f'{path} has voxels of type {kind_name}: convert it to float32.')
    if not kind.itemsize or kind.kind not in 'iufc':
        code = int(header['datatype'])
        raise InputError(
            f'{path} has voxels of a type that cannot be read (code {code}): convert it to '
            'float32.'
        )
    count = 1
    for n in shape:
        count *= n
    if count > MOST_VOXELS or count * kind.itemsize > _MOST_BYTES:
        raise InputError(
            f'{path} has a shape of {" × ".join(map(str, shape))}, more than is read at a time '
            f'({MOST_VOXELS} voxels, {_MOST_BYTES} bytes): give fewer volumes, or crop it.'
        )
    slope, intercept = float(header['scl_slope']), float(header['scl_inter'])
    if slope and np.isfinite(slope) and not np.isfinite(intercept):
        raise InputError(
            f'{path} has a scaling (scl_slope, scl_inter) of {slope:g} and {intercept:g}: correct '
            'its header.'
        )
    begin = float(header['vox_offset'])
    first = header.single_vox_offset if single else 0
    if not np.isfinite(begin) or begin > first + _LONGEST_EXTENSIONS or begin < 0:
        raise InputError(f'{path} has a vox_offset of {begin:g}: correct its header.')
    return max(int(begin), first), count * kind.itemsize


class _Source:
    """Bytes of a file, unpacked where they are gzip, never more in memory than are asked for."""

    def __init__(self, path: Path):
        self._path = path
        with path.open('rb') as stream:
            packed = stream.read(2) == b'\x1f\x8b'
        self._chunks = self._unpacked() if packed else self._plain()
        self._packed = packed
        self._rest = b''

    def read(self, n: int) -> bytes:
        """Give the first bytes; :meth:`into` goes on after them."""
        taken = bytearray()
        for chunk in self._chunks:
            taken += chunk
            if len(taken) >= n:
                break
        self._rest = bytes(taken[n:])
        return bytes(taken[:n])

    def into(self, content: bytearray, n: int) -> None:
        """Append until `content` has `n` bytes; a gzip file is read on to its end."""
        if not self._packed and self._path.stat().st_size < n:
            self._short(self._path.stat().st_size, n)
        beyond = 0
        for chunk in itertools.chain([self._rest], self._chunks):
            taken = max(0, min(len(chunk), n - len(content)))
            content += chunk[:taken]
            beyond += len(chunk) - taken
            if beyond and not self._packed:
                break
            if beyond > _LONGEST_EXTENSIONS:
                raise InputError(
                    f'{self._path} unpacks to far more bytes than the {n} that its header claims: '
                    'correct its header.'
                )
        if len(content) < n:
            self._short(len(content), n)

    def _short(self, found: int, n: int) -> None:
        raise InputError(
            f'{self._path} holds {found} bytes where its header claims {n}: it is truncated, or '
            'its header is wrong; copy it again.'
        )

    def _plain(self) -> Iterator[bytes]:
        with self._path.open('rb') as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def _unpacked(self) -> Iterator[bytes]:
        """Unpack all members of a gzip file; zlib compares each with its checksum and length."""
        damaged = f'{self._path} is damaged: {{}}; copy it again.'
        with self._path.open('rb') as stream:
            member = zlib.decompressobj(wbits=31)
            packed = stream.read(_CHUNK)
            while True:
                try:
                    out = member.decompress(packed, _CHUNK)
                except zlib.error as error:
                    told = ('incorrect data check', 'incorrect length check')
                    what = 'its gzip stream is broken'
                    if any(text in str(error) for text in told):
                        what = 'the checksum (CRC) of the gzip file does not match its content'
                    raise InputError(damaged.format(what)) from error
                if out:
                    yield out
                if member.eof:
                    packed = (member.unused_data or stream.read(_CHUNK)).lstrip(b'\x00')
                    while not packed and (packed := stream.read(_CHUNK)):
                        packed = packed.lstrip(b'\x00')
                    if not packed:
                        return
                    if not packed.startswith(b'\x1f'):
                        raise InputError(damaged.format('something follows the gzip stream'))
                    member = zlib.decompressobj(wbits=31)
                    continue
                packed = member.unconsumed_tail or stream.read(_CHUNK)
                if not packed and not out:
                    raise InputError(damaged.format('its gzip stream is truncated'))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries have to say of a file off the screen: refusals say it in a sentence."""
    logger = logging.getLogger('nibabel.global')
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), np.errstate(all='ignore'):
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
