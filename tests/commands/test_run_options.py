"""Every option of ``run`` changes what it names in the job of a scan, and nothing else."""

import dataclasses
import shutil

import pytest

from secondglance.data import donor_paths, regions_path
from secondglance.files.bids import find_donor
from secondglance.files.labels import WITHOUT_TABLE
from secondglance.models.choices import SaliencyOptions
from secondglance.models.weights import (
    default_refinement,
    default_second_glance,
    default_weights,
)
from secondglance.pipelines.execution.processes import available_cores
from secondglance.reports.scan_result import ScanResult
from secondglance.workflows import main


@pytest.fixture
def job_of(example, tmp_path, monkeypatch):
    """Return a function that gives the job of the example rat that options ask for."""
    jobs = []

    def kept(job, console=None):
        jobs.append(job)
        return ScanResult(job.scan.name, 'done', 1.0)

    monkeypatch.setattr('secondglance.pipelines.execution.job.run_job', kept)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('FSLDIR', raising=False)

    def _job_of(*options):
        call = ['run', '--bids-dir', str(example), '--subject', '01', '-o', str(tmp_path / 'out')]
        assert main([*call, *map(str, options)]) == 0
        return jobs[-1]

    return _job_of


@pytest.mark.parametrize(
    ('options', 'changes'),
    [
        (['--motion', 'none'], {'motion': 'none'}),
        (['--voxel-scale', 0.1], {'voxel_scale': 0.1}),
        (['--b0-threshold', 7], {'b0_threshold': 7.0}),
        (['--all-b0'], {'all_b0': True}),
        (['--species', 'mouse'], {'species': 'mouse'}),
        (['--slice-axis', 'j'], {'slice_axis': 'j'}),
        (['--turn', '180'], {'turn': '180'}),
        (['--mask-method', 'similarity'], {'mask_method': 'similarity'}),
        (['--second-glance', 'masked'], {'second_glance': 'masked'}),
        (['--no-regions'], {'regions': False}),
        (['--save-preproc'], {'save_preproc': True}),
        (['--atlas', regions_path('mouse')], {'atlas': regions_path('mouse').resolve()}),
        (['--explain', 'GM', 'WM', 'GM'], {'explain': ('GM', 'WM')}),
        (
            ['--explain', 'GM', '--explain-region', '3,4,5'],
            {'explain': ('GM',), 'explain_region': (3, 4, 5)},
        ),
        (
            [
                *('--saliency', 'gradient', '--target', 'CSF', '--smooth', 3),
                *('--enhance-peak', 1.5, '--enhance-width', 0.25),
            ],
            {'saliency': SaliencyOptions('gradient', 'CSF', 3, 1.5, 0.25)},
        ),
        (
            ['--donor', donor_paths()[1]],
            {'donors': (tuple(p.resolve() for p in find_donor(donor_paths()[1])),)},
        ),
    ],
)
def test_an_option_of_the_method_changes_it_alone(job_of, options, changes):
    plain, asked = job_of(), job_of(*options)
    assert asked.method != plain.method
    assert asked.method == dataclasses.replace(plain.method, **changes)
    assert asked.recipe != plain.recipe
    assert asked.execution == plain.execution


@pytest.mark.parametrize(
    ('option', 'shipped'),
    [
        ('weights', default_weights),
        ('refinement', default_refinement),
        ('second_weights', default_second_glance),
    ],
)
def test_weights_of_ones_own_are_taken_and_count_by_their_content(
    job_of, tmp_path, option, shipped
):
    own = tmp_path / 'own.safetensors'
    shutil.copy(shipped(), own)
    plain, asked = job_of(), job_of(f'--{option.replace("_", "-")}', own)
    assert asked.method == dataclasses.replace(plain.method, **{option: own})
    assert asked.recipe == plain.recipe


@pytest.mark.parametrize(
    ('options', 'changes'),
    [
        (['--device', 'cpu'], {'device': 'cpu'}),
        (
            ['--nprocs', 2, '--slices-per-job', 4],
            {'nprocs': 2, 'slices_per_job': 4, 'threads': max(1, available_cores() // 2)},
        ),
        (['--mem-gb', 3], {'mem_gb': 3.0}),
        (['--plugin', 'Linear'], {'plugin': 'Linear'}),
        (['--verbose'], {'verbose': True}),
        (['--stop-on-first-crash'], {'stop_on_first_crash': True}),
        (['--clean'], {'clean': True}),
    ],
)
def test_an_option_of_the_execution_changes_no_result(job_of, options, changes):
    plain, asked = job_of('--device', 'cpu'), job_of('--device', 'cpu', *options)
    assert asked.execution == dataclasses.replace(plain.execution, **changes)
    assert (asked.method, asked.recipe) == (plain.method, plain.recipe)


def test_folders_and_reference_are_those_of_the_call(job_of, example, tmp_path):
    job = job_of('--work-dir', tmp_path / 'cache')
    truth = 'derivatives/reference/sub-01/dwi/sub-01_dseg.nii.gz'
    assert job.reference == (example / truth).resolve()
    assert job.output_dir == tmp_path / 'out'
    assert job.work_dir.parent == tmp_path / 'cache'
    other = tmp_path / 'truth.nii.gz'
    shutil.copy(example / truth, other)
    assert job_of('--reference', other).reference == other


def test_processes_of_one_scan_are_threads_of_one(job_of):
    job = job_of('--nprocs', 2)
    threads = 2 * max(1, available_cores() // 2)
    assert (job.execution.nprocs, job.execution.threads) == (1, threads)


def test_what_labels_without_a_table_are_read_as_is_told_once(job_of, example, tmp_path, capsys):
    truth = example / 'derivatives/reference/sub-01/dwi/sub-01_dseg.nii.gz'
    job_of()
    assert 'No table' not in capsys.readouterr().err
    alone = tmp_path / 'alone.nii.gz'
    shutil.copy(truth, alone)
    job_of('--reference', alone)
    assert WITHOUT_TABLE.format(path=alone) in capsys.readouterr().err.replace('\n', '')
