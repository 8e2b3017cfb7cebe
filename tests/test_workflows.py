"""The command line: exit codes, and one clear sentence for what cannot be used."""

import errno
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import secondglance
from secondglance.workflows import COMMANDS, main

ROOT = Path(secondglance.__file__).parent


@pytest.fixture
def study(tmp_path, example):
    """Copy the example, to be spoilt."""
    shutil.copytree(example, tmp_path / 'study')
    return tmp_path / 'study'


@pytest.fixture
def call(study, tmp_path, capsys):
    """Return a function that runs the command line and gives code and last line of stderr."""

    def _call(*options, subject='sub-01'):
        code = main(
            [
                *(('--subject', subject, '--bids-dir', str(study)) if subject else ()),
                *('--nprocs', '1'),
                *('--output-dir', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'work')),
                *options,
            ]
        )
        lines = [line for line in capsys.readouterr().err.splitlines() if 'secondglance:' in line]
        return code, ' '.join(lines)

    return _call


def outputs(tmp_path):
    return [p for p in (tmp_path / 'out').rglob('*') if p.is_file()]


def image_of(study):
    return study / 'sub-01/dwi/sub-01_dwi.nii.gz'


def rewrite(study, change):
    """Write the image again with its voxels changed."""
    image = nib.load(image_of(study))
    voxels = change(image.get_fdata(dtype=np.float32))
    nib.save(nib.Nifti1Image(voxels, image.affine), image_of(study))


def truncated(study):
    image_of(study).write_bytes(image_of(study).read_bytes()[:-4000])


def short_bval(study):
    (study / 'sub-01/dwi/sub-01_dwi.bval').write_text('0 1000 0')


def no_bval(study):
    (study / 'sub-01/dwi/sub-01_dwi.bval').unlink()


def no_b0(study):
    (study / 'sub-01/dwi/sub-01_dwi.bval').write_text(' '.join(['1000'] * 10))


def nan(study):
    rewrite(study, lambda v: np.where(v == v.max(), np.nan, v))


def constant(study):
    rewrite(study, lambda v: np.zeros_like(v))


def negative(study):
    raw = bytearray(gzip.decompress(image_of(study).read_bytes()))
    raw[84:88] = np.float32(-0.375).tobytes()
    image_of(study).write_bytes(gzip.compress(bytes(raw)))


def tiny(study):
    rewrite(study, lambda v: v[28:36])


@pytest.mark.parametrize(
    ('spoil', 'says'),
    [
        (truncated, 'truncated'),
        (short_bval, '3 b-values for 10 volumes'),
        (no_bval, '--all-b0'),
        (no_b0, 'no volume has a b-value'),
        (nan, 'NaN or infinite'),
        (constant, 'nothing but the value 0'),
        (negative, 'voxel sizes'),
        (tiny, 'network needs 6.24 mm'),
    ],
    ids=lambda value: getattr(value, '__name__', None),
)
def test_bad_scan_ends_in_one_sentence_and_no_output(spoil, says, study, call, tmp_path):
    spoil(study)
    code, sentence = call()
    assert code == 1
    assert says in sentence
    assert sentence.count('secondglance:') == 1
    assert 'sub-01_dwi' in sentence
    assert outputs(tmp_path) == []


def test_reference_on_another_grid_is_refused(study, call, tmp_path):
    path = study / 'derivatives/reference/sub-01/dwi/sub-01_dseg.nii.gz'
    image = nib.load(path)
    nib.save(image.slicer[1:], path)
    code, sentence = call()
    assert code == 1
    assert 'another grid' in sentence
    assert outputs(tmp_path) == []


def pickle_as_weights(tmp_path):
    torch = pytest.importorskip('torch')
    path = tmp_path / 'weights.pt'
    torch.save({'weight': torch.zeros(3)}, path)
    return ('--weights', str(path))


def broken_weights(tmp_path):
    from secondglance.models.weights import default_weights

    content = bytearray(default_weights().read_bytes())
    content[-5] ^= 0xFF
    (tmp_path / 'w.safetensors').write_bytes(bytes(content))
    return ('--weights', str(tmp_path / 'w.safetensors'))


