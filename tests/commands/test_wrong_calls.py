"""A wrong call ends in one sentence on stderr, without a traceback and without a file."""

import json
import os
import shlex

import nibabel as nib
import numpy as np
import pytest

from secondglance.models.unet import UNet
from secondglance.models.weights import REFINEMENT, save_weights
from secondglance.workflows import main

AFFINE = np.diag([0.25, 0.25, 1.0, 1.0])


def save(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(voxels, np.float32), affine), path)
    return path


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Make a folder with all that wrong calls name."""
    here = tmp_path_factory.mktemp('wrong calls')
    noise = np.random.default_rng(7).normal(100, 10, (60, 60, 9))
    rat = save(here / 'rat.nii.gz', noise).read_bytes()
    (here / 'cut.nii.gz').write_bytes(rat[: len(rat) // 2])
    (here / 'empty.nii.gz').touch()
    (here / 'text.nii').write_text('no image')
    (here / 'zip.nii.gz').write_bytes(b'PK\3\4' + bytes(100))
    (here / '+.nii.gz').write_bytes(rat)
    (here / 'folder.nii.gz').mkdir()
    save(here / 'flat.nii.gz', np.ones((60, 60, 9)))
    save(here / 'nan.nii.gz', np.full((60, 60, 9), np.nan))
    save(here / 'mask.nii.gz', noise > 100)
    save(here / 'labels.nii.gz', np.arange(10).repeat(6)[:, None, None] + np.zeros((60, 60, 9)))
    save(here / 'tiny.nii.gz', noise[:4, :4])
    save(here / 'series.nii.gz', noise[..., None].repeat(3, -1))
    save(here / 'two-d.nii.gz', noise[..., 0])
    (here / 'link.nii.gz').symlink_to('.git/annex/objects/none')
    (here / 'pointer.nii.gz').write_text('/annex/objects/SHA256E-s1--0.nii.gz\n')
    (here / 'rat.mgz').write_bytes(bytes(range(1, 200)))
    for label in ('01', '02'):
        (save(here / f'ds/sub-{label}/anat/sub-{label}_T2w.nii.gz', noise + int(label)))
        save(here / f'ds/sub-{label}/ses-a/anat/sub-{label}_ses-a_T1w.nii.gz', noise)
        save(here / f'ds/derivatives/manual/sub-{label}/anat/sub-{label}_dseg.nii.gz', noise > 100)
    described = '{"Name": "mine", "BIDSVersion": "1.10.0"}'
    (here / 'ds/dataset_description.json').write_text(described)
    save(here / 'ds/sub-03/anat/sub-04_T2w.nii.gz', noise)
    save(here / 'ds/sub-05/anat/sub-05_acq-my scan_T2w.nii.gz', noise)
    for gz in ('', '.gz'):
        save(here / f'ds/sub-06/anat/sub-06_T2w.nii{gz}', noise)
    (here / 'ds/sub-07').mkdir()
    other = {'Name': 'x', 'DatasetType': 'derivative', 'GeneratedBy': [{'Name': 'other'}]}
    (here / 'other').mkdir()
    (here / 'other/dataset_description.json').write_text(json.dumps(other))
    (here / 'bare/sub-01/anat').mkdir(parents=True)
    (here / 'nothing').mkdir()
    i, j, k = np.indices((24, 26, 20))
    brain = ((i - 12) / 9) ** 2 + ((j - 13) / 11) ** 2 + ((k - 10) / 7) ** 2 < 1
    for n, tissue in enumerate(('wm', 'gm', 'csf')):
        save(here / f'atlas/{tissue}.nii', brain & (i % 3 == n), np.diag([0.6, 0.6, 0.6, 1]))
    (here / 'file').write_text('a file')
    (here / 'list.yml').write_text('- a\n- b\n')
    (here / 'jobs.yml').write_text('max_jobs: 0')
    (here / 'bad.yml').write_text('{')
    (here / 'bad.json').write_text('{')
    (here / 'colour.json').write_text('{"T2w": {"colour": "red"}}')
    (here / 'none.json').write_text('{"T2w": {"run": 9}}')
    (here / 'x.safetensors').write_bytes(bytes(64))
    # A network that nothing says how far to trust
    save_weights(UNet((2, 4), 14, 1), here / 'uncalibrated.safetensors', None, REFINEMENT)
    (here / 'pickle.pt').write_bytes(b'\x80\x04K\x01.')
    return here


T2W = '--subject 01 --bids-dir ds --suffix T2w'

WRONG = f"""
run
--no-such-option
rat.nii.gz --no-such-option
rat.nii.gz --motion
rat.nii.gz --motion mine
rat.nii.gz --motion=
rat.nii.gz --species cat
rat.nii.gz --slice-axis z
rat.nii.gz --turn 45
rat.nii.gz --mask-method none
rat.nii.gz --second-glance third
rat.nii.gz --saliency magic
rat.nii.gz --target CSFF
rat.nii.gz --explain fat
rat.nii.gz --explain
rat.nii.gz --nprocs two
rat.nii.gz --nprocs 0
rat.nii.gz --nprocs -3
rat.nii.gz --nprocs 1.5
rat.nii.gz --slices-per-job -1
rat.nii.gz --slices-per-job many
rat.nii.gz --mem-gb 0
rat.nii.gz --mem-gb nan
rat.nii.gz --mem-gb inf
rat.nii.gz --mem-gb much
rat.nii.gz --smooth -1
rat.nii.gz --smooth 1.5
rat.nii.gz --enhance-peak nan
rat.nii.gz --enhance-peak inf
rat.nii.gz --enhance-peak two
rat.nii.gz --enhance-width 0
rat.nii.gz --enhance-width -1
rat.nii.gz --enhance-width nan
rat.nii.gz --enhance-width inf
rat.nii.gz --b0-threshold -5
rat.nii.gz --b0-threshold nan
rat.nii.gz --b0-threshold inf
rat.nii.gz --voxel-scale 0
rat.nii.gz --voxel-scale -10
rat.nii.gz --voxel-scale nan
rat.nii.gz --device tpu
rat.nii.gz --device cuda:x
rat.nii.gz --device 'cuda:'
rat.nii.gz --device ''
rat.nii.gz --weights nowhere.safetensors
rat.nii.gz --weights x.safetensors
rat.nii.gz --weights pickle.pt
rat.nii.gz --weights nothing
rat.nii.gz --refinement x.safetensors
rat.nii.gz --refinement nowhere
rat.nii.gz --refinement uncalibrated.safetensors
rat.nii.gz --second-weights x.safetensors
rat.nii.gz --second-weights nowhere
rat.nii.gz --donor nowhere
rat.nii.gz --donor nothing
rat.nii.gz --donor file
rat.nii.gz --atlas nowhere
rat.nii.gz --atlas nothing
rat.nii.gz --reference nowhere
rat.nii.gz --explain-region 1,2,3
rat.nii.gz --explain WM --explain-region nowhere.nii
rat.nii.gz --explain WM --explain-region 1,2
rat.nii.gz --plugin-args nowhere.yml
rat.nii.gz --plugin-args bad.yml
rat.nii.gz --plugin-args list.yml
rat.nii.gz --plugin-args nothing
rat.nii.gz flat.nii.gz --worker-args bad.yml
rat.nii.gz flat.nii.gz --worker horse
rat.nii.gz --plugin Horse
rat.nii.gz --plugin ''
rat.nii.gz flat.nii.gz --worker-args list.yml
rat.nii.gz flat.nii.gz --worker slurm --worker-args jobs.yml
rat.nii.gz 'm[/b].nii.gz' --motion 'm[/b]'
'm[/b]' participant
rat.nii.gz --suffix '**'
rat.nii.gz --suffix ''
rat.nii.gz --suffix a/b
rat.nii.gz --session 1
rat.nii.gz --run 1
rat.nii.gz --bids-filter-file colour.json
rat.nii.gz --subject 01
rat.nii.gz flat.nii.gz --reference rat.nii.gz
rat.nii.gz -o /proc/none
rat.nii.gz -o file
rat.nii.gz -o file/below
rat.nii.gz -o ds
rat.nii.gz -o ds/sub-01
rat.nii.gz -o ds/derivatives
rat.nii.gz -o ds/derivatives/manual
rat.nii.gz -o ds/derivatives/manual/new
rat.nii.gz -o other
rat.nii.gz -o other/below
rat.nii.gz --work-dir file
rat.nii.gz --work-dir /proc/none
rat.nii.gz --work-dir ds
rat.nii.gz --work-dir ds/sub-01/anat/work
rat.nii.gz --suffix mask
labels.nii.gz --suffix dseg
rat.nii.gz --output_dir file
rat.nii.gz nothing/../rat.nii.gz ds/../rat.nii.gz --reference nowhere
folder.nii.gz
+.nii.gz
--image +.nii.gz
--image
--subject
--subject 01 --bids-dir nowhere
--subject 01 --bids-dir file
--subject 01 --bids-dir nothing
--subject all --bids-dir nothing
--subject all --bids-dir nowhere
--subject 09 --bids-dir ds
--subject sub-09 --bids-dir ds
--subject ../../etc --bids-dir ds
--subject '' --bids-dir ds
--subject '0 1' --bids-dir ds
--subject 01 --bids-dir ds
--subject 01 --bids-dir ds --suffix bold
--subject 01 --bids-dir ds --suffix '[a-z]'
--subject 03 --bids-dir ds --suffix T2w
--subject 05 --bids-dir ds --suffix T2w
--subject 06 --bids-dir ds --suffix T2w
--subject 07 --bids-dir ds --suffix T2w
--subject 01 --bids-dir ds --suffix T1w --session b
--subject 01 --bids-dir ds --suffix T1w --session b c
{T2W} --run 2
{T2W} --session
{T2W} --output-dir ds
{T2W} --output-dir ds/sub-01/out
{T2W} --output-dir ds/derivatives
{T2W} --output-dir ds/derivatives/manual
{T2W} --reference ds/derivatives/manual --output-dir ds/derivatives/manual/x
{T2W} --reference nowhere
{T2W} --bids-filter-file nowhere.json
{T2W} --bids-filter-file bad.json
{T2W} --bids-filter-file colour.json
{T2W} --bids-filter-file none.json
{T2W} --bids-filter-file nothing
--subject 01 02 --bids-dir ds --suffix T2w --reference rat.nii.gz
{T2W} --image rat.nii.gz
ds
ds out
ds out subject
ds out participants
ds out group
ds out group --participant-label 01
nowhere out participant
file out participant
ds out participant extra
ds out participant --participant-label
ds out participant --participant_label 09
ds out participant --participant-label=../x
ds ds participant --suffix T2w
ds out participant --suffix T2w --bids-filter-file bad.json
example rat.nii.gz
example ds
example one two
rat.nii.gz out
rat.nii.gz ds
completion
completion csh
label
label --bids-dir nowhere
label --bids-dir nothing
label --bids-dir ds --subject 09
label --bids-dir ds --species cat
label --bids-dir ds --suffix '**'
train
train --output
train --output w.safetensors --recipe magic
train --output w.pt
train --output w.safetensors --atlas atlas --steps 0
train --output w.safetensors --steps many
train --output w.safetensors --device tpu
train --output w.safetensors --bids-dir nowhere
train --output w.safetensors --atlas nothing
train --output w.safetensors --atlas atlas --init-weights x.safetensors --recipe fine-tune
evaluate --bids-dir nowhere
evaluate --bids-dir nothing
evaluate --weights x.safetensors
evaluate --device tpu
evaluate --animals 0
evaluate --animals none
evaluate --bids-dir ds --subject 09
simulate
simulate --output out --subjects 0
simulate --output out --subjects many
simulate --output out --atlas nothing
simulate --output out --snr nan
simulate --output out --motion-mm -1
simulate --output out --b0-volumes 0
simulate --output ds
simulate --output file
sanity-check --image nowhere.nii
sanity-check --image cut.nii.gz
sanity-check --weights x.safetensors
sanity-check --saliency magic
sanity-check --device tpu
sanity-check --donor nothing
""".strip().splitlines()
"""Of each, the whole call is wrong: exit code 2."""

FAILED = """
nowhere.nii.gz
'no[/b]where.nii.gz'
cut.nii.gz
empty.nii.gz
text.nii
zip.nii.gz
flat.nii.gz
nan.nii.gz
mask.nii.gz
labels.nii.gz
tiny.nii.gz
series.nii.gz
two-d.nii.gz
link.nii.gz
pointer.nii.gz
rat.mgz
file
rat.nii.gz --reference cut.nii.gz
rat.nii.gz --reference tiny.nii.gz
rat.nii.gz --explain WM --explain-region 99,0,0
rat.nii.gz --explain WM --explain-region tiny.nii.gz
--subject 01 --bids-dir ds --suffix T2w --reference series.nii.gz
""".strip().splitlines()
"""Of each, the scan cannot be used: exit code 1."""


def files_below(folder):
    return {
        str(path): path.stat().st_mtime_ns
        for path in folder.rglob('*')
        if path.is_file() and 'work' not in path.relative_to(folder).parts
    }


@pytest.fixture
def call(place, monkeypatch, capfd):
    """Return a function that runs a call and gives its code and what it printed."""
    monkeypatch.chdir(place)
    for name in list(os.environ):
        if name.startswith('SECONDGLANCE_'):
            monkeypatch.delenv(name)

    def _call(words):
        before = files_below(place)
        code = main(shlex.split(words))
        assert files_below(place) == before
        return code, capfd.readouterr()

    return _call


@pytest.mark.parametrize('words', WRONG)
def test_a_wrong_call_is_one_sentence(call, words):
    code, said = call(words)
    assert code == 2, said.err
    assert said.out == ''
    assert said.err.startswith('secondglance: ')
    assert said.err.rstrip().endswith(('.', '?'))
    assert said.err.count('\n') == 1


@pytest.mark.parametrize('words', FAILED)
def test_a_scan_that_cannot_be_used_is_one_sentence(call, words):
    code, said = call(words)
    assert code == 1, said.err
    assert said.out == ''
    assert said.err.count('secondglance: ') == 1
    assert said.err.rstrip().endswith(('.', '?'))
    assert 'Traceback' not in said.err


def test_no_call_is_tried_twice():
    assert len(set(WRONG + FAILED)) == len(WRONG + FAILED) >= 199
