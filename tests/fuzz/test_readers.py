"""Every reader meets files that are wrong in ways nobody thought of; only `InputError` comes out.

A short round runs with the other tests; ``python tests/fuzz/test_readers.py 100000`` runs a long
one and prints how many cases were refused, and how much memory was taken.
"""

import contextlib
import gzip
import json
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.bids import (
    find_scans,
    generated_by,
    is_derivative,
    parse_name,
    scan_of_file,
    subject_label,
)
from secondglance.files.bids_filters import read_filters
from secondglance.files.digests import is_intact
from secondglance.files.gradient_table import read_bvals, read_bvecs
from secondglance.files.labels import read_label_table
from secondglance.files.nifti import read_volume, reading_notes
from secondglance.files.nifti_header import check_geometry
from secondglance.files.regions import read_frame, read_region_names
from secondglance.imaging.diffusion import leave_out_empty, select_b0
from secondglance.imaging.errors import InputError
from secondglance.imaging.pose import Pose
from secondglance.models.weights import (
    FORMAT,
    load_weights,
    read_calibration,
    read_header,
    save_weights,
    weights_spacing,
)
from secondglance.pipelines.settings import read_arguments

SECONDS_A_CASE = 10
MEGABYTES = 1024
"""By how much all cases together may make memory grow."""

FIELDS = {
    'i': (0,),
    'h': (40, 42, 44, 46, 48, 50, 52, 54, 68, 70, 72, 74, 252, 254),
    'f': (76, 80, 84, 88, 92, 96, 108, 112, 116, 124, 128, 256, 260, 264, 268, 280, 284, 300, 320),
    'B': (39, 122, 123, 344, 345, 346, 347),
}
"""Places of numbers in a NIfTI-1 header, by their type."""

ODD = {
    'i': (0, 1, 348, 540, -1, 2**31 - 1, -(2**31), 1543569408),
    'h': (0, 1, 2, 3, 4, 5, 7, 8, -1, 16, 32, 64, 128, 256, 512, 1792, 2304, 32767, -32768),
    'f': (0, -0.0, 1, -1, 0.001, 352, 348, 1e-30, 1e30, -1e30, np.inf, -np.inf, np.nan, 250, 1e9),
    'B': (0, 1, 2, 3, 10, 255),
}


def _image(rng):
    """Bytes of a small NIfTI file that is right."""
    kinds = ('i2', 'f4', 'u1', 'f8', 'c8', 'i4', 'u2', 'i8')
    shape = tuple(int(n) for n in rng.integers(1, 13, rng.integers(2, 7)))
    while np.prod(shape) > 20000:
        shape = shape[:-1]
    voxels = rng.integers(0, 200, shape).astype(rng.choice(kinds))
    kind = nib.Nifti2Image if rng.random() < 0.2 else nib.Nifti1Image
    affine = np.diag([*rng.choice([0.1, 0.25, 1, 2, 10, 250], 3), 1])
    affine[:3, :3] += rng.normal(0, rng.choice([0, 0.01, 3]), (3, 3))
    image = kind(voxels, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units(rng.choice(['mm', 'micron', 'meter', 'unknown']))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return image.to_bytes()


def _bend(rng, content):
    """Change a few bytes anywhere, or the length."""
    content = bytearray(content)
    for _ in range(rng.integers(0, 4)):
        what = rng.integers(4)
        place = int(rng.integers(len(content) + 1))
        if what == 0 and place < len(content):
            content[place] ^= 1 << int(rng.integers(8))
        elif what == 1:
            content[place : place + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(9)))
        elif what == 2 and rng.random() < 0.3:
            del content[place:]
        elif what == 3 and rng.random() < 0.3:
            content += rng.bytes(int(rng.integers(1, 2000)))
    return bytes(content)