def donor_of_two_grids(tmp_path):
    from secondglance.data import donor_paths

    folder = tmp_path / 'donor'
    shutil.copytree(donor_paths()[0], folder)
    mask = nib.load(folder / 'brain_mask.nii.gz')
    nib.save(mask.slicer[1:], folder / 'brain_mask.nii.gz')
    return ('--donor', str(folder))


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (donor_of_two_grids, 'different grids'),
        (('--subject', 'sub-09'), 'it holds sub-01, sub-02'),
        (('--subject', '../../etc'), 'letters and digits'),
        (('--suffix', 'T2w'), '--suffix'),
        (('--bids-dir', '/nowhere'), '/nowhere'),
        (('--donor', '/nowhere'), 'not a folder'),
        (('--reference', '/nowhere'), '--reference'),
        (('--weights', '/nowhere'), '/nowhere'),
        (('--nprocs', '0'), '--nprocs'),
        (('--device', 'tpu'), '--device'),
        (('--explain-region', '1,2,3'), 'needs --explain'),
        (('--explain', 'WM', '--explain-region', 'nothing.nii'), 'neither a file nor a voxel'),
        (('--smooth', '-1'), '--smooth'),
        (('--enhance-width', '0'), '--enhance-width'),
        (('--motion', 'fsl'), 'FSLDIR'),
        (('--output-dir', '/proc/out'), '--output-dir'),
        (pickle_as_weights, 'weights.pt'),
        (broken_weights, 'w.safetensors'),
    ],
)
def test_wrong_call_is_code_2_and_one_sentence(options, says, call, tmp_path, monkeypatch):
    monkeypatch.delenv('FSLDIR', raising=False)
    code, sentence = call(*(options(tmp_path) if callable(options) else options))
    assert code == 2
    assert says in sentence
    assert sentence.count('secondglance:') == 1
    assert outputs(tmp_path) == []


def test_unknown_option_is_code_2(call):
    assert call('--no-such-option')[0] == 2


@pytest.mark.slow
def test_one_bad_subject_does_not_stop_the_others(study, call, tmp_path):
    truncated(study)
    code, sentence = call('--subject', 'all')
    assert code == 1
    assert 'sub-01_dwi.nii.gz' in sentence
    assert (tmp_path / 'out/sub-02_task-rest_sbref.html').is_file()
    assert not (tmp_path / 'out/sub-01.html').exists()


def test_dry_run_prints_stages_and_runs_nothing(study, call, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('PATH', '/nowhere')  # without Graphviz
    folders = ('--output-dir', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'work'))
    assert main(['--subject', 'sub-01', '--bids-dir', str(study), *folders, '--dry-run']) == 0
    told = capsys.readouterr().err
    lines = [line.split() for line in told.splitlines()]
    assert [line[:2] for line in lines[-4:]] == [
        ['motion', 'correction,'],
        ['first', 'glance,'],
        ['second', 'glance'],
        ['report,', 'derivatives'],
    ]
    assert 'place,' in lines[-3]
    assert 'look_again' in told
    assert outputs(tmp_path) == []
    assert not list(tmp_path.rglob('graph*'))
    assert not list((tmp_path / 'work').rglob('result_*'))
    graph = tmp_path / 'drawn here.dot'
    assert call('--dry-run', '--graph', str(graph))[0] == 0
    assert 'look_again' in graph.read_text()


