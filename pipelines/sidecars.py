"""What the JSON files beside images, tables and transforms say."""

from typing import Any

from secondglance.files.bids import Scan, inherited
from secondglance.files.json_object import read_object
from secondglance.files.labels import IN_WORDS, LABELS
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import TISSUES
from secondglance.interfaces.preprocessing import LEFT_OUT

RAW = 'raw'
"""Name of the scan's data set in BIDS URIs."""

TO_ATLAS = 'from-atlas_to-{suffix}_mode-image_xfm'
"""Ending of the transform that brings images of the atlas to the scan."""

_LABEL = {'Description': 'WM white matter, GM grey matter, CSF, or brain: all of them'}
_SLICE = {'Description': 'from posterior to anterior, 0 the first'}
_SCORES: dict[str, dict[str, Any]] = {
    'label': _LABEL,
    'accuracy': {'Description': '(TP + TN) / all'},
    'specificity': {'Description': 'TN / (TN + FP)'},
    'sensitivity': {'Description': 'TP / (TP + FN)'},
    'precision': {'Description': 'TP / (TP + FP)'},
    'dsc': {'Description': 'Dice coefficient, 2 TP / (2 TP + FP + FN)'},
    'hd95_mm': {'Description': '95 % Hausdorff distance', 'Units': 'mm'},
}
_REGION: dict[str, dict[str, Any]] = {
    'index': {'Description': 'value of the voxels'},
    'name': {'Description': 'name in the atlas'},
    'abbreviation': {'Description': 'short name'},
}

TABLE_COLUMNS: dict[str, dict[str, dict[str, Any]]] = {
    'desc-confounds_timeseries': {
        'volume': {'Description': 'of the series, 0 the first'},
        **{f'trans_{a}': {'Description': f'translation along {a}', 'Units': 'mm'} for a in 'xyz'},
        **{f'rot_{a}': {'Description': f'rotation about {a}', 'Units': 'rad'} for a in 'xyz'},
        'head_against_brain': {
            'Units': 'mm',
            'Description': 'distance in the brain between motion estimated on head and brain',
        },
        'within_volume': {
            'Units': 'mm',
            'Description': 'distance between parts of the slices of the volume',
        },
        'excluded': {'Description': 'why the volume is not in the mean', 'Levels': LEFT_OUT},
    },
    'desc-lognormal_slices': {
        'slice': _SLICE,
        'mu': {'Description': 'mean of the logarithm of the saliency magnitude'},
        'sigma': {'Description': 'standard deviation of that logarithm'},
        'ks_distance': {'Description': 'Kolmogorov-Smirnov distance from a log-normal'},
        'anderson_darling': {'Description': 'Anderson-Darling statistic of the log-normal'},
        **{
            f'aic_{name}': {'Description': f'Akaike information criterion, {name}'}
            for name in ('lognormal', 'gamma', 'weibull', 'halfnormal')
        },
        'best': {'Description': 'distribution with the least criterion'},
    },
    'desc-placement_slices': {
        'slice': _SLICE,
        'position_mm': {'Description': 'of the slice, towards anterior', 'Units': 'mm'},
        'donor': {'Description': 'number of the donor that was taken'},
        'donor_slice': {'Description': "the donor's slice; -1 where it has none there"},
        'shift_x_mm': {'Description': "of the donor's mask, within the slice", 'Units': 'mm'},
        'shift_y_mm': {'Description': "of the donor's mask, within the slice", 'Units': 'mm'},
        'found_x_mm': {'Description': 'the same, of the slice by itself', 'Units': 'mm'},
        'found_y_mm': {'Description': 'the same, of the slice by itself', 'Units': 'mm'},
        'peak': {'Description': 'greatest cross-correlation'},
        'peak_ratio': {'Description': 'greatest peak over the second one'},
        'confidence': {'Description': 'of the shift, 0 to 1'},
        'replaced': {'Description': 'whether neighbouring slices decided the shift'},
        'agreement': {'Description': 'Dice of the final mask with the placed one'},
        'probability': {'Description': 'that the Dice of the mask is at least 0.95'},
    },
    'desc-tissue_volumes': {
        'label': _LABEL,
        'voxels': {'Description': 'number of voxels'},
        'volume_mm3': {'Description': 'volume of the voxels', 'Units': 'mm^3'},
        'volume_from_fractions_mm3': {
            'Description': 'sum over the voxels of the part that is this tissue',
            'Units': 'mm^3',
        },
    },
    'desc-regions_volumes': {
        **_REGION,
        'volume_mm3': {'Description': 'volume of the voxels', 'Units': 'mm^3'},
    },
    'desc-metrics_scores': {
        **_SCORES,
        'dsc_first_glance': {'Description': 'Dice coefficient of the first glance'},
    },
    'desc-metrics_slices': {'slice': {'Description': 'along the slice axis'}, **_SCORES},
}
"""Columns of each table, by the ending of its name."""

