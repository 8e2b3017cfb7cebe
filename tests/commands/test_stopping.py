"""Told to stop, a call ends with all its processes, soon, and says how to go on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import secondglance
from secondglance.commands.stopping import STOPPED, descendants, status_of

ROOT = Path(secondglance.__file__).parent
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT.parent)}

BUSY = """
import multiprocessing, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from secondglance import workflows
from secondglance.commands import run as command
from secondglance.pipelines.execution.processes import start_server

def run(arguments):
    start_server()
    context = multiprocessing.get_context('forkserver')
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        tasks = [pool.submit(time.sleep, 600) for _ in range(4)]
        other = subprocess.Popen(['sh', '-c', 'trap "" TERM INT; while :; do sleep 600; done'])
        pool.submit(abs, 1)
        while not all(task.running() for task in tasks[:2]):
            time.sleep(0.01)
        print('busy', flush=True)
        tasks[0].result()

command.run = run
if __name__ == '__main__':
    sys.argv = ['secondglance', '--subject', '01']
    sys.exit(workflows.main())
"""


def below(pid):
    """Processes below one, with those that were left behind by it."""
    return [other for other in descendants(pid) if Path(f'/proc/{other}').exists()]


def take_signals():
    """Take what whoever runs these tests ignores, as SIGINT in the background of a shell."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def started():
    """Start a process, and end its whole group after the test."""
    processes = []

    def start(call, **how):
        process = subprocess.Popen(
            call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
            start_new_session=True, preexec_fn=take_signals, **how,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def group_of(pid):
    """Processes of a group, as far as they still run and are not about to end."""
    found = []
    for path in Path('/proc').glob('[0-9]*'):
        if status_of(int(path.name))[1:] == [pid]:
            found.append((path / 'cmdline').read_text())
    # One that is about to end has given its memory back
    return [command for command in found if command]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('number', 'code', 'whole_group'),
    [
        (signal.SIGTERM, 143, False),
        (signal.SIGTERM, 143, True),
        (signal.SIGINT, 130, False),
        (signal.SIGINT, 130, True),
        (signal.SIGHUP, 129, False),
    ],
)
def test_a_signal_ends_every_process(started, tmp_path, number, code, whole_group):
    (tmp_path / 'busy.py').write_text(BUSY)
    process = started([sys.executable, str(tmp_path / 'busy.py')])
    assert process.stdout.readline() == 'busy\n'
    assert len(group_of(process.pid)) > 3
    (os.killpg if whole_group else os.kill)(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert said == f'{STOPPED}\n'
    assert group_of(process.pid) == []


ODD_END = """
import sys, time
from secondglance import workflows
from secondglance.commands import run as command

class Library:
    def __del__(self):
        time.sleep(600)

def run(arguments):
    workflows.loaded = Library()
    print('busy', flush=True)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        raise ImportError('half of a library')

command.run = run
if __name__ == '__main__':
    sys.argv = ['secondglance', '--subject', '01']
    sys.exit(workflows.main())
"""


def test_whatever_libraries_do_at_their_end_the_code_is_that_of_the_signal(started, tmp_path):
    (tmp_path / 'odd_end.py').write_text(ODD_END)
    process = started([sys.executable, str(tmp_path / 'odd_end.py')])
    assert process.stdout.readline() == 'busy\n'
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60)[1] == f'{STOPPED}\n'
    assert process.returncode == 129


@pytest.mark.slow
def test_workers_end_when_their_caller_is_killed(started, tmp_path):
    (tmp_path / 'busy.py').write_text(BUSY.replace('while :; do sleep 600; done', 'sleep 0'))
    process = started([sys.executable, str(tmp_path / 'busy.py')])
    assert process.stdout.readline() == 'busy\n'
    process.kill()
    process.wait()
    for _ in range(100):
        if not group_of(process.pid):
            break
        time.sleep(0.1)
    assert group_of(process.pid) == []


@pytest.mark.slow
def test_what_is_ignored_stays_ignored(started, tmp_path):
    (tmp_path / 'busy.py').write_text(BUSY)
    process = started(['nohup', sys.executable, str(tmp_path / 'busy.py')])
    assert process.stdout.readline() == 'busy\n'
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


STUCK = """
import sys, time
from secondglance.commands import stopping

stopping.LONGEST_SECONDS = 0.05
with stopping.stopping():
    try:
        print('busy', flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print('of what breaks off', file=sys.stderr, flush=True)
        time.sleep(600)
"""


def test_what_does_not_end_is_ended_and_says_nothing_more(started):
    process = started([sys.executable, '-c', STUCK])
    assert process.stdout.readline() == 'busy\n'
    process.terminate()
    assert process.communicate(timeout=20)[1] == f'{STOPPED}\n'
    assert process.returncode == 143


def test_descendants_are_found_by_their_parents(started):
    process = started(['sh', '-c', 'sleep 600 & sleep 600 & echo up; wait'])
    process.stdout.readline()
    assert process.pid in descendants(os.getpid())
    assert len(descendants(process.pid)) == 2
    # And those of a child are below this process
    assert set(descendants(process.pid)) < set(descendants(os.getpid()))
    process.kill()
    process.wait()
    assert descendants(process.pid) == []


def test_a_process_is_known_whatever_it_is_called():
    called = Path('/proc/self/comm')
    before = called.read_text()
    try:
        called.write_text('a) Z 1 (b')
        assert status_of(os.getpid()) == [os.getppid(), os.getpgrp()]
    finally:
        called.write_text(before)


def stages_of(work):
    return list(work.rglob('_inputs.pklz'))


def run_until_busy(started, call, folder, prefix=()):
    """Start a real run, and wait until it is at its stages."""
    process = started([*prefix, sys.executable, str(ROOT / 'workflows.py'), *call], cwd=folder)
    while len(stages_of(folder / 'work')) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


ONE = ('--subject', '02', '--nprocs', '1')
SHARED = ('--subject', '02', '--nprocs', '2', '--slices-per-job', '9')
MANY = ('--subject', 'all', '--nprocs', '2')


@pytest.mark.slow
@pytest.mark.parametrize('options', [ONE, SHARED, MANY], ids=['one', 'shared', 'many'])
@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_resumes(started, example, tmp_path, options, number, code):
    call = (*options, '--bids-dir', str(example), '-o', 'out', '--work-dir', 'work')
    process = run_until_busy(started, call, tmp_path)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert said.count(STOPPED) == 1
    assert said.rstrip().endswith(STOPPED)
    assert 'Traceback' not in said
    assert group_of(process.pid) == []
    # Nothing is on record as failed, and no half result is there
    assert not list(tmp_path.glob('out/**/*.nii.gz'))
    assert not list(tmp_path.glob('work/*/logs/*.json'))


@pytest.mark.slow
def test_as_first_process_of_a_container(started, example, tmp_path):
    unshare = ('unshare', '--fork', '--pid', '--mount-proc', '--kill-child')
    if not shutil.which('unshare') or subprocess.run([*unshare, 'true'], check=False).returncode:
        pytest.skip('a name space of processes is not allowed here')
    call = (*MANY, '--bids-dir', str(example), '-o', 'out', '--work-dir', 'work')
    process = run_until_busy(started, call, tmp_path, prefix=unshare)
    [first] = [pid for pid in below(process.pid) if 'workflows' in command_of(pid)][:1]
    os.kill(first, signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert said.rstrip().endswith(STOPPED)


def command_of(pid):
    return Path(f'/proc/{pid}/cmdline').read_text()
