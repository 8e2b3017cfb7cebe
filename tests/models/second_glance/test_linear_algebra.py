"""Results do not depend on the machine's library of linear algebra."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import secondglance

KERNELS = ('Prescott', 'Haswell')
"""Of processors without and with AVX2, for which OpenBLAS has code of its own."""

HEAD = """
import hashlib
import numpy as np
from secondglance.models.second_glance.channels import brain_input

def tell(array):
    print(hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest())

rng = np.random.default_rng(0)
table = rng.random((300, 200))
# What OpenBLAS multiplies differs in its last digits
tell(table @ table.T)
y, x, z = np.mgrid[:6, :48, :40]
away = ((x - 23) / 18) ** 2 + ((z - 19) / 14) ** 2 + ((y - 2.5) / 4) ** 2
field = np.exp(0.4 * x / 48) * (1 + (away < 0.4))
image = (rng.normal(10, 1, away.shape) * field).astype(np.float32)
"""

FIELD = """
from secondglance.models.second_glance.channels import _robust_fit

tell(_robust_fit(list(rng.random((10, 4000))), rng.random(4000)))
given = brain_input(image, away < 1, np.arange(6.0), 0.25, 'rat')
tell(given.channels)
tell(given.grid.to_stack(given.channels))
"""

FRACTIONS = """
from secondglance.models.second_glance.glance import second_glance
from secondglance.models.weights import SECOND_GLANCE, default_second_glance, load_weights
network = load_weights(default_second_glance(), 'cpu', SECOND_GLANCE)
tell(second_glance(image, away < 1, np.arange(6.0), 0.25, 'rat', network).fractions)
"""


@pytest.mark.slow
@pytest.mark.parametrize('code', [FIELD, FRACTIONS])
def test_bytes_are_the_same_with_code_for_other_processors(code):
    home = str(Path(secondglance.__file__).parent.parent)
    calls = [
        subprocess.Popen(
            [sys.executable, '-c', HEAD + code],
            env=os.environ
            | {'OPENBLAS_CORETYPE': kernel, 'OPENBLAS_NUM_THREADS': '1', 'PYTHONPATH': home},
            stdout=subprocess.PIPE,
            text=True,
        )
        for kernel in KERNELS
    ]
    told = [call.communicate()[0].split() for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    (product, *first), (other_product, *second) = told
    if product == other_product:
        pytest.skip('the library of this NumPy does not choose its code by OPENBLAS_CORETYPE')
    assert first
    assert first == second
