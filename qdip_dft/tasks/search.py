r"""The lowest minimum, searched for and not hoped for.

Films of organic cations have very many minima, and a relaxation ends in the one next to its start: optimisers of one
film of FAPbI3 ended up to 0.1 eV per formula unit apart.  So a minimum is annealed for a short while and relaxed again,
several times over, always from the lowest one found (monotonic basin hopping: Leary, J. Global Optim. 2000, 18, 367).

Soft motions, the turning of cations and the tilting of octahedra, matter, and bonds would only slow them down.  The
anneal is therefore Brownian motion in the metric of the model Hessian P of the relaxation, in which all move alike,

.. math:: q' = q - h P^{-1} \nabla E + \sqrt{2 h k T}\, P^{-1/2} \xi,

whose stationary distribution is exp(−E/kT) to first order in h (preconditioned Langevin dynamics: Girolami and
Calderhead, J. R. Stat. Soc. B 2011, 73, 123).  T falls to zero on a line.  Random numbers follow from the calculation
key, so that a question has one answer.

The search ends after ``search_tries`` anneals, whatever they find: black phase and competitor, reference and slab get
the same effort.  What it has not found is estimated from how far the lowest few lie apart (`MinimumSearch.spread_ev`).
"""

from __future__ import annotations

from math import sqrt
from time import perf_counter

import numpy as np

from qdip_dft.engines.base import OnStep
from qdip_dft.engines.evaluation import FloatArray, Potential, evaluate_apart
from qdip_dft.engines.potential import UNRECORDED_S, PotentialEngine
from qdip_dft.engines.relaxation.coordinates import coordinates_of
from qdip_dft.engines.relaxation.descent import relax_structure
from qdip_dft.engines.relaxation.model_hessian import model_hessian
from qdip_dft.engines.relaxation.recorded import RecordedPotential, recording_folder
from qdip_dft.model.calculation import ANNEAL_STEPS, EngineResult, Freedom, MinimumSearch
from qdip_dft.model.molecules import find_molecules
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import BOLTZMANN_EV_PER_K

START_K = 600.0
"""Temperature at which an anneal starts, in K."""

STEP = 0.25
"""h: with 1 and no noise a step would end at the minimum of the model."""

LONGEST_STEP_ANG = 0.5
"""No atom moves further in one step of an anneal."""

LONGEST_WAY_ANG = 1.5
"""Half a Pb–I bond: a structure in which an ion has moved further than this is another phase, not another minimum."""


def search_minimum(
    engine: PotentialEngine, structure: StructureRecord, freedom: Freedom, *, seed: int, on_step: OnStep | None = None
) -> EngineResult:
    """Return the lowest minimum that the tries of an engine find, with all energies on the way.

    A relaxation that does not converge is never the lowest; one that breaks a molecule or moves an ion out of its place
    counts for nothing.  Every evaluation is recorded, so that a search which was killed goes on where it was.

    Parameters
    ----------
    engine
        The potential; its relaxation settings say how often it tries.
    structure
        Where the first relaxation starts.
    freedom
        What may move, in the anneals as in the relaxations.
    seed
        Of the random numbers.
    on_step
        Called after each force evaluation of a relaxation.
    """
    start_s, random, settings = perf_counter(), np.random.default_rng(seed), engine.relaxation
    engine.require_freedom(freedom)
    folder = recording_folder(engine, structure, freedom)
    with RecordedPotential(engine.load_potential(), folder, every_s=UNRECORDED_S) as potential:
        first = lowest = relax_structure(structure, freedom, potential=potential, settings=settings, on_step=on_step)
        energies_ev = [lowest.energy_ev]
        n_force_calls = lowest.n_steps + 1
        for _ in range(settings.search_tries):
            start, n_annealing = _anneal(lowest.structure, freedom, potential, random)
            found = relax_structure(start, freedom, potential=potential, settings=settings, on_step=on_step)
            n_force_calls += n_annealing + found.n_steps + 1
            if not _is_same_phase(first.structure, found.structure):
                continue
            energies_ev.append(found.energy_ev)
            if found.is_converged and (found.energy_ev < lowest.energy_ev or not lowest.is_converged):
                lowest = found
    search = MinimumSearch(energies_ev=tuple(energies_ev), n_force_calls=n_force_calls)
    return lowest.model_copy(update={"search": search, "wall_time_s": perf_counter() - start_s})


def _anneal(
    structure: StructureRecord, freedom: Freedom, potential: Potential, random: np.random.Generator
) -> tuple[StructureRecord, int]:
    """The structure after Brownian motion that has come to rest, earlier where atoms met; and its force calls."""
    coordinates = coordinates_of(structure, freedom)
    q = coordinates.start()
    gradient = np.zeros(len(q))
    for step in range(ANNEAL_STEPS):
        model = model_hessian(coordinates, q)
        width = sqrt(2 * STEP * BOLTZMANN_EV_PER_K * START_K * (1 - step / ANNEAL_STEPS))
        pull = width * (model.root.T @ random.standard_normal(model.root.shape[0])) - STEP * gradient
        there = q + _limit(model.solve(pull), coordinates.n_atomic)
        evaluation = evaluate_apart(potential, coordinates.arrangement(there))
        if not evaluation.is_finite:
            return coordinates.record(q), step + 1
        q, gradient = there, coordinates.gradient(there, evaluation)
    return coordinates.record(q), ANNEAL_STEPS


def _limit(step: FloatArray, n_atomic: int) -> FloatArray:
    """The step, shortened so that no atom moves further than `LONGEST_STEP_ANG`."""
    longest_ang = np.linalg.norm(step[:n_atomic].reshape(-1, 3), axis=1).max(initial=0.0)
    return step / max(1.0, float(longest_ang) / LONGEST_STEP_ANG)


def _is_same_phase(one: StructureRecord, other: StructureRecord) -> bool:
    """Whether two structures have the same molecules, and every ion about where it is in the other."""
    before, after = one.arrangement, other.arrangement
    molecules = find_molecules(before)
    if [each.sites for each in molecules] != [each.sites for each in find_molecules(after)]:
        return False
    moved_ang = after.positions_ang - before.positions_ang
    for molecule in molecules:
        moved_ang[list(molecule.sites)] = moved_ang[list(molecule.sites)].mean(axis=0)
    return bool(np.linalg.norm(moved_ang - moved_ang.mean(axis=0), axis=1).max() <= LONGEST_WAY_ANG)
