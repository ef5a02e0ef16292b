"""The figure of a result against temperature."""

from __future__ import annotations

from pathlib import Path

from qdip_dft.model.temperature import TemperatureDoc
from qdip_dft.units import MEV_PER_EV

COLOURS = {"off the dot": "#b8860b", "on the dot": "#1f4e79"}


def draw_temperature(document: TemperatureDoc, path: Path) -> Path:
    """Write the figure as SVG: black − competitor on the dot and off it, intervals as bands.

    Parameters
    ----------
    document
        The result against temperature.
    path
        The file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for (name, colour), curve in zip(COLOURS.items(), (document.off_dot, document.on_dot), strict=True):
        if curve.missing:
            axes.plot([], [], color=colour, linestyle=":", label=f"{name}: missing")
            continue
        lower, upper = _in_mev(curve.lower_ev_per_fu), _in_mev(curve.upper_ev_per_fu)
        axes.plot(document.temperatures_k, lower, color=colour, label=name)
        axes.fill_between(document.temperatures_k, lower, upper, color=colour, alpha=0.25)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("temperature (K)")
    axes.set_ylabel("black − competitor (meV/f.u.)\nnegative: black favoured")
    axes.set_title(f"{document.id} ({document.level}, {document.theory.code})", fontsize=10)
    axes.legend(frameon=False)
    figure.savefig(path)
    return path


def _in_mev(energies_ev: tuple[float | None, ...]) -> list[float]:
    return [MEV_PER_EV * energy for energy in energies_ev if energy is not None]
