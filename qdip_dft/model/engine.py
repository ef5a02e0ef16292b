"""Which engine a study asks for, in the words of its YAML file."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, JsonValue

from qdip_dft.model.base import Record


class PresetName(StrEnum):
    """How finely a calculation is done; the same word means the same thresholds in every code."""

    FAST = "fast"
    """For a first look: loose forces."""
    BALANCED = "balanced"
    """For production on many candidates."""
    PRECISE = "precise"
    """For reference values and small energy differences."""


class Dispersion(StrEnum):
    """The van der Waals correction that is added to the functional."""

    D3BJ = "d3bj"
    """Two-body DFT-D3 with Becke-Johnson damping (Grimme et al., J. Comput. Chem. 2011, 32, 1456)."""
    NONE = "none"
    """No correction."""


class Device(StrEnum):
    """Where a potential runs; it decides how fast an energy is found, not which."""

    AUTO = "auto"
    """The graphics processor if there is one that the potential can use, else the processor."""
    CPU = "cpu"
    """The processor."""
    CUDA = "cuda"
    """The graphics processor."""


class Restart(StrEnum):
    """What a calculation may reuse of an earlier one; it decides how fast the ground state is found, not which."""

    NONE = "none"
    """Nothing."""
    DENSITY = "density"
    """The density alone, or its matrix."""
    WAVEFUNCTIONS = "wavefunctions"
    """The wavefunctions alone."""
    FULL = "full"
    """Whatever the code can reuse."""


class EngineSpec(Record):
    """The engine of a study, as ``engine: {name: mlip, preset: fast}``.

    Parameters
    ----------
    name
        Name of the engine: ``mlip`` (machine-learned potentials), ``espresso`` (Quantum ESPRESSO), ``gpaw``,
        ``cp2k``, ``vasp`` or ``testing`` (a toy potential).
    preset
        How finely to calculate.
    potential
        The engine's potential: ``sevennet-0`` or ``chgnet`` for ``mlip``, ``morse`` for ``testing``,
        a release of the PAW potentials (``PBE_54``, …) for ``vasp``.  None takes the engine's default.
    functional
        Exchange-correlation functional of a DFT engine: ``PBE``, ``PBEsol`` or
        ``r2SCAN`` (``vasp``, ``gpaw``).  None takes the engine's default.
    dispersion
        The dispersion correction.  None takes that of the preset where the engine has one.
    spin_orbit
        Whether the energies of the terms include spin-orbit coupling; relaxations never do.
    device
        Where the potential of ``mlip`` runs: ``auto``, ``cpu`` or ``cuda``.  The environment variable ``QDIP_DEVICE``
        goes before it.  Not part of the level of theory.
    settings
        Single values that override the preset, such as ``{max_steps: 500}``.  The engine refuses unknown keys.
    """

    name: str = "mlip"
    preset: PresetName = PresetName.FAST
    potential: str | None = None
    functional: str | None = None
    dispersion: Dispersion | None = None
    spin_orbit: bool = False
    device: Device = Field(default=Device.AUTO, exclude_if=lambda device: device is Device.AUTO)
    settings: dict[str, JsonValue] = {}
