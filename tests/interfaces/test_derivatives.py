import gzip
import hashlib
import json
import os
import subprocess
import tempfile

import nibabel as nib
import numpy as np
import pytest
from nipype.pipeline.engine import Node

from secondglance.imaging.errors import InputError, SurroundingsError
from secondglance.interfaces import derivatives
from secondglance.interfaces.derivatives import Publish, publish


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())


def test_files_appear_with_their_content(tmp_path, save):
    image = save(np.ones((3, 3, 3), np.float32), name='in/a.nii')
    out = tmp_path / 'a data set' / 'derivatives' / 'out'
    publish({'sub-01/a.nii.gz': image, 'b.json': b'{}'}, out)
    assert listing(out) == ['b.json', 'sub-01/a.nii.gz']
    np.testing.assert_array_equal(nib.load(out / 'sub-01/a.nii.gz').get_fdata(), 1)


def test_same_result_is_same_bytes(tmp_path, save):
    image = save(np.ones((3, 3, 3), np.float32), name='in/a.nii')
    for folder in ('one', 'two'):
        publish({'a.nii.gz': image}, tmp_path / folder)
        os.utime(image)
    one, two = ((tmp_path / f / 'a.nii.gz').read_bytes() for f in ('one', 'two'))
    assert one == two
    # No time, and no name
    assert one[4:8] == bytes(4)
    assert not one[3]


def test_what_is_published_is_as_old_as_what_it_is_made_of(tmp_path, save):
    image = save(np.ones((3, 3, 3), np.float32), name='in/a.nii')
    os.utime(image, ns=(10**18, 10**18))
    for path in publish({'a.nii.gz': image, 'b.nii': image}, tmp_path / 'out'):
        assert path.stat().st_mtime_ns == 10**18


def test_all_or_nothing(tmp_path, save):
    image = save(np.ones((3, 3, 3), np.float32), name='in/a.nii')
    out = tmp_path / 'out'
    with pytest.raises(InputError, match='cannot be written'):
        publish({'a.nii': image, 'b.nii': tmp_path / 'is_not_there.nii'}, out)
    assert listing(out) == []


def test_deleted_and_edited_outputs_come_back(tmp_path, save):
    image = save(np.ones((3, 3, 3), np.float32), name='in/a.nii')
    out = tmp_path / 'out'
    publish({'a.nii': image, 'b.nii': image}, out)
    (out / 'a.nii').unlink()
    (out / 'b.nii').write_text('edited')
    publish({'a.nii': image, 'b.nii': image}, out)
    assert (out / 'a.nii').read_bytes() == (out / 'b.nii').read_bytes() == image.read_bytes()


def test_what_is_the_same_does_not_keep_what_is_new_from_its_place(tmp_path):
    publish({'a.txt': b'a', 'b.txt': b'b'}, tmp_path, ('sub-1', 'T2w'))
    (tmp_path / 'b.txt').unlink()
    publish({'a.txt': b'a', 'b.txt': b'b', 'c.txt': b'c'}, tmp_path, ('sub-1', 'T2w'))
    assert [(tmp_path / f'{n}.txt').read_text() for n in 'abc'] == ['a', 'b', 'c']


def test_full_disk_is_said_and_leaves_what_was_there(tmp_path, save):
    if os.geteuid() != 0:
        pytest.skip('mounting a small disk needs root')
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('mounting a small disk is not allowed here')
    try:
        small = save(np.ones((3, 3, 3), np.float32), name='in/a.nii')
        large = save(np.ones((40, 40, 40), np.float32), name='in/b.nii')
        publish({'a.nii': small}, disk)
        with pytest.raises(InputError, match='is full'):
            publish({'c.nii': small, 'b.nii': large}, disk)
        assert listing(disk) == ['a.nii']
    finally:
        subprocess.run(['umount', str(disk)], check=True)


