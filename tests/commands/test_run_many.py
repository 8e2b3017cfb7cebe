"""The table and the page are of the whole output folder, whatever call made its results."""

import argparse
import csv
from dataclasses import replace

import pytest
from rich.console import Console

from secondglance.commands.run_many import (
    MEMORY_GB,
    MOST_SHOWN,
    run_many,
    write_cohort,
    write_group,
)
from secondglance.files.bids import Scan
from secondglance.files.tables import write_tsv
from secondglance.pipelines.execution.job import figures_of
from secondglance.pipelines.execution.records import finished_scans, record_path, write_record
from secondglance.pipelines.execution.scan_jobs import ScanJob
from secondglance.pipelines.settings import Execution, Method
from secondglance.reports.scan_result import ScanResult


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def finish(out, label, seconds=12.5, suffix='T2w', **figures):
    image = out.parent / f'sub-{label}_{suffix}.nii'
    image.write_bytes(label.encode())
    scan = Scan(image, {'sub': label}, suffix, 'anat')
    output = out / f'sub-{label}' / 'mask.tsv'
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text('x\n')
    how = {'outputs': [output], 'seconds': seconds, 'flags': ['look'], 'figures': figures}
    write_record(out, scan, None, 'recipe', **how)
    return scan


def table(out):
    with (out / 'cohort.tsv').open(newline='') as stream:
        return {row['scan']: row for row in csv.DictReader(stream, delimiter='\t')}


def test_scans_of_other_calls_are_in_the_table_with_their_times(out):
    finish(out, '01', 12.5, brain_dice=0.9812)
    page, _ = write_cohort([ScanResult('sub-02_T2w', 'done', 3.0)], out)
    rows = table(out)
    assert list(rows) == ['sub-02_T2w', 'sub-01_T2w']
    about = rows['sub-01_T2w']
    assert (about['status'], about['seconds'], about['flags']) == ('cached', '12.5', 'look')
    assert about['brain_dice'] == '0.9812'
    assert rows['sub-02_T2w']['brain_dice'] == 'n/a'
    assert 'sub-01_T2w' in page.read_text()


def test_a_scan_of_this_call_is_there_once(out):
    finish(out, '01')
    write_cohort([ScanResult('sub-01_T2w', 'done', 3.0)], out)
    assert table(out)['sub-01_T2w']['status'] == 'done'
    assert len(table(out)) == 1


def test_failures_of_other_calls_stay_until_they_are_mended(out):
    finish(out, '01')
    lost = [ScanResult('sub-08', 'failed', float('nan'), reason='No image.')]
    failed = ScanResult('sub-09_T2w', 'failed', 2.0, reason='Is cut.')
    # What was done stands before them in the table
    write_cohort([ScanResult('sub-03_T2w', 'done', 1.0), failed, *lost], out)
    rows = (out / 'cohort.tsv').read_text().splitlines()
    (out / 'cohort.tsv').write_text('\n'.join([rows[0], *sorted(rows[1:])]) + '\n')
    write_cohort([ScanResult('sub-02_T2w', 'done')], out)
    assert {n: row['status'] for n, row in table(out).items()} == {
        'sub-02_T2w': 'done',
        'sub-01_T2w': 'cached',
        'sub-09_T2w': 'failed',
        'sub-08': 'failed',
    }
    assert table(out)['sub-09_T2w']['reason'] == 'Is cut.'
    for label in ('08', '09'):
        finish(out, label)
    write_cohort([ScanResult('sub-02_T2w', 'done')], out)
    assert {row['status'] for row in table(out).values()} == {'done', 'cached'}
    assert len(table(out)) == 4


def test_a_subject_named_like_the_begin_of_another_stays_failed(out):
    finish(out, '10')
    write_cohort([ScanResult('sub-1', 'failed', float('nan'), reason='No image.')], out)
    write_cohort([], out)
    assert {name: row['status'] for name, row in table(out).items()} == {
        'sub-10_T2w': 'cached',
        'sub-1': 'failed',
    }


def test_a_failed_diffusion_scan_is_not_mended_by_another_image_of_its_subject(out):
    write_cohort([ScanResult('sub-01', 'failed', reason='Is cut.')], out)
    write_cohort([ScanResult('sub-01_T2w', 'done', 3.0)], out)
    assert {name: row['status'] for name, row in table(out).items()} == {
        'sub-01_T2w': 'done',
        'sub-01': 'failed',
    }


def test_results_that_were_removed_are_not_in_the_table(out):
    finish(out, '01')
    (out / 'sub-01' / 'mask.tsv').unlink()
    assert finished_scans(out) == {}


