"""Species and orientation of a head, as a node finds them."""

import numpy as np
import pytest

from secondglance.imaging.pose import Pose
from secondglance.interfaces import pose as module
from secondglance.interfaces.pose import EstimatePose
from secondglance.models.weights import default_weights, weights_spacing


@pytest.fixture
def noise(save, rng):
    return save(rng.rayleigh(1.0, (40, 40, 4)).astype(np.float32), np.diag([0.3, 0.3, 1, 1]))


def test_a_pose_that_motion_correction_estimated_is_taken(noise):
    known = Pose('mouse', 0.2, quarter_turns=3).to_plain()
    node = EstimatePose(in_file=noise, weights=str(default_weights()), estimated=known)
    assert node.run().outputs.pose == known


def test_a_pose_that_was_asked_for_is_taken(noise, monkeypatch):
    # No network is asked
    monkeypatch.setattr(module, 'load_model', lambda *_: pytest.fail('was loaded'))
    node = EstimatePose(
        in_file=noise, weights=str(default_weights()), species='mouse', turn='270', slice_axis='k'
    )
    spacing = 0.65 * weights_spacing(default_weights())
    assert Pose(**node.run().outputs.pose) == Pose('mouse', pytest.approx(spacing), 'k', 3)