def test_description_names_the_version(tmp_path):
    content = derivatives.dataset_files(tmp_path, {})['dataset_description.json']
    assert derivatives.__version__.encode() in content


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path):
    import os
    import time

    old, young = tmp_path / '.secondglance-old', tmp_path / '.secondglance-young'
    for folder in (old, young):
        folder.mkdir()
        (folder / '0').write_text('half')
    # 86,400 s, give or take what the test takes
    os.utime(old, (time.time() - 86_400,) * 2)
    os.utime(young, (time.time() - 86_380,) * 2)
    publish({'a.txt': b'whole'}, tmp_path)
    assert not old.exists()
    assert young.exists()


def test_an_output_of_another_content_is_replaced_whatever_its_time_says(tmp_path):
    source, out = tmp_path / 'a.nii', tmp_path / 'out'
    source.write_bytes(bytes(range(200)))
    [target] = publish({'a.nii.gz': source}, out)
    right, about = target.read_bytes(), target.stat()
    target.write_bytes(bytes(len(right)))
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
    publish({'a.nii.gz': source}, out)
    assert target.read_bytes() == right
    # What is right is left alone
    place = target.stat().st_ino
    publish({'a.nii.gz': source}, out)
    assert target.stat().st_ino == place


SCAN = ('sub-01', 'dwi')


def test_what_a_person_edited_is_kept_and_named(tmp_path, save):
    first, second = (save(np.full((3, 3, 3), v, np.float32), name=f'in/{v}.nii') for v in (1, 2))
    out = tmp_path / 'out'
    publish({'mask.nii.gz': first, 'b.tsv': b'x\n'}, out, SCAN)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), out / 'mask.nii.gz')
    edited = (out / 'mask.nii.gz').read_bytes()
    with pytest.raises(InputError, match=r'mask.nii.gz .*edited by hand'):
        publish({'b.tsv': b'y\n', 'mask.nii.gz': second}, out, SCAN)
    assert (out / 'mask.nii.gz').read_bytes() == edited
    assert (out / 'b.tsv').read_bytes() == b'x\n'
    assert not list(out.glob('.secondglance-*'))


def test_what_was_written_is_replaced_by_another_result(tmp_path, save):
    out = tmp_path / 'out'
    for value in (1, 2, 3):
        image = save(np.full((3, 3, 3), value, np.float32), name=f'in/{value}.nii')
        publish({'mask.nii': image}, out, SCAN)
        assert (out / 'mask.nii').read_bytes() == image.read_bytes()


def test_a_file_of_another_program_is_kept(tmp_path, save):
    image = save(np.ones((3, 3, 3), np.float32), name='out/dseg.nii')
    other = save(np.zeros((3, 3, 3), np.float32), name='in/dseg.nii')
    with pytest.raises(InputError, match=r'dseg\.nii'):
        publish({'dseg.nii': other}, image.parent, SCAN)


def test_a_process_killed_while_it_renames_leaves_nothing_that_looks_edited(
    tmp_path, save, monkeypatch
):
    images = [save(np.full((3, 3, 3), v, np.float32), name=f'in/{v}.nii') for v in (1, 2, 3)]
    out = tmp_path / 'out'
    publish({'a.nii': images[0], 'b.nii': images[0]}, out, SCAN)
    rename = os.replace

    def killed(source, target):
        if str(target).endswith('b.nii'):
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(derivatives.os, 'replace', killed)
        with pytest.raises(KeyboardInterrupt):
            publish({'a.nii': images[1], 'b.nii': images[1]}, out, SCAN)
    publish({'a.nii': images[2], 'b.nii': images[2]}, out, SCAN)
    assert {p.read_bytes() for p in out.glob('*.nii')} == {images[2].read_bytes()}


def test_what_a_person_added_to_the_description_is_kept(tmp_path):
    path = tmp_path / 'dataset_description.json'
    path.write_bytes(derivatives.dataset_files(tmp_path, {})['dataset_description.json'])
    added = {'Authors': ['A. Person'], 'Name': 'masks of our rats', 'GeneratedBy': []}
    path.write_text(json.dumps({**json.loads(path.read_text()), **added}))
    content = json.loads(derivatives.dataset_files(tmp_path, {})['dataset_description.json'])
    assert content['Authors'] == ['A. Person']
    assert content['Name'] == 'masks of our rats'
    assert content['GeneratedBy'][0]['Name'] == 'secondglance'


