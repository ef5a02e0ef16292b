"""Which engine a study asks for, in the words of its YAML file."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, JsonValue

from qdip_dft.model.base import WrittenRecord


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
    D3BJ_ATM = "d3bj-atm"
    """The same with the three-body term of Axilrod, Teller and Muto."""
    D3ZERO = "d3zero"
    """Two-body DFT-D3 with zero damping (Grimme et al., J. Chem. Phys. 2010, 132, 154104)."""
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


class CalculatorDispersion(StrEnum):
    """Where the van der Waals attraction of a calculator's energies comes from."""

    D3BJ = "d3bj"
    """Added here: the calculator has none."""
    INCLUDED = "included"
    """In the calculator's energies."""
    NONE = "none"
    """Left out."""


class Runner(StrEnum):
    """Who starts a density-functional code and moves the atoms."""

    QDIP = "qdip"
    """This package: one relaxation for every code."""
    ATOMATE2 = "atomate2"
    """A Maker of atomate2, in a flow of jobflow; the code relaxes with its own algorithm."""


class CalculatorSpec(WrittenRecord):
    """A calculator of ASE as the potential of a study.

    Parameters
    ----------
    calculator
        Where its class is: an import path such as ``mace.calculators.MACECalculator``, ``file.py:Name`` beside the
        study, or a force field that atomate2 makes by name, such as ``MACE-MP-0``.
    arguments
        What it is called with.
    weights
        Files that it is called with, by argument; paths start from the study's folder.
    sha256
        Hash (hex) of the model, declared where it is no file in `weights`; allows the calculator to fetch it.
    functional
        Exchange-correlation functional of its training data; ``none`` where there was none.
    dispersion
        Whether D3(BJ) is to be added, is ``included``, or ``none``.
    """

    calculator: str = Field(min_length=1)
    arguments: dict[str, JsonValue] = {}
    weights: dict[str, str] = {}
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    functional: str = Field(min_length=1)
    dispersion: CalculatorDispersion


class EngineSpec(WrittenRecord):
    """The engine of a study, as ``engine: {name: mlip, preset: fast}``.

    Parameters
    ----------
    name
        Name of the engine: ``mlip`` (machine-learned potentials), ``ase`` (any calculator of ASE), ``espresso``
        (Quantum ESPRESSO), ``gpaw``, ``cp2k``, ``vasp`` or ``testing`` (a toy potential).
    preset
        How finely to calculate.
    potential
        The engine's potential: ``sevennet-0`` or ``chgnet`` for ``mlip``, ``morse`` for ``testing``,
        a release of the PAW potentials (``PBE_54``, …) for ``vasp``.  For ``mlip`` also any calculator of ASE, by its
        name or with all that belongs to it.  None takes the engine's default.
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
    runner
        Who runs ``vasp`` or ``cp2k``: ``qdip``, or ``atomate2`` in a flow that a manager of jobflow carries.  Not part
        of the level of theory.
    settings
        Single values that override the preset, such as ``{max_steps: 500}``.  The engine refuses unknown keys.
    """

    name: str = "mlip"
    preset: PresetName = PresetName.FAST
    potential: str | CalculatorSpec | None = None
    functional: str | None = None
    dispersion: Dispersion | None = None
    spin_orbit: bool = False
    device: Device = Field(default=Device.AUTO, exclude_if=lambda device: device is Device.AUTO)
    runner: Runner = Field(default=Runner.QDIP, exclude_if=lambda runner: runner is Runner.QDIP)
    settings: dict[str, JsonValue] = {}

    @property
    def potential_name(self) -> str | None:
        """The potential as one word."""
        return self.potential.calculator if isinstance(self.potential, CalculatorSpec) else self.potential