TABLES = {
    'desc-confounds_timeseries': 'motion of the head, a row a volume',
    'desc-lognormal_slices': 'how log-normal the saliency is, a row a slice',
    'desc-placement_slices': "placement of the donor's mask, and confidence, a row a slice",
    'desc-tissue_volumes': 'volumes of the tissues',
    'desc-regions_volumes': 'volumes of the regions',
    'desc-metrics_scores': 'agreement with the reference',
    'desc-metrics_slices': 'agreement with the reference, a row a slice',
}
"""What each table is."""


def motion_ending(suffix: str) -> str:
    """Ending of the transforms that bring volumes to the reference.

    Examples
    --------
    >>> motion_ending('dwi'), motion_ending('sbref')
    ('from-orig_to-dwiref_mode-image_desc-hmc_xfm', 'from-orig_to-sbref_mode-image_desc-hmc_xfm')
    """
    return f'from-orig_to-{suffix.removesuffix("ref")}ref_mode-image_desc-hmc_xfm'


def mean_ending(suffix: str) -> str:
    """Ending of the mean image's name.

    Examples
    --------
    >>> mean_ending('dwi'), mean_ending('T2w'), mean_ending('bold')
    ('desc-b0mean_dwi', 'desc-mean_T2w', 'desc-mean_boldref')
    """
    if suffix == 'dwi':
        return 'desc-b0mean_dwi'
    # To BIDS a bold image is a series
    return f'desc-mean_{"boldref" if suffix == "bold" else suffix}'


def series_endings(suffix: str) -> dict[str, str]:
    """Endings of the corrected series, of its gradients, and of the brain's image, by field."""
    begin = f'desc-preproc_{suffix}'
    return {
        'series': f'{begin}.nii.gz',
        'series_bval': f'{begin}.bval',
        'series_bvec': f'{begin}.bvec',
        'series_about': f'{begin}.json',
        'brain_image': f'{brain_ending(suffix)}.nii.gz',
    }


def brain_ending(suffix: str) -> str:
    """Ending of the name of the brain's image; to BIDS a bold image is a series."""
    return f'desc-brain_{"boldref" if suffix == "bold" else suffix}'


KEPT = (
    *('TaskName', 'RepetitionTime', 'EchoTime', 'FlipAngle', 'MagneticFieldStrength'),
    *('PhaseEncodingDirection', 'TotalReadoutTime', 'EffectiveEchoSpacing', 'SliceTiming'),
)
"""What of a scan's own JSON holds for its corrected series too."""


def acquisition(scan: Scan) -> dict[str, Any]:
    """Read what a scan's own JSON says of its acquisition; empty where there is none."""
    root = scan.data_set
    try:
        path = inherited(scan.path, root, '.json') if root else None
    except InputError:
        return {}
    told = read_object(path) if path else {}
    return {key: told[key] for key in KEPT if told.get(key) is not None}


def source_of(scan: Scan) -> str:
    """Name the image: within its data set, or alone where it lies in none."""
    return f'bids:{RAW}:{scan.within}' if scan.data_set else scan.path.name


