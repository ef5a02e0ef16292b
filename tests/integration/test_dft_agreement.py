"""Do the codes agree with each other and with the literature?  PbS with the preset `balanced`.

The Δ gauge is the root mean square of the difference of two energy-volume curves of PBE, minima aligned, over
±6 % around the mean of their volumes: Lejaeghere et al., Science 2016, 351, aad3000.  Codes that do the same reach
1 meV per atom with the best pseudopotentials; Quantum ESPRESSO and GPAW do here.  CP2K's pseudopotential of lead keeps
5d in the core, which makes PbS 0.4 % wider: neither a larger basis set nor a finer grid changes that.

The lattice constant is that of PBE-D3(BJ): dispersion, the same number in all codes, is added to the same energies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.eos import EquationOfState, birchmurnaghan

from qdip_dft.engines.dispersion import PBE_D3BJ, evaluate_d3
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.engine import Dispersion, EngineSpec, PresetName
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.dft_codes import CODES, require_code, rock_salt

VOLUMES = np.linspace(0.94, 1.06, 5)
"""In units of the volume at the middle."""

MIDDLE_ANG = 5.975
"""Between the minima with and without dispersion."""

MESH = {"k_spacing_per_ang": 0.31}
"""6 x 6 x 6 points, not the 9 x 9 x 9 of the preset: a third of the time; the gauge changes by 0.05 meV per atom."""

AGREEMENT_ANG = 0.03
AGREEMENT_MEV_PER_ATOM = 5.0


@dataclass(frozen=True)
class Curve:
    """A Birch-Murnaghan fit of the primitive cell: volume in Å³, bulk modulus in eV/Å³."""

    volume_ang3: float
    bulk_modulus_ev_per_ang3: float
    pressure_derivative: float

    @property
    def lattice_constant_ang(self) -> float:
        return float((4.0 * self.volume_ang3) ** (1 / 3))

    def energy_ev(self, volumes_ang3: np.ndarray) -> np.ndarray:
        """Return the energy above the minimum."""
        energies: np.ndarray = birchmurnaghan(
            volumes_ang3, 0.0, self.bulk_modulus_ev_per_ang3, self.pressure_derivative, self.volume_ang3
        )
        return energies


def delta_mev_per_atom(one: Curve, other: Curve) -> float:
    mean = (one.volume_ang3 + other.volume_ang3) / 2
    volumes = np.linspace(0.94, 1.06, 201) * mean
    difference = one.energy_ev(volumes) - other.energy_ev(volumes)
    return float(1000 * np.sqrt(np.mean(difference**2)) / 2)


@pytest.fixture(scope="module")
def reference_ang(request: pytest.FixtureRequest) -> float:
    text = (Path(request.config.rootpath) / "tests/data/reference_values.yaml").read_text(encoding="utf-8")
    return float(yaml.safe_load(text)["lattice_constant_ang"]["PbS"]["PBE-D3"])


@pytest.fixture(scope="module")
def energies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SCRATCH_VARIABLE, str(tmp_path_factory.mktemp("scratch")))
        return {name: energies_ev(name) for name in CODES}


CRYSTALS = [rock_salt(MIDDLE_ANG * float(v) ** (1 / 3)) for v in VOLUMES]


def energies_ev(name: str) -> np.ndarray:
    require_code(name)
    spec = EngineSpec(
        name=name, preset=PresetName.BALANCED, functional="PBE", dispersion=Dispersion.NONE, settings=MESH
    )
    engine = engine_from_spec(spec)
    return np.array([engine.static(crystal).energy_ev for crystal in CRYSTALS])


def dispersion_ev() -> np.ndarray:
    return np.array([evaluate_d3(crystal.arrangement, PBE_D3BJ).energy_ev for crystal in CRYSTALS])


def fit_curve(energies: np.ndarray) -> Curve:
    fit = EquationOfState([each.arrangement.volume_ang3 for each in CRYSTALS], energies, eos="birchmurnaghan")
    volume, _, modulus = fit.fit()
    return Curve(float(volume), float(modulus), float(fit.eos_parameters[2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", CODES)
def test_the_lattice_constant_of_lead_sulphide_is_that_of_the_literature(
    name: str, energies: dict[str, np.ndarray], reference_ang: float
) -> None:
    curve = fit_curve(energies[name] + dispersion_ev())
    assert curve.lattice_constant_ang == pytest.approx(reference_ang, abs=AGREEMENT_ANG)


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), [("espresso", "gpaw"), ("gpaw", "cp2k"), ("cp2k", "espresso")])
def test_two_codes_have_the_same_energy_volume_curve(one: str, other: str, energies: dict[str, np.ndarray]) -> None:
    delta = delta_mev_per_atom(fit_curve(energies[one]), fit_curve(energies[other]))
    assert delta < AGREEMENT_MEV_PER_ATOM