def fuzz_image(rng, folder):
    """Headers with odd numbers, in files of any name, packed or not."""
    content = bytearray(_image(rng))
    for _ in range(rng.integers(0, 4)):
        kind = str(rng.choice(list(FIELDS)))
        place = int(rng.choice(FIELDS[kind]))
        struct.pack_into(rng.choice(['<', '>']) + kind, content, place, rng.choice(ODD[kind]))
    content = _bend(rng, content) if rng.random() < 0.5 else bytes(content)
    if rng.random() < 0.3:
        content = gzip.compress(content, 1)
    for left in folder.glob('a.*'):
        left.unlink()
    path = folder / str(rng.choice(['a.nii', 'a.nii.gz', 'a.img', 'a.hdr']))
    if rng.random() < 0.1:
        path = folder / 'a.hdr'
        content = content[:344] + b'ni1\x00' + content[348:]
        (folder / 'a.img').write_bytes(content[352:])
    path.write_bytes(content)
    image, voxels = read_volume(path)
    reading_notes(image)
    asked = None if rng.random() < 0.8 else float(rng.choice([0.001, 1, 1000]))
    geometry = check_geometry(image, voxels, asked)
    grid = Pose('rat', 0.3).grid(voxels.shape[:3], geometry.affine)
    if np.prod(grid.stack_shape) < 1e6:
        grid.to_stack(voxels if voxels.ndim == 3 else voxels[..., 0])


def fuzz_gzip(rng, folder):
    """Packed bytes that were cut, changed or joined."""
    content = gzip.compress(_image(rng), int(rng.integers(10)), mtime=0)
    content += content * int(rng.random() < 0.1)
    (folder / 'a.nii.gz').write_bytes(_bend(rng, content))
    read_volume(folder / 'a.nii.gz')


def _text(rng):
    """Text that programs write, and that nobody does."""
    words = ('0', '1000', '5.5', '1e3', 'nan', 'inf', '-1', 'b', ',', '\n', '\t', '"', '{', '}')
    words += ('[', ']', ':', 'é', '\x00', '1e999', '0x10', '- a', 'sub-01', '&a', '*a')
    words += ('!!python/name:os.system', '? ', '---', '2020-13-45', '1_000', '<<: 1', 'a: b')
    text = ' '.join(rng.choice(words, rng.integers(0, 20)))
    content = text.encode(str(rng.choice(['utf-8', 'utf-8', 'utf-16', 'utf-8-sig'])))
    return _bend(rng, content)


def fuzz_bvals(rng, folder):
    """b-values."""
    text = ' '.join(rng.choice(['0', '5', '1000', '2e3', '1'], rng.integers(1, 6))).encode()
    (folder / 'a.bval').write_bytes(text if rng.random() < 0.5 else _text(rng))
    with contextlib.suppress(InputError):
        read_bvecs(folder / 'a.bval', int(rng.integers(1, 5)))
    values = read_bvals(folder / 'a.bval')
    chosen = select_b0(values, len(values) if rng.random() < 0.8 else 3)
    leave_out_empty(rng.integers(0, 2, (2, 2, 2, max(len(values), 3))), chosen)


def fuzz_yaml(rng, folder):
    """Arguments of plugins and workers, and lists of digests."""
    (folder / 'digests.json').write_bytes(_text(rng))
    is_intact(folder)
    read_arguments(folder / 'digests.json', '--plugin-args')


