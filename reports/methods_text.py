"""The methods paragraph that a user can paste."""

from secondglance.imaging.glance_pooling import WEIGHT
from secondglance.imaging.mask.methods import METHODS
from secondglance.models.saliency.methods import DEFAULT, saliency_methods

ENGINE_CITATIONS = {
    'FSL MCFLIRT': 'FSL MCFLIRT (Jenkinson et al. 2002, doi 10.1006/nimg.2002.1132)',
    'SimpleITK': 'SimpleITK (Lowekamp et al. 2013, doi 10.3389/fninf.2013.00045)',
}

TISSUE_SENTENCES = {
    'network': (
        'White matter, grey matter and cerebrospinal fluid were segmented by a network (weights '
        '{second}) from the whole head, the brain mask and the predicted place in an atlas. The '
        f'first segmentation counted as well, with a weight of up to {WEIGHT:g}, as far as both '
        'agreed.'
    ),
    'masked': (
        'With the background removed, the first network segmented white matter, grey matter and '
        'cerebrospinal fluid.'
    ),
    'none': (
        'White matter, grey matter and cerebrospinal fluid are those of the first segmentation, '
        'inside the brain mask.'
    ),
}
"""How the tissues were segmented, by ``--second-glance``."""

REGION_SENTENCE = (
    'Regions of the atlas were looked up through a smooth transform that was fitted to the '
    'predicted places (Gopinath et al. 2024, doi 10.1007/978-3-031-73480-9_17).'
)


def volumes_of(suffix: str) -> str:
    """Name the volumes that are averaged; only diffusion scans have b0 volumes.

    Parameters
    ----------
    suffix : str
        Of the scan, such as ``dwi``.

    Returns
    -------
    str

    Examples
    --------
    >>> volumes_of('dwi'), volumes_of('T2w')
    ('b0 volumes', 'volumes')
    """
    return 'b0 volumes' if suffix == 'dwi' else 'volumes'


def image_caption(volumes: str, engine: dict) -> str:
    """Say what the image is that was segmented.

    Parameters
    ----------
    volumes : str
        As of `volumes_of`.
    engine : dict
        What corrected the motion: ``engine`` and ``n_b0``.

    Returns
    -------
    str
        A sentence.

    Examples
    --------
    >>> image_caption('b0 volumes', {'engine': 'SimpleITK', 'n_b0': 4})
    'Mean of 4 b0 volumes, corrected for motion.'
    >>> image_caption('volumes', {'engine': 'none', 'n_b0': 3})
    'Mean of 3 volumes, not corrected for motion.'
    >>> image_caption('volumes', {'engine': 'none: one volume', 'n_b0': 1})
    'The image as it was.'
    """
    if engine['n_b0'] == 1:
        return 'The image as it was.'
    corrected = 'corrected' if engine['engine'] in ENGINE_CITATIONS else 'not corrected'
    return f'Mean of {engine["n_b0"]} {volumes}, {corrected} for motion.'


def methods_text(version: str, engine: dict, settings: dict, volumes: str = 'b0 volumes') -> str:
    """Describe what was done, with citations.

    Parameters
    ----------
    version : str
        Of secondglance.
    engine : dict
        ``engine``, ``engine_version`` and ``n_b0`` of the motion correction.
    settings : dict
        Resolved settings of the run.
    volumes : str
        From :func:`volumes_of`.

    Returns
    -------
    str
    """
    name = engine.get('engine', '')
    if name in ENGINE_CITATIONS:
        moved = f'corrected for motion with {ENGINE_CITATIONS[name]} and averaged'
    elif engine.get('n_b0', 1) > 1:
        moved = 'averaged without motion correction'
    else:
        moved = 'used as it was'
    n_b0 = engine.get('n_b0', 1)
    copies = settings.get('smooth', 0)
    smoothed = (
        f', averaged over {copies} noisy copies (Smilkov et al. 2017, arXiv:1706.03825),'
        if copies
        else ''
    )
    volumes = f'{n_b0} {volumes} were' if n_b0 > 1 else 'One volume was'
    found = METHODS[settings['mask_taken']].sentence.format(
        refinement=str(settings.get('refinement_checksum', ''))[:12]
    )
    method = saliency_methods()[settings.get('saliency', DEFAULT)]
    second = str(settings.get('second_checksum', ''))[:12]
    looked_up = settings['second_glance'] == 'network' and settings.get('regions')
    regions = f' {REGION_SENTENCE}' if looked_up else ''
    return (
        f'Brain tissue was segmented with secondglance {version}, which implements Matos et al. '
        f'2019 (doi 10.1007/978-3-030-19823-7_25). {volumes} {moved}. A U-Net (Ronneberger et '
        f'al. 2015, doi 10.1007/978-3-319-24574-4_28; weights '
        f'{str(settings.get("weights_checksum", ""))[:12]}) segmented the whole head; its '
        f'saliency was computed by {method.citation}{smoothed} and '
        'enhanced '
        'under a log-normal model. A brain mask of another animal was placed where the '
        'cross-correlation of the enhanced saliency with that of the other animal was highest. '
        f'{found}'
        f'{TISSUE_SENTENCES[settings["second_glance"]].format(second=second)}'
        f'{regions}'
    )
