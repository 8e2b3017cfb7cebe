"""Simulated diffusion series with known motion."""

import numpy as np
import torch
from nibabel.affines import apply_affine
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from secondglance.simulation.head_volume import SHAPE, HeadVolume
from secondglance.simulation.random_fields import smooth_field
from secondglance.simulation.scanner import add_nyquist_ghost, add_rician_noise, bias_field

SIGNAL_B0 = {
    'WM': 0.50,
    'GM': 0.70,
    'CSF': 1.25,
    'skull': 0.06,
    'muscle': 0.42,
    'skin': 0.62,
    'eye': 0.95,
    'lens': 0.25,
}
"""Signal without diffusion weighting, relative; an EPI's, so CSF > GM > WM > muscle > bone."""


DIFFUSIVITY = {
    'WM': 0.7e-3,
    'GM': 0.75e-3,
    'CSF': 2.8e-3,
    'skull': 1e-3,
    'muscle': 1.3e-3,
    'eye': 2.8e-3,
}
"""Mean diffusivity, mm²/s, of a living rat's tissues."""


WITH_BRAIN = ('WM', 'GM', 'CSF', 'skull')
"""Parts of a head that move as one with the brain; muscle, skin and eyes may move alone."""


FA_WM = 0.6
"""Part by which white matter's diffusivity differs between along and across its fibres."""


def draw_motion(
    n_volumes: int,
    rng: np.random.Generator,
    affine: ArrayLike,
    mm: float = 0.25,
    deg: float = 0.6,
    shape: tuple[int, int, int] = SHAPE,
) -> NDArray[np.float64]:
    """Draw a head that drifts: one rigid motion a volume, the first volume at rest.

    Parameters
    ----------
    n_volumes : int
    rng : numpy.random.Generator
    affine : (4, 4) array
        The head turns about the middle of this scan.
    mm, deg : float
        Standard deviation of each translation and rotation, in mm and degrees.
    shape : tuple of int
        Of the scan.

    Returns
    -------
    (T, 4, 4) array
        World mm of a volume to world mm at rest.
    """
    middle = apply_affine(affine, (np.array(shape) - 1) / 2)
    matrices = np.tile(np.eye(4), (n_volumes, 1, 1))
    for matrix in matrices[1:]:
        turn = Rotation.from_euler('xyz', rng.normal(0, deg, 3), degrees=True).as_matrix()
        matrix[:3, :3] = turn
        matrix[:3, 3] = middle - turn @ middle + rng.normal(0, mm, 3)
    return matrices


def simulate_dwi(
    head: HeadVolume,
    rng: np.random.Generator,
    bvals: ArrayLike,
    bvecs: ArrayLike,
    motion: ArrayLike,
    *,
    snr: float = 25.0,
    bias: float = 0.25,
    ghost: float = 0.03,
    muscle: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Scan a head that moves.

    A moved volume is the voxels at rest, read by cubic interpolation at the places they came from.

    Parameters
    ----------
    head : HeadVolume
    rng : numpy.random.Generator
    bvals : (T,) array
        s/mm².
    bvecs : (3, T) array
        Unit directions in the world's axes.
    motion : (T, 4, 4) array
        World mm of each volume to world mm at rest.
    snr : float
        Grey matter without diffusion weighting over the noise's standard deviation.
    bias : float
        Strength of the coil's bias field, which stays where it is while the head moves.
    ghost : float
        Intensity of the Nyquist ghost relative to the image.
    muscle : (T, 4, 4) array, optional
        How muscle, skin and eyes move besides, against the skull: as of :func:`draw_motion`, world
        mm of each volume to world mm of a head as `motion` has it. By default not at all.

    Returns
    -------
    (X, Y, Z, T) float32 array
        Scaled so that grey matter is about 1000.
    """
    shape = head.labels.shape
    texture = np.exp(0.05 * smooth_field(shape, rng, 9))
    coil = bias_field(shape, rng, bias)
    inverse = np.linalg.inv(head.affine)
    series = np.empty((*shape, len(np.asarray(bvals))), np.float32)
    points = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1)
    for t, (b, direction, matrix) in enumerate(
        zip(np.asarray(bvals), np.asarray(bvecs).T, np.asarray(motion), strict=True)
    ):
        # Gradients are fixed to the scanner, so their direction changes in a turned head
        direction = matrix[:3, :3] @ direction
        still, alone = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for name, part in head.fractions.items():
            diffusivity: NDArray | float = DIFFUSIVITY.get(name, 1e-3)
            if name == 'WM':
                along = np.abs(np.tensordot(direction, head.fibres, axes=1)) ** 2
                diffusivity = diffusivity * (1 + FA_WM * (1.5 * along - 0.5))
            group = still if muscle is None or name in WITH_BRAIN else alone
            group += SIGNAL_B0[name] * part * np.exp(-b * diffusivity)

        def moved(group: NDArray, matrix: NDArray) -> NDArray:
            if np.allclose(matrix, np.eye(4)):
                return group * texture
            # What is scanned at a voxel is the head at the place it came from
            index = np.moveaxis(apply_affine(inverse @ matrix @ head.affine, points), -1, 0)
            return ndimage.map_coordinates(group * texture, index, order=3, mode='nearest')

        signal = moved(still, matrix)
        if muscle is not None:
            signal = signal + moved(alone, matrix @ np.asarray(muscle)[t])
        image = torch.from_numpy(np.asarray(np.clip(signal, 0, None) * coil, np.float32))
        image = add_nyquist_ghost(image, ghost, axis=1)
        series[..., t] = add_rician_noise(image, SIGNAL_B0['GM'] / snr, rng).numpy()
    return series * np.float32(1000 / SIGNAL_B0['GM'])
