"""Machines fail while a scan runs: no result is lost, half written, mixed up or left running."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import pytest

import secondglance
from secondglance.commands.stopping import status_of
from secondglance.data import donor_paths, example_rat

pytestmark = pytest.mark.slow

ROOT = Path(secondglance.__file__).parent
SECONDS = 5
"""Within which all processes of a run are gone after its main process."""


@pytest.fixture(scope='module')
def heads(tmp_path_factory):
    """Four slices each of a rat, in two files."""
    folder = tmp_path_factory.mktemp('heads')
    image = nib.load(example_rat()[0])
    nib.save(image.slicer[10:58, 10:58, 6:10], folder / 'one.nii.gz')
    nib.save(image.slicer[10:58, 10:58, 5:9], folder / 'two.nii.gz')
    return folder


@pytest.fixture
def start(heads, tmp_path):
    """Start a run in a group of its own; what is left of it ends with the test."""
    started = []

    def _start(*names, nprocs=2, work='work', before=None):
        call = [sys.executable, str(ROOT / 'workflows.py')]
        call += [str(heads / f'{name}.nii.gz') for name in names or ('one',)]
        call += ['--motion', 'none', '--donor', str(donor_paths()[0]), '--nprocs', str(nprocs)]
        # One scan has processes where its slices are cut
        call += ['--slices-per-job', '2']
        process = subprocess.Popen(
            [*call, '-o', 'out', '-w', work],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT.parent)},
            start_new_session=True, preexec_fn=before,
        )  # fmt: skip
        started.append(process)
        return process

    yield _start
    for process in started:
        if group_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope='module')
def right(heads, tmp_path_factory):
    """What an undisturbed run writes, and how many stages it has."""
    folder = tmp_path_factory.mktemp('undisturbed')
    call = [sys.executable, str(ROOT / 'workflows.py'), str(heads / 'one.nii.gz')]
    call += ['--motion', 'none', '--donor', str(donor_paths()[0]), '--nprocs', '1']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT.parent)}
    subprocess.run(
        [*call, '-o', 'out', '-w', 'work'],
        cwd=folder, check=True, capture_output=True, env=environment,
    )  # fmt: skip
    return results(folder / 'out'), stages(folder / 'work')


def results(out):
    """Images and tables of a scan, by name."""
    found = [*out.glob('sub-*/**/*.nii.gz'), *out.glob('sub-*/**/*.tsv')]
    return {path.name: path.read_bytes() for path in found}


def stages(work):
    """How many stages were begun."""
    return len(list(work.rglob('_inputs.pklz')))


def group_of(pid):
    """Processes of a group that still run."""
    numbers = (int(path.name) for path in Path('/proc').glob('[0-9]*'))
    return [n for n in numbers if status_of(n)[1:] == [pid] and command_of(n)]


def command_of(pid):
    try:
        return Path(f'/proc/{pid}/cmdline').read_text()
    except OSError:
        return ''


def wait_for(process, work, n_stages):
    """Wait until a run has begun so many stages, or is at its end."""
    while stages(work) < n_stages and process.poll() is None:
        time.sleep(0.02)


def finish(process):
    said = process.communicate(timeout=200)[0]
    assert 'Traceback' not in said, said
    return process.returncode, said


def test_killed_at_ten_random_moments_a_scan_is_as_if_nothing_had_been(start, right, tmp_path):
    known, n_stages = right
    draw = random.Random(1)
    for moment in sorted(draw.randint(0, n_stages) for _ in range(10)):
        process = start(nprocs=draw.choice([1, 2]))
        wait_for(process, tmp_path / 'work', moment)
        time.sleep(draw.random())
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        # What is there is whole and right
        for name, content in results(tmp_path / 'out').items():
            assert content == known[name], name
    code, said = finish(start())
    assert code == 0, said
    assert results(tmp_path / 'out') == known
    assert not list((tmp_path / 'out').glob('.*.lock'))


@pytest.mark.parametrize('names', [('one',), ('one', 'two')], ids=['one scan', 'cohort'])
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_main_one(start, tmp_path, names, number):
    process = start(*names)
    wait_for(process, tmp_path / 'work', 4)
    assert len(group_of(process.pid)) > 1
    os.kill(process.pid, number)
    process.wait(timeout=60)
    end = time.monotonic() + SECONDS
    while group_of(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert [command_of(pid) for pid in group_of(process.pid)] == []
    assert results(tmp_path / 'out') == {}


def test_a_disk_that_fills_up_during_the_stages_is_said_and_the_next_call_goes_on(
    start, right, tmp_path
):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('mounting a small disk is not allowed here')
    try:
        code, said = finish(start(work='disk'))
        assert code != 0
        assert 'full' in said.splitlines()[-1], said
        assert results(tmp_path / 'out') == {}
        subprocess.run(['mount', '-o', 'remount,size=400m', str(disk)], check=True)
        code, said = finish(start(work='disk'))
        assert code == 0, said
        assert results(tmp_path / 'out') == right[0]
    finally:
        subprocess.run(['umount', '-l', str(disk)], check=True)


def test_an_output_folder_that_is_removed_meanwhile_is_made_again(start, right, tmp_path):
    assert finish(start())[0] == 0
    known, n_stages = right
    shutil.rmtree(tmp_path / 'work')
    process = start()
    wait_for(process, tmp_path / 'work', n_stages // 2)
    shutil.rmtree(tmp_path / 'out', ignore_errors=True)
    code, said = finish(process)
    code = code if results(tmp_path / 'out') else finish(start())[0]
    assert code == 0, said
    assert results(tmp_path / 'out') == known


def test_too_little_memory_is_said_and_is_no_fault_of_the_scan(start, right, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (700 * 2**20, 700 * 2**20))

    process = start(nprocs=1, before=limit)
    said = process.communicate(timeout=200)[0]
    assert process.returncode != 0
    assert results(tmp_path / 'out') == {}, said
    code, said = finish(start())
    assert code == 0, said
    assert results(tmp_path / 'out') == right[0]
