"""Machine-learned interatomic potentials whose weights come inside their wheel, with D3(BJ) on top.

All were trained on PBE energies, forces and stresses of the Materials Project trajectories; two know r2SCAN besides:

* ``sevennet-0``: SevenNet-0 (11 July 2024), Park et al., J. Chem. Theory Comput. 2024, 20, 4857;
* ``sevennet-l3i5``: the same with finer features (l ≤ 3);
* ``sevennet-mf-0`` and ``sevennet-mf-0-r2scan``: one network for two functionals, Kim et al., J. Am. Chem. Soc. 2025,
  147, 1042;
* ``chgnet``: CHGNet 0.3.0, Deng et al., Nat. Mach. Intell. 2023, 5, 1031;
* ``chgnet-r2scan``: CHGNet carried over to r2SCAN.

docs/validation.md compares them with published minima.  Neither functional has dispersion, so D3(BJ) is added.  The
results are for screening: they rank, a DFT calculation decides.
The networks work in single precision; their energies per atom are summed in double precision, because a
single-precision total of some -600 eV resolves only 6e-5 eV.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import JsonValue

from qdip_dft.engines.base import RELAXATIONS, Feature
from qdip_dft.engines.dispersion import D3Parameters, evaluate_d3, find_d3
from qdip_dft.engines.evaluation import Evaluation, Potential, as_stress_matrix, evaluate_many
from qdip_dft.engines.potential import PotentialEngine
from qdip_dft.engines.preset import POTENTIAL_SETTINGS, load_preset, override_preset, relaxation_settings_of
from qdip_dft.engines.relaxation.descent import OPTIMISER
from qdip_dft.engines.repeatable import repeatable
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import EngineResult, Level, LevelOfTheory
from qdip_dft.model.engine import Device, Dispersion, EngineSpec
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.runtime.installation import install_hint, package_folder
from qdip_dft.runtime.quiet import third_parties_silent
from qdip_dft.runtime.threads import limit_torch


@dataclass(frozen=True, slots=True)
class Network:
    """A trained network in an installed package.

    Parameters
    ----------
    code
        Its name in papers.
    package
        The installed package that carries it.
    weights
        Path of the weights inside the package.
    functional
        What it was trained on.
    modal
        The package's name for that, where one network knows several.
    seconds_per_atom
        Measured time of a force evaluation on two cores, in s, above `SECONDS_AT_REST`.
    """

    code: str
    package: str
    weights: str
    seconds_per_atom: float
    functional: str = "PBE"
    modal: str | None = None


SECONDS_AT_REST = 0.05
"""What a force evaluation takes whatever its size, in s."""

MULTIFIDELITY = "pretrained_potentials/SevenNet_MF_0/checkpoint_sevennet_mf_0.pth"

NETWORKS: dict[str, Network] = {
    "sevennet-0": Network(
        code="SevenNet-0",
        package="sevenn",
        weights="pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
        seconds_per_atom=0.0034,
    ),
    "sevennet-l3i5": Network(
        code="SevenNet-l3i5",
        package="sevenn",
        weights="pretrained_potentials/SevenNet_l3i5/checkpoint_l3i5.pth",
        seconds_per_atom=0.0045,
    ),
    "sevennet-mf-0": Network(
        code="SevenNet-MF-0",
        package="sevenn",
        weights=MULTIFIDELITY,
        seconds_per_atom=0.0034,
        modal="PBE",
    ),
    "sevennet-mf-0-r2scan": Network(
        code="SevenNet-MF-0",
        package="sevenn",
        weights=MULTIFIDELITY,
        seconds_per_atom=0.0034,
        functional="r2SCAN",
        modal="R2SCAN",
    ),
    "chgnet": Network(
        code="CHGNet-0.3.0",
        package="chgnet",
        weights="pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
        seconds_per_atom=0.004,
    ),
    "chgnet-r2scan": Network(
        code="CHGNet-r2SCAN",
        package="chgnet",
        weights="pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
        seconds_per_atom=0.004,
        functional="r2SCAN",
    ),
}
"""The potentials whose weights need no download."""

DEVICE_VARIABLE = "QDIP_DEVICE"
"""Environment variable that says where networks run: ``auto``, ``cpu`` or ``cuda``; it goes before the study."""

EXTRAS = {"chgnet": "chgnet"}
"""The extra of a package that the extra `mlip` does not bring."""


@dataclass(frozen=True)
class MlipEngine(PotentialEngine):
    """A machine-learned potential, with or without D3.

    Parameters
    ----------
    relaxation
        When a relaxation is done.
    potential
        Name of the network.
    dispersion
        The correction on top.
    device
        Where it runs.
    """

    potential: str = "sevennet-0"
    dispersion: str = Dispersion.D3BJ.value
    device: str = Device.AUTO.value

    name: ClassVar[str] = "mlip"
    features: ClassVar[frozenset[Feature]] = RELAXATIONS | {Feature.D3BJ}

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> MlipEngine:
        """Return the engine that a study asks for, or say which part is missing."""
        potential = spec.potential_name or "sevennet-0"
        preset = override_preset(load_preset(spec.preset), spec.settings, allowed=POTENTIAL_SETTINGS)
        dispersion = spec.dispersion or preset.dispersion
        _require_installed(_network_called(potential).package)
        if dispersion is not Dispersion.NONE:
            _require_installed("dftd3")
        return cls(
            relaxation=relaxation_settings_of(preset, optimiser=OPTIMISER),
            potential=potential,
            dispersion=dispersion.value,
            device=spec.device.value,
        )

    def theory(self) -> LevelOfTheory:
        """Return the level of theory; reads the weights file once, imports no network."""
        network = _network_called(self.potential)
        settings: dict[str, JsonValue] = {"energy_sum": "float64"}
        correction = find_d3(self.dispersion, network.functional)
        if network.modal is not None:
            settings["modal"] = network.modal
        if correction is not None:
            settings |= {"d3_code": f"dftd3 {_version_of('dftd3')}", **correction.as_settings()}
        return LevelOfTheory(
            level=Level.SCREENING,
            engine=self.name,
            code=network.code,
            code_version=f"{network.package} {_version_of(network.package)}",
            functional=network.functional,
            dispersion=self.dispersion,
            weights_hash=sha256_of(weights_file(network)),
            settings=settings,
        )

    def static_many(self, structures: Sequence[StructureRecord]) -> list[EngineResult] | None:
        """Return energies, forces and stresses; None on a processor, where a batch takes memory and saves no time."""
        return None if choose_device(self.device) is Device.CPU else super().static_many(structures)

    def load_potential(self) -> Potential:
        """Return the network with its dispersion correction."""
        network = load_network(self.potential, choose_device(self.device))
        correction = find_d3(self.dispersion, _network_called(self.potential).functional)
        return network if correction is None else DispersionCorrected(network, correction)

    def seconds_per_force_call(self, n_atoms: int) -> float:
        """Return the rough time of one force evaluation on two cores, in s."""
        return SECONDS_AT_REST + _network_called(self.potential).seconds_per_atom * n_atoms


def weights_file(network: Network) -> Path:
    """Return where the installed package keeps the network's weights, without importing the package."""
    folder = package_folder(network.package)
    if folder is None:
        raise _not_installed(network.package)
    return folder / network.weights


