"""What is finished is believed only while its outputs are as they were written."""

import os
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.bids import Scan
from secondglance.files.digests import digest_of
from secondglance.imaging.errors import SurroundingsError
from secondglance.pipelines.execution.records import (
    data_set_name,
    find_record,
    finished_scans,
    image_of_record,
    recipe,
    refuse_edited,
    replacement,
    write_record,
)
from secondglance.pipelines.settings import Method


@pytest.fixture
def finished(tmp_path):
    """Return a scan on record, and its output."""
    image, output = tmp_path / 'sub-01_T2w.nii', tmp_path / 'out' / 'sub-01' / 'mask.nii.gz'
    image.write_bytes(b'voxels')
    output.parent.mkdir(parents=True)
    output.write_bytes(bytes(range(100)))
    scan = Scan(image, {'sub': '01'}, 'T2w', 'anat')
    write_record(tmp_path / 'out', scan, None, 'recipe', outputs=[output], flags=['look'])
    return scan, output


def test_a_finished_scan_is_known(finished, tmp_path):
    assert find_record(tmp_path / 'out', finished[0], None, 'recipe').flags == ('look',)
    assert find_record(tmp_path / 'out', finished[0], None, 'another') is None


@pytest.mark.parametrize('content', [bytes(100), bytes(range(99)), b'', None])
def test_an_output_that_changed_is_not_what_was_written(finished, tmp_path, content):
    scan, output = finished
    about = output.stat()
    if content is None:
        output.unlink()
    else:
        output.write_bytes(content)
        os.utime(output, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert find_record(tmp_path / 'out', scan, None, 'recipe') is None


def test_a_time_stamp_alone_changes_nothing(finished, tmp_path):
    os.utime(finished[1], ns=(1, 1))
    assert find_record(tmp_path / 'out', finished[0], None, 'recipe') is not None


def test_an_edited_output_is_kept_and_flagged(finished, tmp_path):
    scan, output = finished
    refuse_edited(tmp_path / 'out', scan)
    nib.save(nib.Nifti1Image(np.eye(3, dtype=np.uint8)[..., None], np.eye(4)), output)
    flags = find_record(tmp_path / 'out', scan, None, 'recipe').flags
    assert flags == ('look', 'mask.nii.gz was edited by hand and is kept as it is.')
    assert find_record(tmp_path / 'out', scan, None, 'another recipe') is None
    with pytest.raises(SurroundingsError, match=r'mask\.nii\.gz'):
        refuse_edited(tmp_path / 'out', scan)


def test_a_result_of_another_image_at_the_same_path_is_said_to_be_replaced(finished, tmp_path):
    scan, output = finished
    out = tmp_path / 'out'
    assert replacement(tmp_path / 'new', scan) is None
    assert replacement(out, scan) is None
    os.utime(scan.path)
    assert replacement(out, scan) is None
    former = digest_of(scan.path)[:12]
    scan.path.write_bytes(b'other voxels')
    told = replacement(out, scan)
    for part in (str(scan.path), former, digest_of(scan.path)[:12]):
        assert part in told
    # It is still said when the same image is run again with other options
    write_record(out, scan, None, 'another', outputs=[output], replaced=told)
    assert replacement(out, scan) == told


@pytest.mark.parametrize('content', ['no JSON', '[]', '{"key": "x", "outputs": 3}'])
def test_a_record_that_was_spoilt_hides_no_other(finished, tmp_path, content):
    (tmp_path / 'out' / 'logs' / 'a.json').write_text(content)
    assert list(finished_scans(tmp_path / 'out')) == [finished[0].name]


def test_an_atlas_counts_by_the_files_in_its_folder(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'regions.tsv').write_text('index')
    one, other = (recipe(Method(atlas=tmp_path / name)) for name in ('a', 'b'))
    assert one == other
    (tmp_path / 'b' / 'regions.tsv').write_text('index\tname')
    assert recipe(Method(atlas=tmp_path / 'b')) != one
    (tmp_path / 'a' / 'more.tsv').touch()
    more = recipe(Method(atlas=tmp_path / 'a'))
    assert more != one
    (tmp_path / 'a' / 'more.tsv').rename(tmp_path / 'a' / 'names.tsv')
    assert recipe(Method(atlas=tmp_path / 'a')) not in (one, more)


def test_donors_count_by_their_content_wherever_they_lie(tmp_path):
    recipes = []
    for name, content in (('a', b'head'), ('b', b'head'), ('c', b'another head')):
        pair = (tmp_path / f'{name}.nii', tmp_path / f'{name}_mask.nii')
        pair[0].write_bytes(content)
        pair[1].write_bytes(b'mask')
        recipes.append(recipe(Method(donors=(pair,))))
    assert recipes[0] == recipes[1] != recipes[2]


def test_another_image_elsewhere_is_another_although_it_is_as_large_and_as_old(finished, tmp_path):
    scan, _ = finished
    about = scan.path.stat()
    other = tmp_path / 'other' / scan.path.name
    other.parent.mkdir()
    for content, told in ((b'VOXELS', str(scan.path)), (b'voxels', None)):
        other.write_bytes(content)
        os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert image_of_record(tmp_path / 'out', replace(scan, path=other)) == told


def test_another_image_of_the_same_size_is_another(finished, tmp_path):
    scan, _ = finished
    scan.path.write_bytes(b'VOXELS')
    os.utime(scan.path, ns=(2, 2))
    assert find_record(tmp_path / 'out', scan, None, 'recipe') is None


def test_another_image_of_the_same_second_is_another(finished, tmp_path):
    scan, _ = finished
    about = scan.path.stat()
    scan.path.write_bytes(b'VOXELS')
    os.utime(scan.path, ns=(about.st_atime_ns, about.st_mtime_ns ^ 1))
    assert find_record(tmp_path / 'out', scan, None, 'recipe') is None


def test_the_name_of_a_data_set_is_found_above_a_session(tmp_path):
    path = tmp_path / 'ds' / 'sub-1' / 'ses-a' / 'anat' / 'sub-1_ses-a_T2w.nii'
    path.parent.mkdir(parents=True)
    scan = Scan(path, {'sub': '1', 'ses': 'a'}, 'T2w', 'anat')
    (tmp_path / 'dataset_description.json').write_text('{"Name": "of all that is here"}')
    assert data_set_name(scan) == ''
    (tmp_path / 'ds' / 'dataset_description.json').write_text('{"Name": "mine"}')
    assert data_set_name(scan) == 'mine'


def test_the_table_of_the_references_labels_is_an_input(tmp_path):
    image, reference = tmp_path / 'sub-01_T2w.nii', tmp_path / 'sub-01_dseg.nii'
    image.write_bytes(b'voxels')
    reference.write_bytes(b'labels')
    output = tmp_path / 'out' / 'scores.tsv'
    output.parent.mkdir()
    output.write_text('label')
    scan, table = Scan(image, {'sub': '01'}, 'T2w', 'anat'), tmp_path / 'sub-01_dseg.tsv'
    table.write_text('index')
    write_record(tmp_path / 'out', scan, reference, 'recipe', outputs=[output])
    assert find_record(tmp_path / 'out', scan, reference, 'recipe') is not None
    table.write_text('index\tname')
    assert find_record(tmp_path / 'out', scan, reference, 'recipe') is None