def test_what_another_attempt_writes_meanwhile_is_not_taken_for_a_persons(
    tmp_path, save, monkeypatch
):
    first, second, third = (
        save(np.full((3, 3, 3), v, np.float32), name=f'in/{v}.nii') for v in (1, 2, 3)
    )
    out = tmp_path / 'out'
    publish({'mask.nii': first}, out, SCAN)
    make_folder = tempfile.mkdtemp

    def other(**how):
        monkeypatch.setattr(tempfile, 'mkdtemp', make_folder)
        publish({'mask.nii': second}, out, SCAN)
        return make_folder(**how)

    monkeypatch.setattr(tempfile, 'mkdtemp', other)
    publish({'mask.nii': third}, out, SCAN)
    assert (out / 'mask.nii').read_bytes() == third.read_bytes()


def test_a_scan_is_published_with_side_cars_of_what_is_there(tmp_path, save):
    image = save(np.ones((3, 3, 3), np.float32), name='in/mask.nii')
    (tmp_path / 'in/pose.json').write_text('{"Species": "rat", "Threshold": 2}')
    figures = tmp_path / 'in/figures'
    figures.mkdir()
    (figures / 'b.png').write_bytes(b'b')
    (figures / 'a.png').write_bytes(b'a')
    (tmp_path / 'in/sub-1.html').write_text('report')
    out = tmp_path / 'out'
    publish_scan = Publish(
        {'mask': 'mask.nii.gz', 'about': 'pose.json', 'other': 'dseg.nii.gz'},
        output_dir=str(out),
        folder='sub-1/anat',
        stem='sub-1_desc-x',
        suffix='T2w',
        sidecars={
            'dseg.json': {'of': 'nothing'},
            'mask.json': {'Type': 'Brain'},
            'pose.json': {'Threshold': 1, 'Units': 'mm'},
        },
        texts={'logs/a.toml': 'µ = 1'},
        dataset_links={'raw': str(tmp_path)},
        report=str(tmp_path / 'in/sub-1.html'),
        report_figures=str(figures),
    )
    publish_scan.inputs.mask = str(image)
    publish_scan.inputs.about = str(tmp_path / 'in/pose.json')
    found = publish_scan.run().outputs
    assert [name for name in listing(out) if name.startswith('sub-1/anat/')] == [
        'sub-1/anat/sub-1_desc-x_mask.json',
        'sub-1/anat/sub-1_desc-x_mask.nii.gz',
        'sub-1/anat/sub-1_desc-x_pose.json',
    ]
    assert [name[-5:] for name in listing(out) if name.endswith('.png')] == ['a.png', 'b.png']
    # A report that is there speaks of files that are there
    assert found.report == found.out_files[-1] == str(out / 'sub-1.html')
    assert {name for name in listing(out) if not name.startswith('logs/')} | {'logs/a.toml'} == {
        os.path.relpath(path, out) for path in found.out_files
    }
    # What was found of the scan takes precedence over what is known beforehand
    about = json.loads((out / 'sub-1/anat/sub-1_desc-x_pose.json').read_text())
    assert about == {'Threshold': 2, 'Units': 'mm', 'Species': 'rat'}
    assert json.loads((out / 'sub-1/anat/sub-1_desc-x_mask.json').read_text()) == {'Type': 'Brain'}
    assert (out / 'logs/a.toml').read_text(encoding='utf-8') == 'µ = 1'
    description = json.loads((out / 'dataset_description.json').read_text())
    assert description['DatasetLinks'] == {'raw': '..'}


def test_links_of_data_sets_are_relative_from_inside_and_whole_from_elsewhere(tmp_path):
    made = derivatives.dataset_files(
        tmp_path / 'raw/derivatives/x', {'raw': str(tmp_path / 'raw'), 'b': str(tmp_path / 'b')}
    )
    links = json.loads(made['dataset_description.json'])['DatasetLinks']
    assert links == {'raw': '../..', 'b': (tmp_path / 'b').as_uri()}


