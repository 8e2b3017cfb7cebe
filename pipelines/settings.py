"""Settings of a run: what changes the result, and what does not."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from secondglance import __version__
from secondglance.data import donor_paths, regions_path
from secondglance.files.bids import find_donor
from secondglance.imaging.errors import InputError
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.models.choices import (
    AS_PUBLISHED,
    MASK_METHODS,
    SECOND_GLANCES,
    TURNS,
    SaliencyOptions,
)
from secondglance.models.weights import (
    REFINEMENT,
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
    default_weights,
    read_header,
)


def absolute(path: str | Path) -> Path:
    """Make a path absolute, links kept: an engine runs each stage in a folder of its own."""
    return Path(os.path.abspath(path))


def default_donors() -> tuple[tuple[Path, Path], ...]:
    """Image and brain mask of each donor that ships."""
    return tuple(find_donor(folder) for folder in donor_paths())


def default_atlases() -> dict[str, Path]:
    """Folder of the regions that ship, by species."""
    return {species: regions_path(species) for species in BRAIN_SIZE}


@dataclass(frozen=True)
class Method:
    """What changes the result; it is hashed, and recorded beside the outputs.

    Relative paths are made absolute at once.

    Attributes
    ----------
    weights, refinement : Path
        Of the network, and of the network that refines the brain mask.
    donors : tuple of (image, mask)
    motion : {'auto', 'fsl', 'sitk', 'none'}
    voxel_scale : float, optional
        What the lengths of the header are multiplied by to be mm; by default estimated.
    b0_threshold : float
        Largest b-value of a b0 volume, s/mm².
    all_b0 : bool
        Whether no volume is diffusion-weighted.
    species, slice_axis, turn, mask_method : str
        As explained at the command line.
    second_glance : str
        One of `secondglance.models.choices.SECOND_GLANCES`.
    second_weights : Path
        Of the network of the second glance.
    regions : bool
        Whether regions of an atlas are looked up.
    atlas : Path, optional
        Folder of that atlas; by default the one that ships, by species.
    saliency : SaliencyOptions
    save_preproc : bool
        Whether the corrected series and the image of the brain alone are written.
    explain : tuple of str
        Classes of which a saliency map is written as well.
    explain_region : Path or (i, j, k), optional
        Mask or voxel in which they are explained.
    """

    weights: Path = field(default_factory=default_weights)
    refinement: Path = field(default_factory=default_refinement)
    donors: tuple[tuple[Path, Path], ...] = field(default_factory=default_donors)
    motion: str = 'auto'
    voxel_scale: float | None = None
    b0_threshold: float = 50.0
    all_b0: bool = False
    species: str = AUTO
    slice_axis: str = 'auto'
    turn: str = TURNS[0]
    mask_method: str = MASK_METHODS[0]
    second_glance: str = SECOND_GLANCES[0]
    second_weights: Path = field(default_factory=default_second_glance)
    regions: bool = True
    atlas: Path | None = None
    saliency: SaliencyOptions = AS_PUBLISHED
    save_preproc: bool = False
    explain: tuple[str, ...] = ()
    explain_region: Path | tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        for name in ('weights', 'refinement', 'second_weights', 'atlas', 'explain_region'):
            path = getattr(self, name)
            if isinstance(path, str | Path):
                object.__setattr__(self, name, absolute(path))
        donors = tuple((absolute(image), absolute(mask)) for image, mask in self.donors)
        object.__setattr__(self, 'donors', donors)

    @property
    def explained(self) -> list[str]:
        """Names of the maps beside the one that places the mask.

        Examples
        --------
        >>> Method(explain=('brain', 'WM')).explained
        ['WM']
        >>> Method(explain=('WM',), explain_region=(3, 4, 5)).explained
        ['WMregion']
        """
        if self.explain_region is not None:
            return [f'{target}region' for target in self.explain]
        return [target for target in self.explain if target != self.saliency.target]

    @property
    def atlases(self) -> dict[str, Path]:
        """Species → folder of the atlas in which regions are looked up; empty without regions.

        Examples
        --------
        >>> Method(regions=False).atlases
        {}
        >>> sorted(Method(atlas=Path('/mine')).atlases.items())
        [('mouse', PosixPath('/mine')), ('rat', PosixPath('/mine'))]
        """
        if not self.regions or self.second_glance != 'network':
            return {}
        return dict.fromkeys(BRAIN_SIZE, self.atlas) if self.atlas else default_atlases()

    def resolved(self) -> dict[str, Any]:
        """Plain values, flat, with the checksums of the weights."""
        options = asdict(self.saliency)
        plain: dict[str, Any] = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
            if key != 'saliency'
        }
        if isinstance(self.explain_region, tuple):
            plain['explain_region'] = ','.join(map(str, self.explain_region))
        plain['donors'] = [str(image) for image, _ in self.donors]
        return {
            'version': __version__,
            **plain,
            'saliency': options['method'],
            'target': options['target'],
            'smooth': options['copies'],
            'enhance_peak': options['peak'],
            'enhance_width': options['width'],
            'weights_checksum': read_header(self.weights)['checksum'],
            'refinement_checksum': read_header(self.refinement, REFINEMENT)['checksum'],
            'second_checksum': read_header(self.second_weights, SECOND_GLANCE)['checksum'],
        }


@dataclass(frozen=True)
class Execution:
    """How a run is executed; nothing here changes the result.

    Attributes
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    nprocs, threads : int
        Processes of one scan, and threads of each.
    slices_per_job : int
        Slices of a slab; 0: as many slabs as processes.
    mem_gb : float, optional
        Memory that the plugin may hand out.
    plugin : str, optional
        Any of Nipype's; by default Linear for one process, else MultiProc.
    plugin_args : mapping, optional
        Of the plugin.
    verbose, stop_on_first_crash : bool
    clean : bool
        Whether a scan's cache is removed once it is finished.
    """

    device: str = 'auto'
    nprocs: int = 1
    threads: int = 1
    slices_per_job: int = 0
    mem_gb: float | None = None
    plugin: str | None = None
    plugin_args: Mapping[str, Any] | None = None
    verbose: bool = False
    stop_on_first_crash: bool = False
    clean: bool = False

    @property
    def gpu(self) -> bool:
        """Whether network nodes count against one GPU."""
        return self.device.startswith('cuda')

    @property
    def slabs(self) -> dict[str, int]:
        """How a stack is cut for the nodes that run the network."""
        return {'n_slabs': 1 if self.gpu else self.nprocs, 'slices_per_job': self.slices_per_job}

    @property
    def network(self) -> dict[str, Any]:
        """Inputs of a node that runs the network."""
        return {'device': self.device, 'use_gpu': self.gpu, 'num_threads': self.threads}


LOCAL = Execution()
"""One process with one thread."""


def read_arguments(path: Path | None, option: str) -> dict:
    """Read names with values from a YAML file that an option of the call names."""
    if path is None:
        return {}
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise InputError(
            f'{option} {path} cannot be read as YAML ({reason}): correct it.'
        ) from error
    if not isinstance(content, dict):
        raise InputError(f'{option} {path} must hold names with values, such as n_procs: 4.')
    return content
