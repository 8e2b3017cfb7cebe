"""Whatever becomes of one scan of a cohort, the others go on; nothing is done twice."""

import asyncio
import csv
import os
import shutil
import signal
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar

import cloudpickle
import nibabel as nib
import numpy as np
import pytest

from secondglance.files.bids import Scan
from secondglance.imaging.errors import InputError
from secondglance.pipelines import Execution, Method
from secondglance.pipelines.execution.cohort import run_cohort, segment_job, share_cores
from secondglance.pipelines.execution.processes import METHOD
from secondglance.pipelines.execution.scan_jobs import ScanJob
from secondglance.workflows import main

# The processes of a cohort cannot import a test by its name
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope='module')
def study(tmp_path_factory, example):
    """Return a real rat twice, once as it is and once cut short, and an animal without a scan."""
    folder = tmp_path_factory.mktemp('a study')
    for label in ('02', '03'):
        target = folder / f'sub-{label}' / 'dwi'
        target.mkdir(parents=True)
        for path in (example / 'sub-02' / 'func').iterdir():
            name = path.name.replace('sub-02_task-rest_sbref', f'sub-{label}_dwi')
            shutil.copyfile(path, target / name)
    broken = folder / 'sub-03/dwi/sub-03_dwi.nii.gz'
    broken.write_bytes(broken.read_bytes()[:5000])
    (folder / 'sub-04' / 'anat').mkdir(parents=True)
    (folder / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return folder


@pytest.fixture(scope='module')
def cohort(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp('results')

    def call(*options):
        code = main(
            [
                *('run', '--subject', 'all', '--bids-dir', str(study), '--motion', 'none'),
                *('--output-dir', str(folder / 'out'), '--work-dir', str(folder / 'work')),
                *options,
            ]
        )
        with (folder / 'out' / 'cohort.tsv').open(newline='') as stream:
            rows = {row['scan']: row for row in csv.DictReader(stream, delimiter='\t')}
        return code, rows

    call.folder = folder
    call.first = call('--clean')
    return call


@pytest.mark.slow
def test_the_good_is_done_and_the_bad_says_why(cohort):
    code, rows = cohort.first
    assert code == 1
    assert {scan: row['status'] for scan, row in rows.items()} == {
        'sub-02': 'done',
        'sub-03': 'failed',
        'sub-04': 'failed',
    }
    assert 'sub-03_dwi.nii.gz is damaged' in rows['sub-03']['reason']
    assert '--suffix' in rows['sub-04']['reason']
    assert rows['sub-02']['species'] == 'rat'
    assert 1000 < float(rows['sub-02']['brain_mm3']) < 2800
    assert 0 <= float(rows['sub-02']['lognormal_share']) <= 1
    assert not list((cohort.folder / 'out').rglob('sub-03*.nii.gz'))
    page = (cohort.folder / 'out/cohort.html').read_text()
    assert 'sub-03_dwi.nii.gz is damaged' in page
    for name in ('sub-02.html', 'sub-02/figures/sub-02_mask.png'):
        assert f'"{name}"' in page
        assert (cohort.folder / 'out' / name).is_file()


@pytest.mark.slow
def test_the_official_validator_finds_no_error(cohort, bids_errors):
    assert bids_errors(cohort.folder / 'out') == []


@pytest.mark.slow
def test_a_finished_scans_cache_is_removed_when_asked(cohort):
    left = [p for p in (cohort.folder / 'work').rglob('*.nii*') if 'donors' not in p.parts]
    assert left == []


@pytest.mark.slow
def test_what_is_finished_or_failed_is_not_done_again(cohort, study):
    before = {p: p.stat().st_mtime_ns for p in (cohort.folder / 'out').rglob('*.nii.gz')}
    code, rows = cohort()
    assert code == 1
    assert rows['sub-02']['status'] == 'cached'
    assert rows['sub-02']['brain_mm3'] == cohort.first[1]['sub-02']['brain_mm3']
    assert rows['sub-03']['status'] == 'failed'
    assert {p: p.stat().st_mtime_ns for p in before} == before
    # Looked at again: by content, whatever the time stamp says
    os.utime(study / 'sub-02/dwi/sub-02_dwi.nii.gz')
    assert cohort()[1]['sub-02']['status'] == 'cached'


@pytest.mark.slow
def test_plan_of_a_dry_run(cohort, capsys):
    cohort('--dry-run')
    told = capsys.readouterr().err
    assert 'sub-02  cached' in told
    assert 'Nothing was run' in told
    cohort('--dry-run', '--target', 'WM')
    assert 'sub-02  to do' in capsys.readouterr().err
    cohort('--dry-run', '--retry-failed')
    assert 'sub-03  to do' in capsys.readouterr().err


@pytest.mark.slow
def test_lost_output_is_made_again_to_the_same_bytes(cohort):
    lost = cohort.folder / 'out/sub-02/dwi/sub-02_dseg.nii.gz'
    before = lost.read_bytes()
    lost.unlink()
    assert cohort()[1]['sub-02']['status'] == 'done'
    assert lost.read_bytes() == before


@pytest.mark.slow
def test_mended_file_is_tried_again_without_asking(cohort, study):
    broken = study / 'sub-03/dwi/sub-03_dwi.nii.gz'
    cut = broken.read_bytes()
    nib.save(nib.Nifti1Image(np.zeros((20, 20, 5), np.float32), np.eye(4)), broken)
    try:
        assert 'nothing but the value 0' in cohort()[1]['sub-03']['reason']
    finally:
        broken.write_bytes(cut)


@dataclass(frozen=True)
class Deadly(Scan):
    """A scan that kills the process that reads it, unless it is the test's own."""

    home: int = 0

    @property
    def name(self):
        if os.getpid() != self.home:
            os._exit(9)
        return 'sub-deadly'


@pytest.mark.slow
def test_a_killed_process_takes_no_other_scan_with_it(study, tmp_path):
    how = (Method(), Execution())
    bad = study / 'sub-03/dwi/sub-03_dwi.nii.gz'
    scans = [
        Deadly(bad, {'sub': 'deadly'}, 'dwi', 'dwi', home=os.getpid()),
        *(Scan(bad, {'sub': f'0{n}'}, 'dwi', 'dwi') for n in (3, 5, 6)),
    ]
    jobs = [ScanJob(scan, *how, tmp_path / 'out', tmp_path / 'work', '') for scan in scans]
    told = []
    outcomes = run_cohort(jobs, at_once=2, told=told.append)
    assert [outcome.scan for outcome in outcomes] == ['sub-deadly', 'sub-03', 'sub-05', 'sub-06']
    assert 'killed' in outcomes[0].reason
    assert all('is damaged' in outcome.reason for outcome in outcomes[1:])
    assert sorted(outcome.scan for outcome in told) == sorted(o.scan for o in outcomes)
    assert not list((tmp_path / 'work').glob('cohort-*'))


@pytest.mark.slow
def test_an_event_loop_that_runs_is_left_alone(study, tmp_path):
    bad = Scan(study / 'sub-03/dwi/sub-03_dwi.nii.gz', {'sub': '03'}, 'dwi', 'dwi')
    job = ScanJob(bad, Method(), Execution(), tmp_path / 'out', tmp_path / 'work', '')

    async def cell():
        return run_cohort([job, job])

    with asyncio.Runner() as notebook:
        outcomes = notebook.run(cell())
        assert not notebook.get_loop().is_closed()
    assert ['is damaged' in outcome.reason for outcome in outcomes] == [True, True]


@pytest.fixture
def batch_system(tmp_path, monkeypatch):
    """Stand in for Slurm: each job waits for ever, and whoever asks for one is interrupted."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    folder = tmp_path / 'bin'
    folder.mkdir()
    for name, does in (
        ('sbatch', 'echo Submitted batch job 4711'),
        ('squeue', f'echo 4711; kill -USR1 {os.getpid()}'),
        ('scancel', f'echo "$@" >> {tmp_path / "cancelled"}'),
    ):
        (folder / name).write_text(f'#!/bin/sh\n{does}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
    before = signal.signal(signal.SIGUSR1, interrupt)
    yield tmp_path / 'cancelled'
    signal.signal(signal.SIGUSR1, before)


def test_jobs_of_a_batch_system_end_with_the_call(tmp_path, batch_system):
    scan = Scan(tmp_path / 'x.nii', {'sub': '01'}, 'dwi', 'dwi')
    job = ScanJob(scan, Method(), Execution(), tmp_path / 'out', tmp_path / 'work', '')
    with pytest.raises(KeyboardInterrupt):
        run_cohort([job], worker='slurm')
    assert batch_system.read_text().split() == ['4711']
    assert not list((tmp_path / 'work').glob('cohort-*'))


@pytest.fixture
def pool(monkeypatch):
    """Stand in for the processes of a cohort: what is submitted is done at once, here."""

    class Pool(ProcessPoolExecutor):
        stopped = False
        made: ClassVar[list] = []
        told: ClassVar[list] = []

        def __init__(self, n_procs, mp_context=None):
            super().__init__(n_procs, mp_context)
            self.made.append((n_procs, mp_context and mp_context.get_start_method()))

        def submit(self, work, *given):
            if self.stopped:
                raise KeyboardInterrupt
            future = Future()
            future.set_result(work(*given))
            return future

        def shutdown(self, wait=True, *, cancel_futures=False):
            self.told.append((wait, cancel_futures))

    there = 'secondglance.pipelines.execution.cohort'
    monkeypatch.setattr(f'{there}.ProcessPoolExecutor', Pool)
    monkeypatch.setattr(f'{there}.start_server', lambda modules: None)
    return Pool


def test_as_many_processes_as_scans_at_once_and_none_goes_on_after_a_stop(pool, tmp_path):
    scan = Scan(tmp_path / 'x.nii', {'sub': '01'}, 'T2w', 'anat')
    job = ScanJob(scan, Method(), Execution(), tmp_path / 'out', tmp_path / 'work', '')
    assert [outcome.scan for outcome in run_cohort([job], at_once=3)] == ['sub-01_T2w']
    # One ends, and lets what was begun end
    assert pool.made == [(3, METHOD)]
    assert (False, True) not in pool.told
    pool.stopped = True
    with pytest.raises(KeyboardInterrupt):
        run_cohort([job], at_once=3)
    assert (False, True) in pool.told


def test_a_fault_of_the_program_is_told_with_the_name_of_its_scan(tmp_path, monkeypatch):
    def run_job(job):
        raise KeyError('x\ny')

    monkeypatch.setattr('secondglance.pipelines.execution.cohort.run_job', run_job)
    scan = Scan(tmp_path / 'x.nii', {'sub': '01'}, 'T2w', 'anat')
    job = ScanJob(scan, Method(), Execution(), tmp_path / 'out', tmp_path / 'work', '')
    outcome = segment_job(job)
    assert (outcome.scan, outcome.status) == ('sub-01_T2w', 'failed')
    assert outcome.reason.startswith('KeyError: ')


def test_python_that_a_batch_script_cannot_name_is_refused(monkeypatch):
    monkeypatch.setattr('sys.executable', '/opt/my tools/bin/python')
    with pytest.raises(InputError, match='/opt/my tools/bin/python because of the blank'):
        run_cohort([], worker='slurm')


def test_unknown_worker_and_argument_are_named(tmp_path):
    scan = Scan(tmp_path / 'x.nii', {'sub': '01'}, 'dwi', 'dwi')
    jobs = [ScanJob(scan, Method(), Execution(), tmp_path, tmp_path, '')]
    with pytest.raises(InputError, match='--worker horse'):
        run_cohort(jobs, worker='horse')
    with pytest.raises(InputError, match='--worker-args'):
        run_cohort(jobs, worker_args={'wings': 2})


@pytest.mark.parametrize(('at_once', 'cores', 'threads'), [(2, 8, 4), (3, 8, 2), (4, 2, 1)])
def test_scans_side_by_side_share_the_cores(tmp_path, at_once, cores, threads):
    """Each has one process, and no fewer than one thread; all else stays."""
    scan = Scan(tmp_path / 'sub-1_T2w.nii', {'sub': '1'}, 'T2w', 'anat')
    execution = Execution(nprocs=7, threads=5, device='cpu', clean=True)
    job = ScanJob(scan, Method(), execution, tmp_path / 'out', tmp_path / 'work', 'recipe')
    shared = replace(execution, nprocs=1, threads=threads)
    assert share_cores([job, job], at_once, cores) == [replace(job, execution=shared)] * 2
