"""The table of what a scan is and how it was run."""

import numpy as np
import pytest

from secondglance.imaging.pose import Pose
from secondglance.pipelines.settings import Method
from secondglance.reports.data import RunRecord
from secondglance.reports.summary import summary_table


@pytest.fixture
def table(rng):
    """Return a function that gives the table of a scan of four slices, in a pose."""
    stack = rng.random((4, 12, 10)) + 1
    mask = np.zeros(stack.shape, bool)
    mask[:, 3:9, 3:7] = True

    def _table(pose, **settings):
        record = RunRecord(
            settings={
                **Method().resolved(),
                'device': 'cpu',
                'mask_taken': 'network',
                'species': 'auto',
                'weights': '/a/first.safetensors',
                'weights_checksum': 'a' * 64,
                'refinement': '/b/other.safetensors',
                'refinement_checksum': 'b' * 64,
                **settings,
            },
            pose=pose,
            engine={'engine': 'FSL', 'engine_version': '6', 'n_b0': 3},
            donor={'donor': 0, 'scale': 1.0, 'scores': [0.25, 0.5]},
            confidence={'Method': 'network', 'Confidence': 0.9, 'BrainVolume': 1300.0},
            placement=[
                {'slice': n, 'donor_slice': n, 'replaced': n == 2, 'probability': 0.9}
                for n in range(4)
            ],
            confounds=[],
            volumes=[],
        )
        return summary_table(record, stack, mask, np.diag([0.3, 0.3, 1.2, 1]))

    return _table


def test_slices_are_told_in_millimetres_and_turns_in_degrees(table):
    assert table(Pose('rat', 0.3))['Slices'] == '4, 1.2 mm apart, at 0.3 mm'
    turned = table(Pose('rat', 0.3, 'auto', 3))['Slices']
    assert turned == '4, 1.2 mm apart, at 0.3 mm, turned by 270°'


def test_each_network_has_the_checksum_of_its_own(table):
    found = table(Pose('rat', 0.3))
    assert found['Weights'] == f'first.safetensors {"a" * 12}'
    assert found['Refinement'] == f'other.safetensors {"b" * 12}'


def test_what_was_estimated_is_told_apart_from_what_was_asked_for(table):
    assert table(Pose('mouse', 0.2))['Species'] == 'mouse, as it looks'
    assert table(Pose('mouse', 0.2), species='mouse')['Species'] == 'mouse'


def test_donor_mask_and_motion_are_those_of_the_record(table):
    found = table(Pose('rat', 0.3))
    assert found['Donor'].endswith('(of 2; correlation 0.50)')
    assert found['Motion correction'] == 'FSL 6'
    assert found['b0 volumes'] == '3'
    assert found['Brain'].startswith('1300 mm³')
    assert found['Replaced shifts'].startswith('1 of 4: slice 2')
    assert found['Brain in end slices'] == '100% and 100% of the largest area'
