"""What a report is made from."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.grids import edge_letters
from secondglance.imaging.pose import Pose


def figures_folder(name: str) -> str:
    """Where a report's figures lie, from where its page lies.

    Parameters
    ----------
    name : str
        Of a scan; its subject comes first.

    Returns
    -------
    str
        Relative path with ``/``.

    Examples
    --------
    >>> figures_folder('sub-01_run-2_T2w')
    'sub-01/figures'
    """
    return f'{name.partition("_")[0]}/figures'


def geometry_of(affine: NDArray, pose: Pose) -> dict:
    """Size of a pixel, and the letters at the edges of a slice, by their names in `ReportData`.

    Parameters
    ----------
    affine : (4, 4) array
        Of a stack (H, W, N).
    pose : Pose
        A head that was turned upright is named by how it is shown, not by its header.

    Returns
    -------
    dict
        ``aspect``, ``spacing`` (mm) and ``edges``.
    """
    width, height = (float(length) for length in np.linalg.norm(affine[:3, :2], axis=0))
    return {
        'aspect': height / width,
        'spacing': (width, height),
        'edges': ('L', 'R', 'D', 'V') if pose.quarter_turns else edge_letters(affine),
    }


@dataclass(frozen=True)
class RunRecord:
    """What the stages of a run wrote down beside their images.

    Attributes
    ----------
    settings : dict
        Resolved options by name, with ``device``, and ``mask_taken``: the method of the mask.
    pose : Pose
    engine : dict
        What corrected the motion: ``engine``, ``engine_version``, ``n_b0``, ``b0_volumes``,
        ``header_scale``, and ``pixel_mm``, the shorter side of a pixel of the scan.
    donor : dict
        The ``donor`` taken, by its place in ``settings['donors']``; ``scale`` of its slices,
        negative where they run against the header; ``scores`` of all, correlations.
    confidence : dict
        Of the mask: ``Method``, ``MethodAskedFor``, ``Confidence`` in [0, 1], ``BrainVolume``.
    placement : list of dict
        A row a slice: ``slice``, ``donor_slice`` (-1: none), ``confidence``, ``replaced``,
        ``probability``.
    confounds : list of dict
        A row a volume: ``volume``, six motion parameters, ``framewise_displacement``, mm.
    volumes : list of dict
        A row a tissue and one for the ``brain``: ``label``, ``volume_mm3``.
    """

    settings: dict
    pose: Pose
    engine: dict
    donor: dict
    confidence: dict
    placement: list[dict]
    confounds: list[dict]
    volumes: list[dict]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows; what is None or empty leaves its section out.

    Attributes
    ----------
    title : str
        Name of the scan, as text.
    source : str
        Where the scan lies, as text.
    image, saliency, enhanced : (N, H, W) arrays
        Stacks: head, signed gradient, enhanced saliency in [0, 1].
    mask : (N, H, W) bool array
        Placed brain mask.
    first_labels, labels : (N, H, W) int arrays
        First and second glance: 0 background, 1 WM, 2 GM, 3 CSF.
    aspect : float
        Height of a pixel over its width.
    spacing : (float, float)
        Width and height of a pixel, mm.
    edges : (str, str, str, str)
        What lies left, right, up and down in a slice: a letter each.
    placed : (N, H, W) bool array, optional
        Mask of the donor, where it was placed.
    kernels : (N, 2, h, w) array, optional
        Kernel of each slice, and its mask.
    reference : (N, H, W) int array, optional
        Labels to compare with, or a brain mask.
    probabilities : (N, 4, H, W) array, optional
        Of the classes, after the second glance.
    regions : (N, H, W) int array, optional
        Labels of an atlas, 0 for none.
    region_names : dict of int to str
    image_name : str
        What `image` is, in a few words.
    compared : dict of (N, H, W) arrays
        Other images on the same grid, such as a volume before and after motion correction.
    summary : dict of str
        What is known of scan and run, in one table.
    placement, volumes, glances, metrics, slice_scores : list of dict
        Rows of tables.
    confounds : dict of arrays
        Motion parameters and framewise displacement, by name.
    lognormal : dict
        ``ks_distance`` (N,), ``best`` (N,), ``theoretical`` (Q,) and ``observed`` (N, Q).
    explained : dict of (N, H, W) arrays
        Further signed saliency, by name.
    settings : dict
    versions : dict of str
    mask_caption : str
        Where the mask is from.
    image_caption : str
        What the image is.
    methods : str
        A paragraph for the paper.
    warnings : list of str
        Shown first.
    verdict : {'good', 'look', 'bad'}
        How urgent it is to look, from :func:`secondglance.reports.verdict.level`.
    """

    title: str
    source: str
    image: NDArray
    saliency: NDArray
    enhanced: NDArray
    mask: NDArray
    first_labels: NDArray
    labels: NDArray
    aspect: float = 1.0
    spacing: tuple[float, float] = (1.0, 1.0)
    edges: tuple[str, str, str, str] = ('L', 'R', 'D', 'V')
    placed: NDArray | None = None
    kernels: NDArray | None = None
    reference: NDArray | None = None
    probabilities: NDArray | None = None
    regions: NDArray | None = None
    region_names: dict[int, str] = field(default_factory=dict)
    image_name: str = 'Image'
    compared: dict[str, NDArray] = field(default_factory=dict)
    summary: dict[str, str] = field(default_factory=dict)
    placement: list[dict] = field(default_factory=list)
    volumes: list[dict] = field(default_factory=list)
    glances: list[dict] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)
    slice_scores: list[dict] = field(default_factory=list)
    confounds: dict[str, NDArray] = field(default_factory=dict)
    lognormal: dict | None = None
    explained: dict[str, NDArray] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    mask_caption: str = ''
    image_caption: str = ''
    methods: str = ''
    warnings: list[str] = field(default_factory=list)
    verdict: str = 'good'