@pytest.mark.parametrize('content', ['', 'scan\n"', 'a\tb\n1\n', '\0'])
def test_a_table_or_record_that_was_spoilt_is_no_obstacle(out, content):
    finish(out, '01')
    (out / 'cohort.tsv').write_text(content)
    (out / 'logs' / 'x.json').write_text(content)
    record_path(out, finish(out, '02')).write_text('{"key": "x", "outputs": {}}')
    write_cohort([], out)
    assert list(table(out)) == ['sub-01_T2w']


def test_scores_against_a_reference_are_figures(tmp_path):
    path = tmp_path / 'sub-01_desc-metrics_scores.tsv'
    rows = [{'label': 'brain', 'dsc': 0.98765}, {'label': 'WM', 'dsc': float('nan')}]
    write_tsv(rows, path)
    assert figures_of([path]) == {'brain_dice': 0.9877}


def test_motion_is_a_figure(tmp_path):
    path = tmp_path / 'sub-01_desc-confounds_timeseries.tsv'
    moved = (float('nan'), 0.02, 0.04, float('nan'))
    write_tsv([{'volume': n, 'framewise_displacement': d} for n, d in enumerate(moved)], path)
    assert figures_of([path]) == {'motion_mean_mm': 0.03, 'motion_most_mm': 0.04}
    write_tsv([{'volume': 0, 'framewise_displacement': float('nan')}], path)
    assert figures_of([path]) == {}


def test_slices_without_a_fit_count_for_no_share_of_log_normal_ones(tmp_path):
    path = tmp_path / 'sub-01_desc-lognormal_slices.tsv'
    fits = ((0.1, 'lognormal'), (0.2, 'gamma'), (float('nan'), 'n/a'))
    write_tsv([{'ks_distance': distance, 'best': best} for distance, best in fits], path)
    assert figures_of([path]) == {'lognormal_share': 0.5, 'lognormal_distance': 0.15}


def test_table_page_and_group_flag_a_scan_unlike_the_others_alike(out, capsys):
    usual = {'species': 'rat', 'WM_mm3': 500.0, 'GM_mm3': 1100.0, 'CSF_mm3': 200.0}
    for n in range(8):
        finish(out, f'{n}', confidence=0.99, brain_mm3=1800.0 + n, **usual)
    finish(out, 'odd', confidence=0.99, brain_mm3=1200.0, **usual)
    write_group(out, Console(soft_wrap=True))
    flags = table(out)['sub-odd_T2w']['flags']
    assert 'Brain volume, mm³ (1200)' in flags
    assert table(out)['sub-odd_T2w']['verdict'] == 'look'
    assert flags in (out / 'cohort.html').read_text()
    assert '9 scans, 9 to look at' in capsys.readouterr().out
    _, rows = write_cohort([ScanResult('sub-x', 'failed', reason='Is cut.')], out)
    assert ' '.join(rows['sub-odd_T2w'].flags) == flags
    assert table(out)['sub-x']['verdict'] == 'failed'


def test_echoes_of_one_animal_are_one_row_and_no_failure_is_lost(out):
    names = [f'sub-01_echo-{n}_sbref' for n in (1, 2, 10)]
    outcomes = [ScanResult(name, 'done') for name in names]
    write_cohort(outcomes, out)
    assert list(table(out)) == [names[0]]
    failed = ScanResult('sub-01_echo-3_sbref', 'failed', reason='Is cut.')
    write_cohort([failed, *outcomes[1:]], out)
    assert list(table(out)) == [failed.scan, names[1]]


@pytest.fixture
def call(out, capsys):
    """Return a function that runs scans of which the results are known, and gives what it says."""

    def _call(jobs, lost=(), **changes):
        given = {'worker': None, 'worker_args': None, 'retry_failed': False, 'dry_run': False}
        console = Console(soft_wrap=True)
        code = run_many(argparse.Namespace(**given | changes), jobs, list(lost), out, console)
        return code, capsys.readouterr().out.splitlines()

    return _call


def job_of(out, label, *, failure=None):
    """A scan that is done, or of which a failure is on record."""
    scan = finish(out, label)
    job = ScanJob(scan, Method(), Execution(), out, out.parent / 'work', 'recipe')
    if failure is not None:
        record_path(out, scan).unlink()
        write_record(job.common_dir, scan, None, 'recipe', seconds=1.0, failure=failure)
    return job