@dataclass(frozen=True, slots=True)
class DispersionCorrected:
    """A potential with D3 on top."""

    potential: Potential
    parameters: D3Parameters

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Evaluate one structure."""
        return self.evaluate_many([arrangement])[0]

    def evaluate_many(self, arrangements: Sequence[Arrangement]) -> list[Evaluation]:
        """Evaluate structures; the correction, a hundredth of the time, one after the other."""
        bare = evaluate_many(self.potential, arrangements)
        return [
            evaluation + evaluate_d3(arrangement, self.parameters)
            for evaluation, arrangement in zip(bare, arrangements, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class ForKnownElements:
    """A network that refuses elements on which it was not trained."""

    network: Potential
    known: Container[int]

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Evaluate one structure."""
        return self.evaluate_many([arrangement])[0]

    def evaluate_many(self, arrangements: Sequence[Arrangement]) -> list[Evaluation]:
        """Evaluate structures, at once if the network can."""
        for arrangement in arrangements:
            _require_elements(arrangement, self.known)
        return evaluate_many(self.network, arrangements)


@cache
def load_network(name: str, device: Device = Device.CPU) -> Potential:
    """Return a network as a potential, loaded from the very file whose hash is in the level of theory."""
    limit_torch()
    network = _network_called(name)
    if network.package == "chgnet":
        return _load_chgnet(weights_file(network), device)
    return _load_sevennet(weights_file(network), device, modal=network.modal)