def sidecars(scan: Scan, settings: dict[str, Any], explained: list[str]) -> dict[str, dict]:
    """Contents of the JSON files of a scan's results.

    Parameters
    ----------
    scan : Scan
    settings : dict
        Resolved, of `secondglance.pipelines.settings.Method`.
    explained : list of str
        Names of further saliency maps.

    Returns
    -------
    dict
        Ending of the name → what is known before anything has run.
    """
    # Results are on the grid of the scan
    where = source_of(scan) if scan.data_set else 'orig'
    sources = {'Sources': [source_of(scan)]}
    image = {**sources, 'SpatialReference': where}
    head = {**image, 'SkullStripped': False}
    found: dict[str, dict] = {
        mean_ending(scan.suffix): {
            **head,
            'Description': 'mean of the motion-corrected volumes that were selected',
        },
        motion_ending(scan.suffix): {
            **sources,
            'Description': 'rigid motion of each volume, as ITK and ANTs read it',
        },
        'desc-brain_mask': {
            **image,
            'Description': 'brain mask',
            'Type': 'Brain',
            'RefinementChecksum': settings['refinement_checksum'],
        },
        'dseg': {
            **image,
            'Description': f'tissues inside the brain mask: {IN_WORDS}',
            'Manual': False,
            'WeightsChecksum': settings['weights_checksum'],
            'SecondGlance': settings['second_glance'],
            'SecondWeightsChecksum': settings['second_checksum'],
            'LabelMap': {label.abbreviation: label.index for label in LABELS},
        },
        **{
            f'label-{tissue}_probseg': {
                **image,
                'Manual': False,
                'Description': 'fraction of what is brain in the voxel, 0 to 1',
            }
            for tissue in TISSUES
        },
        'label-brain_probseg': {
            **image,
            'Manual': False,
            'Description': 'part of the voxel that is brain, 0 to 1; also beside the mask',
        },
        **_of_saliency(settings, head, explained),
    }
    if settings['second_glance'] == 'network':
        found |= _of_regions(scan, settings, sources, image)
    found[f'desc-preproc_{scan.suffix}'] = {
        **head,
        'Description': 'every volume on the reference; gradient directions are turned with them',
        **acquisition(scan),
    }
    found[brain_ending(scan.suffix)] = {
        **image,
        'SkullStripped': True,
        'Description': 'mean inside the brain mask, without coil field (N4)',
    }
    for ending, columns in TABLE_COLUMNS.items():
        found[ending] = {**sources, 'Description': TABLES[ending], **columns}
    return {f'{ending}.json': content for ending, content in found.items()}


def _of_saliency(
    settings: dict[str, Any], head: dict[str, Any], explained: list[str]
) -> dict[str, dict]:
    """Contents beside the saliency of the target, enhanced, and of what else is explained."""
    saliency = {
        **head,
        'Method': settings['saliency'],
        'Target': settings['target'],
        'SmoothingCopies': settings['smooth'],
        'WeightsChecksum': settings['weights_checksum'],
    }
    raw = {'Description': 'attribution of summed logits'}
    found = {
        f'desc-{settings["target"]}_saliency': {**saliency, **raw},
        'desc-enhanced_saliency': {
            **saliency,
            'Description': 'enhanced magnitude, 0 to 1',
            'Peak': settings['enhance_peak'],
            'Width': settings['enhance_width'],
        },
    }
    region = settings['explain_region']
    where = {} if region is None else {'Region': region}
    for name in explained:
        target = {'Target': name.removesuffix('region')}
        found[f'desc-{name}_saliency'] = {**saliency, **target, **where, **raw}
    return found


def _of_regions(
    scan: Scan, settings: dict[str, Any], sources: dict[str, Any], image: dict[str, Any]
) -> dict[str, dict]:
    """Contents beside the transform to the atlas, and beside its regions."""
    found: dict[str, dict] = {
        TO_ATLAS.format(suffix=scan.suffix): {
            **sources,
            'Description': 'ITK transform of points of the scan to the atlas: '
            'antsApplyTransforms brings maps of the atlas to the scan with it',
        }
    }
    if settings['regions']:
        found['desc-regions_dseg'] = {
            **image,
            'Description': 'regions of the atlas, by its transform to the scan',
            'Manual': False,
            'Atlas': settings['atlas'] or 'shipped',
        }
    return found