def test_all_that_is_known_is_told_and_nothing_runs(call, out):
    lost = ScanResult('sub-9', 'failed', reason='No image.')
    jobs = [job_of(out, '1'), job_of(out, '2', failure='Is cut.')]
    code, said = call(jobs, [lost])
    assert code == 1
    assert said[0].startswith('0 done, 1 cached, 2 failed, 1 to look at: ')
    assert said[1:] == [
        '  look at sub-1_T2w: look',
        # Another call found the fault; that a subject has no scan was found now
        '  sub-2_T2w failed (before; --retry-failed tries again): Is cut.',
        '  sub-9 failed: No image.',
    ]
    assert {name: row['status'] for name, row in table(out).items()} == {
        'sub-1_T2w': 'cached',
        'sub-2_T2w': 'failed',
        'sub-9': 'failed',
    }
    assert call(jobs[:1])[0] == 0


def test_a_dry_run_says_what_would_be_done_anew(call, out):
    jobs = [job_of(out, '1'), job_of(out, '2', failure='Is cut.')]
    for retry, status in ((False, 'failed'), (True, 'to do')):
        code, said = call(jobs, dry_run=True, retry_failed=retry)
        assert code == 0
        assert said[:2] == ['  sub-1_T2w  cached', f'  sub-2_T2w  {status}']
    assert not (out / 'cohort.tsv').exists()


def test_a_plan_fails_where_a_subject_has_no_scan(call, out):
    lost = ScanResult('sub-9', 'failed', reason='No image.')
    code, said = call([job_of(out, '1')], [lost], dry_run=True)
    assert code == 1
    assert said == [
        '  sub-1_T2w  cached',
        '  sub-9: No image.',
        'Nothing was run. 1 scans: 1 cached.',
    ]


@pytest.fixture
def given_to_run(out, call, monkeypatch):
    """Return a function that gives how three scans are run on eight cores, not running them."""
    there = 'secondglance.pipelines.execution'
    monkeypatch.setattr('secondglance.models.device.resolve_device', lambda name: name)
    monkeypatch.setattr(f'{there}.processes.available_cores', lambda: 8)
    monkeypatch.setattr(f'{there}.processes.start_server', lambda modules: None)
    monkeypatch.setattr(f'{there}.cohort.check_worker', lambda worker, arguments: None)

    def _given(device='cpu', **options):
        given = {}

        def run_cohort(jobs, **how):
            given.update(how, jobs=jobs)
            return [ScanResult(job.scan.name, 'done', 1.0) for job in jobs]

        monkeypatch.setattr(f'{there}.cohort.run_cohort', run_cohort)
        execution = Execution(device=device, threads=5)
        jobs = [replace(job_of(out, f'{n}'), execution=execution, recipe='new') for n in range(3)]
        assert call(jobs, **{'nprocs': None, 'mem_gb': None} | options)[0] == 0
        return given

    return _given


@pytest.mark.parametrize(
    ('options', 'at_once', 'threads'),
    [
        ({}, 3, 2),
        ({'nprocs': 2}, 2, 4),
        ({'mem_gb': 2 * MEMORY_GB}, 2, 4),
        # One scan runs however little memory there is
        ({'mem_gb': 0.5 * MEMORY_GB}, 1, 8),
        ({'device': 'cuda:0', 'nprocs': 2}, 1, 8),
    ],
)
def test_as_many_scans_run_at_once_as_cores_memory_and_card_allow(
    given_to_run, options, at_once, threads
):
    given = given_to_run(**options)
    assert (given['worker'], given['at_once'], given['worker_args']) == ('cf', at_once, {})
    assert [job.execution.threads for job in given['jobs']] == [threads] * 3
    assert not any(job.per_attempt for job in given['jobs'])


def test_scans_of_a_batch_system_keep_their_threads_and_have_a_cache_each(given_to_run, tmp_path):
    asked = tmp_path / 'jobs.yml'
    asked.write_text('max_jobs: 7')
    given = given_to_run(worker='slurm', worker_args=asked)
    assert (given['worker'], given['worker_args']) == ('slurm', {'max_jobs': 7})
    assert [(job.execution.threads, job.per_attempt) for job in given['jobs']] == [(5, True)] * 3


def test_of_many_failures_the_first_are_told_and_all_are_in_the_table(call, out):
    lost = [ScanResult(f'sub-{n:03}', 'failed', reason='No image.') for n in range(MOST_SHOWN + 5)]
    code, said = call([], lost)
    assert code == 1
    assert said[1:] == [f'  {one.scan} failed: No image.' for one in lost[:MOST_SHOWN]]
    assert len(table(out)) == len(lost)