def test_graphs_that_cannot_be_drawn_are_refused(call, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    for options, says in (
        (['--graph', 'a.dot'], 'give --dry-run'),
        (['--dry-run', '--graph', 'a.jpg'], 'is no .dot'),
        (['--dry-run', '--graph', 'a.svg'], 'Graphviz'),
    ):
        code, told = call(*options)
        assert code == 2
        assert says in told


@pytest.mark.slow
def test_bids_app_call(study, tmp_path):
    code = main(
        [
            *(str(study), str(tmp_path / 'app'), 'participant', '--participant-label', '02'),
            *('--work-dir', str(tmp_path / 'work'), '--nprocs', '1'),
        ]
    )
    assert code == 0
    assert (tmp_path / 'app/sub-02_task-rest_sbref.html').is_file()


@pytest.mark.slow
def test_images_of_no_data_set(study, call, tmp_path):
    head = nib.load(study / 'sub-02/func/sub-02_task-rest_sbref.nii.gz')
    paths = [tmp_path / 'a/my rat.nii.gz', tmp_path / 'b/my-rat.nii.gz', tmp_path / 'c/other.nii']
    for shift, path in enumerate(paths):
        path.parent.mkdir()
        nib.save(nib.Nifti1Image(head.get_fdata() + shift, head.affine), path)

    def image(*chosen, options=()):
        return call('--image', *map(str, chosen), *options, subject=None)

    assert image(paths[0])[0] == 0
    assert (tmp_path / 'out/sub-myrat_head.html').is_file()
    mask = tmp_path / 'out/sub-myrat/anat/sub-myrat_desc-brain_mask.nii.gz'
    assert nib.load(mask).shape == head.shape
    told = json.loads(mask.with_name('sub-myrat_desc-brain_mask.json').read_text())
    assert told['Sources'] == ['my rat.nii.gz']
    # Another animal of that name must not take its place, the same one elsewhere may
    before = {path: path.read_bytes() for path in outputs(tmp_path)}
    for chosen in ((paths[1],), (paths[2], paths[1])):
        code, sentence = image(*chosen)
        assert code == 2
        assert 'sub-myrat_head' in sentence
        assert str(paths[0]) in sentence
    assert {path: path.read_bytes() for path in outputs(tmp_path)} == before
    moved = shutil.copytree(tmp_path / 'a', tmp_path / 'moved') / 'my rat.nii.gz'
    assert image(moved, options=['--dry-run'])[0] == 0
    # Nor may two of one call
    code, sentence = image(*paths[:2], options=['--output-dir', str(tmp_path / 'new')])
    assert code == 2
    assert '--output-dir' in sentence
    assert image(paths[2], options=['--run', '1'])[0] == 2
    assert image(*paths[::2], options=['--reference', str(paths[0])])[0] == 2
    assert image(tmp_path / 'none.nii')[0] == 1


@pytest.mark.slow
def test_names_from_files_are_escaped_in_the_report(study, tmp_path):
    odd = study.parent / 'a <b>study & more'
    study.rename(odd)
    options = ['--subject', '02', '--bids-dir', str(odd), '--nprocs', '1']
    assert (
        main([*options, '--output-dir', str(tmp_path / 'o'), '--work-dir', str(tmp_path / 'w')])
        == 0
    )
    page = (tmp_path / 'o/sub-02_task-rest_sbref.html').read_text()
    assert '<b>study' not in page
    assert '&lt;b&gt;study &amp; more' in page


def test_script_and_console_script_are_one(tmp_path):
    script = ROOT / 'workflows.py'
    run = subprocess.run(
        [sys.executable, str(script), '--version'],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.splitlines()[0] == f'secondglance {secondglance.__version__}'


def test_every_command_has_help(capsys):
    for command in COMMANDS:
        assert main([command, '--help']) == 0
        assert '--' in capsys.readouterr().out


def test_interrupted_without_a_traceback(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr('secondglance.commands.run.run', interrupted)
    assert main(['--subject', '01']) == 130
    assert 'stopped' in capsys.readouterr().err


CLOSED = """
import os, sys
from secondglance import workflows
from secondglance.commands import run as command

def run(arguments):
    print('said', file=sys.stderr)
    return 10 + os.open(os.devnull, os.O_RDONLY)

command.run = run
sys.argv = ['secondglance', 'rat.nii']
sys.exit(workflows.main())
"""


def test_streams_that_the_caller_closed_are_not_taken_by_files(tmp_path):
    (tmp_path / 'closed.py').write_text(CLOSED)
    call = f'{sys.executable} closed.py <&- >&- 2>&-'
    environment = {**os.environ, 'PYTHONPATH': str(Path(secondglance.__file__).parent.parent)}
    code = subprocess.run(call, shell=True, cwd=tmp_path, env=environment, check=False).returncode
    assert code > 12


def test_a_reader_that_has_read_enough_is_no_fault(tmp_path):
    """As in ``secondglance --version | head -1``."""
    mine, theirs = os.pipe()
    os.close(mine)
    environment = {**os.environ, 'PYTHONPATH': str(Path(secondglance.__file__).parent.parent)}
    call = [sys.executable, '-m', 'secondglance.workflows', '--version']
    found = subprocess.run(
        call, cwd=tmp_path, env=environment, stdout=theirs, stderr=subprocess.PIPE, text=True
    )
    os.close(theirs)
    assert found.stderr == ''
    assert found.returncode == 141


def test_a_folder_that_is_gone_is_named(tmp_path, monkeypatch, capsys):
    gone = tmp_path / 'gone'
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(['rat.nii']) == 2
    assert 'The folder of this call is no longer there' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('name', 'says'),
    [(b'a' * 200 + b'.nii', 'too long a name'), (b'a\xff.nii', 'not named in UTF-8')],
)
def test_names_that_no_result_can_have_are_refused(tmp_path, monkeypatch, capsys, name, says):
    monkeypatch.chdir(tmp_path)
    assert main([os.fsdecode(name)]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('path', ['/data/a', None])
def test_a_full_disk_ends_without_a_traceback(monkeypatch, capsys, path):
    def run(arguments):
        raise OSError(errno.ENOSPC, 'No space left on device', path)

    monkeypatch.setattr('secondglance.commands.run.run', run)
    assert main(['--subject', '01']) == 1
    said = capsys.readouterr().err
    assert said.startswith(f'secondglance: {path or "A file"} cannot be used (No space left')
    assert said.count('\n') == 1


ENDING = """
import atexit, sys
from secondglance import workflows

class Module:
    def __del__(self):
        print('taken apart')

module = Module()
atexit.register(print, 'temporary folders removed')
sys.argv = ['secondglance', *sys.argv[1:]]
sys.exit(workflows.main())
"""


@pytest.mark.parametrize(('call', 'code'), [(['--dry-run', '--nprocs', '0'], 2), (['--help'], 0)])
def test_a_call_ends_without_taking_its_libraries_apart(tmp_path, call, code):
    """Half a second of every call, were it not so; what was to be done at its end is done."""
    found = subprocess.run(
        [sys.executable, '-c', ENDING, *call], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == code
    assert found.stdout.endswith('temporary folders removed\n')
    assert 'taken apart' not in found.stdout
    assert ('usage' in found.stdout) if code == 0 else ('secondglance: ' in found.stderr)
