import json

import pytest

from secondglance.commands.folders import check_output, place_work, writable
from secondglance.imaging.errors import InputError


@pytest.fixture
def study(tmp_path):
    root = described(tmp_path / 'ds', Name='mine')
    (root / 'sub-01' / 'anat').mkdir(parents=True)
    (root / 'sub-01' / 'anat' / 'sub-01_T2w.nii.gz').touch()
    return root


def described(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'dataset_description.json').write_text(json.dumps(content))
    return folder


OURS = {'GeneratedBy': [{'Name': 'secondglance'}]}


@pytest.mark.parametrize('inside', ['', 'sub-01', 'out', 'derivatives'])
def test_raw_data_is_no_output_folder_even_where_we_simulated_it(study, inside):
    described(study, DatasetType='raw', **OURS)
    with pytest.raises(InputError, match='--output-dir'):
        check_output(study / inside, None, None)


def test_a_new_folder_of_derivatives_is_taken(study):
    for bids_dir in (None, study):
        check_output(study / 'derivatives' / 'secondglance', bids_dir, None)
    made = described(study / 'derivatives/secondglance', DatasetType='derivative', **OURS)
    (made / 'sub-01').mkdir()
    (made / 'sub-01' / 'mask.nii.gz').touch()
    (made / 'logs').mkdir()
    (made / 'logs' / 'sub-01_dwi.json').touch()
    check_output(made, None, None)


@pytest.mark.parametrize('content', [None, {'DatasetType': 'derivative', **OURS}])
def test_labels_that_were_drawn_are_no_output_folder(study, content):
    folder = study / 'derivatives' / 'manual'
    (folder / 'sub-01').mkdir(parents=True)
    (folder / 'sub-01' / 'sub-01_dseg.nii.gz').touch()
    if content:
        described(folder, **content)
    for chosen in (folder, folder / 'new'):
        with pytest.raises(InputError, match='manual, which holds images'):
            check_output(chosen, None, None)


def test_derivatives_of_another_program_are_no_output_folder(study):
    made = described(
        study / 'derivatives/x', DatasetType='derivative', GeneratedBy=[{'Name': 'x'}]
    )
    with pytest.raises(InputError, match='did not write'):
        check_output(made, study, None)


@pytest.mark.parametrize('inside', ['', 'work', 'sub-01/anat', 'derivatives'])
def test_a_cache_among_raw_data_is_refused_with_a_better_place(study, inside):
    out = study / 'derivatives' / 'secondglance'
    for bids_dir in (None, study):
        with pytest.raises(InputError, match=r'raw data .*ds: .* such as .*/secondglance-work'):
            place_work(study / inside, out, bids_dir, None)


def test_a_link_into_raw_data_is_followed(study, tmp_path):
    (tmp_path / 'link').symlink_to(study / 'sub-01')
    with pytest.raises(InputError, match=r'--work-dir .*ds/sub-01/work lies in the raw data'):
        place_work(tmp_path / 'link' / 'work', tmp_path / 'out', None, None)


def test_a_cache_among_references_is_refused(study, tmp_path):
    drawn = study / 'derivatives' / 'manual'
    drawn.mkdir(parents=True)
    with pytest.raises(InputError, match='lies in the reference'):
        place_work(drawn / 'work', tmp_path / 'out', study, drawn)


def test_a_cache_may_lie_in_derivatives_and_outside(study, tmp_path):
    for place in (study / 'derivatives' / 'work', tmp_path / 'work'):
        assert place_work(place, tmp_path / 'out', study, None) == place


def test_in_a_folder_of_raw_data_the_usual_cache_lies_beside_the_results(
    study, tmp_path, monkeypatch
):
    monkeypatch.chdir(study / 'sub-01')
    assert place_work(None, tmp_path / 'out', None, None) == tmp_path / 'out-work'
    monkeypatch.chdir(tmp_path)
    assert place_work(None, tmp_path / 'out', study, None) == tmp_path / 'work'


def test_a_folder_that_was_made_and_stays_empty_is_removed(tmp_path):
    (tmp_path / 'there').mkdir()
    with writable(tmp_path / 'there', '-o'), writable(tmp_path / 'a' / 'b', '-o'):
        assert (tmp_path / 'a' / 'b').is_dir()
    assert list(tmp_path.iterdir()) == [tmp_path / 'there']
    with pytest.raises(ZeroDivisionError), writable(tmp_path / 'a' / 'b', '-o'):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [tmp_path / 'there']


def test_what_a_call_wrote_stays_with_its_folder(tmp_path):
    with writable(tmp_path / 'a' / 'b', '-o'):
        (tmp_path / 'a' / 'result').touch()
    assert [p.name for p in (tmp_path / 'a').iterdir()] == ['result']