def fuzz_tables(rng, folder):
    """Tables of labels and of regions, frames of atlases, filters, and descriptions of data."""
    columns = ('index', 'name', 'mapping', 'tissue', 'color', 'abbreviation', 'index')
    cells = ('0', '1', '2', '3', 'WM', 'grey matter', '-1', '1e3', 'n/a', '', '"', '9' * 5000, '٣')
    chosen = [columns[i] for i in rng.integers(0, len(columns), rng.integers(0, 5))]
    rows = [['index', 'name', *chosen]]
    for number in range(rng.integers(0, 5)):
        row = [str(rng.choice(cells)) for _ in chosen]
        rows.append([str(number), 'CSF', *row] if rng.random() < 0.7 else row)
    content = '\r\n'.join('\t'.join(row) for row in rows).encode('utf-8-sig')
    if rng.random() < 0.3:
        content = _bend(rng, content) if rng.random() < 0.5 else _text(rng)
    if rng.random() < 0.02:
        content += b'a' * 200_000
    (folder / 'a.tsv').write_bytes(content)
    odd = (
        'null',
        'NaN',
        '[[1]]',
        '{"suffix": "dwi"}',
        '{"run": [1, null, {}]}',
        '{"x": 1}',
        '1e999',
    )
    odd += (str(np.diag([1, 2, 3, 1]).tolist()), '[' * 5000, '"*"', '{"session": true}', '[0]')
    key = str(rng.choice(['to_rat', 'dwi', 'GeneratedBy', 'DatasetType', '']))
    text = f'{{"{key}": {odd[rng.integers(len(odd))]}}}'.encode()
    text = _bend(rng, text) if rng.random() < 0.3 else text
    for name in ('frame.json', 'dataset_description.json'):
        (folder / name).write_bytes(text)
    calls = (
        lambda: read_frame(folder),
        lambda: read_filters(folder / 'frame.json', str(rng.choice(['dwi', 'T2w']))),
        lambda: read_region_names(folder / 'a.tsv'),
        lambda: (generated_by(folder), is_derivative(folder)),
    )
    for call in calls:
        with contextlib.suppress(InputError):
            call()
    read_label_table(folder / 'a.tsv')


def fuzz_names(rng, folder):
    """Names of files in a data set, and labels of a call."""
    letters = [*list('sub01-_.+( )\'"<&é*?[]\\~%$'), 'sub-', '_T2w', '.nii', '.gz', 'ses-', 'run-']
    name = ''.join(rng.choice(letters, rng.integers(1, 12)))
    if rng.random() < 0.3:
        name = f'sub-01_run-{rng.integers(9)}'
    parse_name(Path(name))
    # Each refuses for itself
    for call in (lambda: scan_of_file(Path(name)), lambda: subject_label(name)):
        with contextlib.suppress(InputError):
            call()
    scan = folder / 'sub-01' / 'anat' / f'{name}_T2w.nii'
    scan.parent.mkdir(parents=True, exist_ok=True)
    scan.touch()
    try:
        find_scans(folder, '01', str(rng.choice(['T2w', name])))
    finally:
        scan.unlink()


def _weights(folder):
    """Bytes of the weights of a small network, made once."""
    if not _weights.content:
        from secondglance.models.unet import UNet

        save_weights(UNet((2, 4)), folder / 'right.safetensors')
        _weights.content = (folder / 'right.safetensors').read_bytes()
    return _weights.content


_weights.content = b''


def fuzz_weights(rng, folder):
    """Weights with a wrong header or wrong tensors."""
    content = _weights(folder)
    size = int.from_bytes(content[:8], 'little')
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    values = (None, 1, -1, 'nan', '1e999', [], {}, '[' * 3000, '', '{"name": "UNet"}', True, 2**70)
    architecture = {'name': 'UNet', 'channels': [2, 4], 'in_channels': 1, 'n_classes': 4}
    for _ in range(rng.integers(0, 3)):
        place = header['__metadata__'] if rng.random() < 0.6 else header
        if rng.random() < 0.3:
            place = header[list(header)[rng.integers(len(header))]]
        if not isinstance(place, dict) or not place:
            continue
        name = list(place)[rng.integers(len(place))]
        place[name] = values[rng.integers(len(values))]
        if name == 'architecture':
            field = str(rng.choice(list(architecture)))
            odd = ([2, 4] * 300, [10**6] * 3, 4, 10**9, 'a', [-1, 2], [2.5, 4], None, [], [2, 4])
            place[name] = json.dumps({**architecture, field: odd[rng.integers(len(odd))]})
        if not isinstance(header.get('__metadata__'), dict):
            break
    text = json.dumps(header).encode()
    content = struct.pack('<Q', len(text)) + text + rest
    path = folder / 'a.safetensors'
    path.write_bytes(_bend(rng, content) if rng.random() < 0.4 else content)
    for call in (read_header, weights_spacing, read_calibration, load_weights):
        with contextlib.suppress(InputError):
            call(path)
    read_header(path, FORMAT)