def test_what_is_described_is_written_to_the_letter(tmp_path, monkeypatch):
    monkeypatch.setattr(derivatives, '__version__', '1.2.3')
    made = derivatives.dataset_files(tmp_path, {})
    assert list(made) == ['dataset_description.json', '.bidsignore']
    assert made['dataset_description.json'].decode() == (
        '{\n  "Name": "secondglance: rodent brain tissue segmentation",\n'
        '  "BIDSVersion": "1.10.0",\n  "DatasetType": "derivative",\n  "GeneratedBy": [\n'
        '    {\n      "Name": "secondglance",\n      "Version": "1.2.3"\n    }\n  ]\n}\n'
    )
    ignored = (
        '*.html cohort.* figures *_xfm.* *_saliency.* *_timeseries.* *_slices.* *_volumes.* '
        '*_scores.* *_head.* *_boldref.* *.bval *.bvec'
    )
    assert made['.bidsignore'].decode() == ignored.replace(' ', '\n') + '\n'


def test_lines_of_a_person_come_first_and_none_twice(tmp_path):
    (tmp_path / '.bidsignore').write_text('mine/\n*.html\nÄ*', encoding='utf-8')
    lines = derivatives.dataset_files(tmp_path, {})['.bidsignore'].decode().splitlines()
    assert lines[:4] == ['mine/', '*.html', 'Ä*', 'cohort.*']
    assert len(lines) == len(set(lines)) == 15
    # What is no text counts as nothing
    (tmp_path / '.bidsignore').write_bytes(b'\xff\xfe')
    assert derivatives.dataset_files(tmp_path, {})['.bidsignore'].startswith(b'*.html\n')


@pytest.mark.parametrize(
    ('known', 'given', 'links'),
    [
        ({'mine': 'x'}, {}, {'mine': 'x'}),
        ({'mine': 'x', 'raw': 'old'}, {'raw': '.'}, {'mine': 'x', 'raw': '.'}),
        ('nonsense', {'raw': '.'}, {'raw': '.'}),
        (['a'], {}, ['a']),
    ],
)
def test_links_of_a_person_stay_beside_those_of_the_scan(tmp_path, known, given, links):
    path = tmp_path / 'dataset_description.json'
    path.write_text(json.dumps({'DatasetLinks': known, 'DatasetType': 'raw', 'Ä': 'ö'}))
    roots = {name: str(tmp_path / root) for name, root in given.items()}
    text = derivatives.dataset_files(tmp_path, roots)['dataset_description.json'].decode()
    found = json.loads(text)
    assert found['DatasetLinks'] == links
    assert (found['DatasetType'], found['BIDSVersion']) == ('derivative', '1.10.0')
    assert '"Ä": "ö"' in text


def test_files_are_compressed_where_their_name_says_so_and_they_are_not(tmp_path, rng):
    plain, packed = tmp_path / 'a.nii', tmp_path / 'b.nii.gz'
    # A random walk, of which each level of compression makes another file
    content = np.cumsum(rng.integers(-1, 2, 20_000)).astype('i2').tobytes()
    assert len({len(gzip.compress(content, level)) for level in (5, 6, 7)}) == 3
    plain.write_bytes(content)
    packed.write_bytes(b'as it is')
    out = tmp_path / 'out'
    files = {'a.nii.gz': plain, 'b.nii.gz': packed, 'c.nii': plain, 'd.gz': content}
    assert publish(files, out) == [out / name for name in files]
    assert (out / 'a.nii.gz').read_bytes() == gzip.compress(content, 6, mtime=0)
    assert (out / 'b.nii.gz').read_bytes() == b'as it is'
    assert (out / 'c.nii').read_bytes() == (out / 'd.gz').read_bytes() == content


