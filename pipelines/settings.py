"""Settings of a run."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from secondglance import __version__
from secondglance.imaging.species import AUTO
from secondglance.models.choices import TURNS
from secondglance.models.weights import REFINEMENT, default_refinement, read_header


@dataclass(frozen=True)
class Settings:
    """What may be chosen for a run; each is explained at the command line.

    Attributes
    ----------
    weights : Path
    donors : tuple of (image, mask)
    motion : {'auto', 'fsl', 'sitk', 'none'}
    b0_threshold : float
        s/mm².
    nprocs, threads : int
        Processes, and the threads of each: how fast, never what.
    """

    weights: Path
    donors: tuple[tuple[Path, Path], ...]
    refinement: Path = field(default_factory=default_refinement)
    motion: str = 'auto'
    b0_threshold: float = 50.0
    all_b0: bool = False
    species: str = AUTO
    slice_axis: str = 'auto'
    turn: str = TURNS[0]
    mask_method: str = 'network'
    saliency: str = 'guided'
    target: str = 'brain'
    smooth: int = 0
    enhance_peak: float = 2.0
    enhance_width: float = 0.5
    explain: tuple[str, ...] = ()
    explain_region: Path | tuple[int, int, int] | None = None
    device: str = 'cpu'
    slices_per_job: int = 0
    nprocs: int = 1
    threads: int = 1
    reference: Path | None = field(default=None)

    def resolved(self) -> dict:
        """Return the settings as plain values, with what they resolve to."""
        plain = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }
        if isinstance(self.explain_region, tuple):
            plain['explain_region'] = ','.join(map(str, self.explain_region))
        plain['donors'] = [str(image) for image, _ in self.donors]
        # These change how fast, never what
        for key in ('nprocs', 'threads', 'slices_per_job'):
            del plain[key]
        return {
            'version': __version__,
            **plain,
            'weights_checksum': read_header(self.weights)['checksum'],
            'refinement_checksum': read_header(self.refinement, REFINEMENT)['checksum'],
        }
