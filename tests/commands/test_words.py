"""What the words of a call mean."""

import re
from pathlib import Path

import pytest

from secondglance.commands.words import parse_run
from secondglance.imaging.errors import InputError
from secondglance.workflows import build_parser, main


@pytest.fixture
def parse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'ds').mkdir()
    (tmp_path / 'ds/rat.nii').touch()
    return lambda text: parse_run(build_parser(), text.split())


@pytest.mark.parametrize(
    'call',
    [
        'rat.nii.gz -o out',
        '-o out rat.nii.gz',
        '-o out --image rat.nii.gz',
        '--output_dir=out rat.nii.gz',
        '--nprocs 2 rat.nii.gz -o out -v',
    ],
)
def test_files_alone_are_images_wherever_the_options_stand(parse, call):
    args = parse(call)
    assert args.image == [Path('rat.nii.gz')]
    assert args.output_dir == Path('out')
    assert not args.subject


def test_a_name_may_end_with_an_equals_sign(parse):
    assert parse('rat.nii.gz -o results=').output_dir == Path('results=')


@pytest.mark.parametrize(
    'call',
    [
        'ds out participant --participant-label 01 02 --work-dir w',
        'ds out participant --participant_label 01 02 --work_dir w',
        '--work-dir w ds out participant --participant_label 01 02',
        '--work_dir=w --skip_bids_validation ds out participant --subject 01 02',
        '--work-dir w --participant-label 01 02 ds out participant',
        '--participant_label 01 02 --work_dir w ds out participant',
        '-w w ds out participant --participant-label 01 02',
        'ds out --work-dir w participant --participant 01 02',
    ],
)
def test_a_bids_app_is_called_with_options_anywhere(parse, call):
    args = parse(call)
    assert (args.bids_dir, args.output_dir) == (Path('ds'), Path('out'))
    assert args.subject == ['01', '02']
    assert args.work_dir == Path('w')
    assert not args.group
    assert not args.image


def test_without_labels_all_participants_are_meant(parse):
    assert parse('ds out participant').subject == ['all']
    assert parse('--session_label pre post --motion none ds out participant').session


def test_the_group_level_is_recognised(parse):
    assert parse('ds out group').group
    assert parse('--work-dir w ds out group').group


def test_every_long_option_may_be_written_with_underscores():
    parser = build_parser()
    names = set(re.findall(r'--\w+(?:-\w+)+', parser.format_help()))
    assert {'--bids-dir', '--slices-per-job'} <= names
    for name in names:
        word = '--' + name[2:].replace('-', '_') + '=a_b-c'
        assert parser.hyphened(word) == f'{name}=a_b-c'
    assert parser.hyphened('my_rat.nii') == 'my_rat.nii'


@pytest.mark.parametrize(
    ('call', 'says'),
    [
        ('', 'give an image, or --subject'),
        ('ds out session', 'Level session'),
        ('ds out', 'ds is a folder'),
        ('ds', 'ds is a folder'),
        ('rat.nii --subject 01', 'two calls'),
        ('ds out participant --image rat.nii', 'no data set'),
        ('example a b', 'example is a call of its own'),
        ('example ds/rat.nii', 'example is a call of its own'),
        ('rat.nii.gz out', 'write -o out'),
        ('rat.nii.gz ds', 'write -o ds'),
    ],
)
def test_words_that_contradict_each_other_are_refused(parse, call, says):
    with pytest.raises(InputError, match=says):
        parse(call)


def test_the_example_is_a_call(parse):
    args = parse('example -o out')
    assert args.example == Path('example')
    assert args.subject == ['sub-01']
    assert parse('--nprocs 2 example mine --subject 02').example == Path('mine')
    assert parse('rat.nii.gz').example is None


def test_a_file_whose_name_begins_with_a_hyphen_is_a_file(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / '-rat_1.nii').touch()
    assert parse('-rat_1.nii -o out').image == [Path('-rat_1.nii')]
    assert parse('--image -rat_1.nii').image == [Path('-rat_1.nii')]
    assert parse('-o out -- -rat_1.nii').image == [Path('-rat_1.nii')]


@pytest.mark.parametrize('call', [['--subject', ''], ['ds', 'out', 'participant', '--run='], ['']])
def test_an_empty_argument_is_no_choice(call, capsys):
    assert main(call) == 2
    assert 'is empty: is a variable unset?' in capsys.readouterr().err


def test_the_version_names_the_weights(capsys):
    from secondglance.models.weights import default_weights, read_header

    assert main(['--version']) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith('secondglance ')
    assert f'  default.safetensors  {read_header(default_weights())["checksum"]}' in told[1:]
    assert len(told) == 4


def test_group_level_of_an_empty_folder_is_refused(parse, capsys):
    assert main(['ds', 'out', 'group']) == 2
    assert capsys.readouterr().err.count('\n') == 1