FUZZERS = (
    *(fuzz_image, fuzz_gzip, fuzz_bvals, fuzz_yaml),
    *(fuzz_names, fuzz_weights, fuzz_tables),
)
SHARES = (0.45, 0.15, 0.1, 0.05, 0.1, 0.1, 0.05)


def _stop(*_):
    raise TimeoutError(f'a case took longer than {SECONDS_A_CASE} s')


def run(n_cases, folder, first=0):
    """Run cases; the seed of each is its number.

    Returns
    -------
    counts : Counter
        Cases of each fuzzer, and of these those refused.
    faults : list of str
        What came out that is not an `InputError` of one sentence.
    """
    counts, faults = Counter(), []
    before = signal.signal(signal.SIGALRM, _stop)
    try:
        for seed in range(first, first + n_cases):
            rng = np.random.default_rng(seed)
            fuzzer = FUZZERS[rng.choice(len(FUZZERS), p=SHARES)]
            counts[fuzzer.__name__] += 1
            signal.alarm(SECONDS_A_CASE)
            try:
                fuzzer(rng, folder)
            except InputError as error:
                counts[f'{fuzzer.__name__} refused'] += 1
                if '\n' in str(error) or 'Traceback' in str(error):
                    faults.append(f'case {seed}: not a sentence: {error}')
            except Exception as error:
                faults.append(f'case {seed} of {fuzzer.__name__}: {error!r}')
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return counts, faults


def _peak():
    """Memory that this process has taken at most, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize('n_cases', [300, pytest.param(2500, marks=pytest.mark.slow)])
def test_readers_refuse_in_a_sentence_or_read(n_cases, tmp_path, recwarn, capfd):
    _weights(tmp_path)
    before = _peak()
    counts, faults = run(n_cases, tmp_path)
    assert not faults
    assert _peak() - before < MEGABYTES
    for fuzzer in FUZZERS:
        # Neither all that is right is refused, nor all that is wrong read
        assert 0 < counts[f'{fuzzer.__name__} refused'] < counts[fuzzer.__name__]
    # Old SciPy says at every call what it changed in version 0.18
    assert not [w for w in recwarn.list if 'affine_transform with a 1-D' not in str(w.message)]
    assert capfd.readouterr() == ('', '')


def test_a_planted_fault_is_found(tmp_path, monkeypatch):
    def planted(*_):
        raise IndexError('planted')

    monkeypatch.setattr(sys.modules[run.__module__], 'FUZZERS', (planted,) * len(SHARES))
    assert run(1, tmp_path)[1] == ["case 0 of planted: IndexError('planted')"]


def main(n_cases, first=0):
    """Run a long round, and print what was found."""
    with tempfile.TemporaryDirectory() as scratch:
        _weights(Path(scratch))
        before, start = _peak(), time.monotonic()
        counts, faults = run(n_cases, Path(scratch), first)
        seconds, more = time.monotonic() - start, _peak() - before
    for name, count in sorted(counts.items()):
        print(f'{name:24} {count}')
    print('\n'.join(faults))
    print(f'{n_cases} cases, {len(faults)} faults, {seconds:.0f} s, {more:.0f} MiB more memory')
    return int(bool(faults) or more > MEGABYTES)


if __name__ == '__main__':
    sys.exit(main(*map(int, sys.argv[1:] or ['10000'])))