def test_what_was_published_of_a_scan_is_listed_by_its_digest(tmp_path):
    publish({'b.txt': b'abc', 'x/a.txt': b'a', '.bidsignore': b'*'}, tmp_path, SCAN)
    path = tmp_path / 'logs' / 'sub-01_dwi_files.json'
    listed = json.loads(path.read_text())
    assert listed == {
        name: [hashlib.sha256(content).hexdigest()]
        for name, content in (('b.txt', b'abc'), ('x/a.txt', b'a'))
    }
    # What an earlier attempt wrote stays known
    publish({'c.txt': b'c'}, tmp_path, SCAN)
    assert list(json.loads(path.read_text())) == ['b.txt', 'x/a.txt', 'c.txt']
    # Without a scan nothing is listed
    publish({'a.txt': b'a'}, tmp_path / 'other')
    assert listing(tmp_path / 'other') == ['a.txt']


def test_files_of_all_scans_are_replaced_whoever_wrote_them(tmp_path):
    for name in ('dataset_description.json', '.bidsignore', 'a.txt'):
        (tmp_path / name).write_text('a person')
    publish({'dataset_description.json': b'{}', '.bidsignore': b'*'}, tmp_path, SCAN)
    assert (tmp_path / 'dataset_description.json').read_bytes() == b'{}'
    with pytest.raises(SurroundingsError, match='edited by hand'):
        publish({'a.txt': b'a'}, tmp_path, SCAN)


def test_a_place_that_cannot_be_written_is_named_with_the_systems_words(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(SurroundingsError) as caught:
        publish({'a.txt': b'a'}, tmp_path / 'file' / 'out')
    out = tmp_path / 'file' / 'out'
    assert str(caught.value) == (
        f'{out} cannot be written (Not a directory): choose another --output-dir.'
    )


def test_citations_and_texts_lie_in_the_logs_and_nothing_that_is_not_there(tmp_path):
    for name in ('a.md', 'a.bib'):
        (tmp_path / name).write_text(name)
    node = Publish(
        {'mask': 'mask.nii.gz'},
        output_dir=str(tmp_path / 'out'),
        folder='sub-1/anat',
        stem='sub-1',
        suffix='T2w',
        sidecars={'mask.json': {'a': 1}, 'log.json': {'b': 2}},
        texts={'sub-1/anat/sub-1_log.txt': 'a', 'sub-1/anat/sub-1_log.json': '{"c": 3}'},
        citation_md=str(tmp_path / 'a.md'),
        citation_bib=str(tmp_path / 'a.bib'),
    )
    found = node.run().outputs
    out = tmp_path / 'out'
    names = [os.path.relpath(path, out) for path in found.out_files]
    assert names == [
        'sub-1/anat/sub-1_log.txt',
        'sub-1/anat/sub-1_log.json',
        'dataset_description.json',
        '.bidsignore',
        'logs/sub-1_T2w_CITATION.md',
        'logs/sub-1_T2w_CITATION.bib',
    ]
    assert (out / names[4]).read_text() == 'a.md'
    assert (out / names[5]).read_text() == 'a.bib'
    assert (out / names[1]).read_text() == '{\n  "b": 2\n}\n'
    assert found.report == found.out_files[-1]


def test_nothing_is_left_beside_what_was_published(tmp_path, monkeypatch):
    seen = []
    rename = os.replace

    def watched(source, target):
        seen.append(os.path.relpath(source, tmp_path))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(derivatives.os, 'replace', watched)
        publish({'a.txt': b'a', 'b/c.txt': b'b'}, tmp_path)
    assert [name.split('/')[0][:14] for name in seen] == ['.secondglance-'] * 2
    assert listing(tmp_path) == ['a.txt', 'b/c.txt']
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.txt', 'b']


def test_what_was_deleted_since_comes_back_though_nothing_else_changed(tmp_path):
    """A node that is found in the cache would leave the folder as it is."""
    image = tmp_path / 'mask.nii'
    image.write_bytes(b'a mask')
    out = tmp_path / 'out'
    for _ in range(2):
        given = {'output_dir': str(out), 'folder': 'sub-1', 'stem': 'sub-1', 'suffix': 'T2w'}
        node = Node(Publish({'mask': 'mask.nii'}, **given), name='publish', base_dir=tmp_path)
        node.inputs.mask = str(image)
        node.run()
        assert (out / 'sub-1/sub-1_mask.nii').read_bytes() == b'a mask'
        (out / 'sub-1/sub-1_mask.nii').unlink()
