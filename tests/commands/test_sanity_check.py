import json

import numpy as np
import pytest

from secondglance.workflows import main


def test_page_and_figures_say_the_same(tmp_path, capsys):
    folder = tmp_path / 'sanity'
    assert main(['sanity-check', '--output', str(folder)]) == 0
    told = json.loads((folder / 'sanity.json').read_text())
    passed = sum(verdict['passed'] for verdict in told['verdicts'])
    assert f'{passed} of 5 checks passed' in capsys.readouterr().out
    page = (folder / 'sanity.html').read_text()
    assert f'{passed} of 5 checks passed' in page
    rows = (folder / 'sanity.tsv').read_text().splitlines()
    trained = dict(zip(rows[0].split('\t'), rows[1].split('\t'), strict=True))
    assert float(trained['rank_correlation']) == pytest.approx(1)
    assert float(trained['placed_dice']) > 0.88
    for name in page.split('src="')[1:]:
        assert (folder / name.split('"')[0]).stat().st_size
    deletion = told['curves']['deletion']
    assert np.mean(deletion['saliency']) < np.mean(deletion['chance'])


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--brain', 'mask.nii.gz'], 'name both'),
        (['--image', 'nothing.nii.gz'], 'is not there'),
        (['--donor', 'nowhere'], 'nowhere'),
    ],
)
def test_bad_calls_are_one_sentence(arguments, says, tmp_path, capsys):
    assert main(['sanity-check', '--output', str(tmp_path / 'out'), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count('\n') == 1