def choose_device(asked: str) -> Device:
    """Return where networks run: what `DEVICE_VARIABLE` or the study says, else the graphics processor if there is one.

    Raises
    ------
    EngineError
        If a graphics processor is asked for and PyTorch finds none, or the word is unknown.
    """
    import torch

    asked = os.environ.get(DEVICE_VARIABLE) or asked
    if asked not in set(Device):
        raise _unusable_device(asked, f"known are {', '.join(Device)}", remedy=f"set {DEVICE_VARIABLE} to one of them")
    if asked == Device.CUDA and not torch.cuda.is_available():
        raise _unusable_device(
            asked,
            "PyTorch finds no graphics processor",
            remedy="install a PyTorch built for CUDA on a machine with a graphics processor, or write `device: auto`",
        )
    return Device.CUDA if asked != Device.CPU and torch.cuda.is_available() else Device.CPU


def _unusable_device(asked: str, limit: str, *, remedy: str) -> EngineError:
    return EngineError(
        f"the potential cannot run on the device {asked!r}",
        limit=limit,
        why="it would run elsewhere, many times slower than planned",
        remedy=remedy,
    )


def _load_sevennet(weights: Path, device: Device, *, modal: str | None) -> Potential:
    with third_parties_silent():
        from qdip_dft.engines.sevennet import load_sevennet

    network = load_sevennet(weights, device=device.value, modal=modal)
    return ForKnownElements(network, network.known)


def _load_chgnet(weights: Path, device: Device) -> Potential:
    with third_parties_silent():
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        # mlp_out_bias belongs to the released 0.2.0 weights only (CHGNet.load).
        model = CHGNet.from_file(str(weights), mlp_out_bias=False, version="0.3.0")
        calculator = CHGNetCalculator(
            model, use_device=device.value, on_isolated_atoms="ignore", return_site_energies=True
        )
    return ForKnownElements(lambda arrangement: _evaluate(calculator, arrangement), range(1, 95))


def _evaluate(calculator: Any, arrangement: Arrangement) -> Evaluation:
    atoms = arrangement.to_ase()
    with third_parties_silent(), repeatable():
        calculator.calculate(atoms, ["energy", "forces", "stress"])
    return Evaluation(
        energy_ev=float(np.sum(calculator.results["energies"], dtype=np.float64)),
        forces_ev_per_ang=np.asarray(calculator.results["forces"], dtype=np.float64),
        stress_ev_per_ang3=as_stress_matrix(np.asarray(calculator.results["stress"], dtype=np.float64)),
    )


def _require_elements(arrangement: Arrangement, known: Container[int]) -> None:
    atoms = zip(arrangement.species, arrangement.numbers, strict=True)
    unknown = sorted({symbol for symbol, number in atoms if int(number) not in known})
    if unknown:
        raise EngineError(
            f"the potential does not know {', '.join(unknown)}",
            limit="it was trained on the elements of the Materials Project trajectories",
            why="it has no parameters to give such an atom an energy",
            remedy="choose another potential or a DFT engine",
        )


def _network_called(name: str) -> Network:
    if name in NETWORKS:
        return NETWORKS[name]
    raise EngineError(
        f"engine 'mlip' has no potential {name!r}",
        limit=f"it has {', '.join(NETWORKS)}, and any calculator of ASE by its import path or as `file.py:Name`",
        why="only these bring their weights in their package, so that a result can be repeated",
        remedy="set `potential` to one of them; docs/potentials.md tells how to bring your own",
    )


def _require_installed(package: str) -> None:
    if find_spec(package) is None:
        raise _not_installed(package)


def _not_installed(package: str) -> EngineError:
    return EngineError(
        f"engine 'mlip' needs the package {package!r}",
        limit="it is not installed",
        why="without it there is no energy",
        remedy=f"install it with {install_hint(EXTRAS.get(package, 'mlip'))}",
    )


@cache
def _version_of(package: str) -> str:
    return version(package)


@cache
def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read once per process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
