"""What a scanner adds to an image: bias field, noise, ghost; and how shapes differ."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage


def smooth_field(
    shape: tuple[int, ...], rng: np.random.Generator, points: int = 4
) -> NDArray[np.float32]:
    """Draw a smooth random field of about unit variance.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    points : int
        Random values along each axis; fewer is smoother.

    Returns
    -------
    array of `shape`, float32
    """
    coarse = rng.standard_normal([points] * len(shape)).astype(np.float32)
    where = np.meshgrid(*(np.linspace(0, points - 1, n) for n in shape), indexing='ij')
    return ndimage.map_coordinates(coarse, where, order=3, mode='nearest', output=np.float32)


def bias_field(
    shape: tuple[int, ...], rng: np.random.Generator, strength: float = 0.3
) -> NDArray[np.float32]:
    """Draw the uneven sensitivity of a coil.

    Parameters
    ----------
    shape : tuple of int
        Of the image, any number of axes.
    rng : numpy.random.Generator
    strength : float
        Standard deviation of the logarithm.

    Returns
    -------
    array of `shape`, float32
        Positive factors of mean 1.
    """
    field = np.exp(strength * smooth_field(shape, rng))
    return field / field.mean()


def add_rician_noise(
    image: ArrayLike, sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Take the magnitude of an image with Gaussian noise in its real and imaginary part.

    Parameters
    ----------
    image : array
    sigma : float
        Standard deviation in each part, in units of the image.
    rng : numpy.random.Generator

    Returns
    -------
    array, float32
    """
    image = np.asarray(image, np.float32)
    real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    return np.hypot(real, sigma * rng.standard_normal(image.shape, dtype=np.float32))


def add_nyquist_ghost(image: ArrayLike, fraction: float, axis: int) -> NDArray[np.float32]:
    """Add the copy, half a field of view away, that odd and even echoes of an EPI give.

    Parameters
    ----------
    image : array
    fraction : float
        Intensity of the ghost relative to the image.
    axis : int
        Of the phase encoding.

    Returns
    -------
    array, float32
    """
    image = np.asarray(image, np.float32)
    return image + np.float32(fraction) * np.roll(image, image.shape[axis] // 2, axis)


def elastic_displacement(
    shape: tuple[int, ...], rng: np.random.Generator, amplitude: float, points: int = 5
) -> NDArray[np.float32]:
    """Draw a smooth displacement by which the shapes of two animals differ.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    amplitude : float
        Standard deviation of each component, in the unit wanted back.
    points : int
        Random values along each axis; fewer is smoother.

    Returns
    -------
    (len(shape), *shape) array, float32
    """
    return np.stack([amplitude * smooth_field(shape, rng, points) for _ in shape])
