"""What the commands say about the studies of a campaign together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.cli.output import write_json, write_line, write_table
from qdip_dft.cli.stored import make_look_up

if TYPE_CHECKING:
    from qdip_dft.planning.campaign import Counts, Planned
    from qdip_dft.planning.plan import PlannedCalculation


def plan_campaign(campaign: Planned, results: Path, *, as_json: bool) -> None:
    """Print every study of a campaign and what they have in common; nothing is run."""
    from qdip_dft.planning.campaign import count_calculations

    look_up = make_look_up(results)
    planned = {plan.study.id: plan.list_calculations(look_up) for plan in campaign.plans}
    counts = count_calculations(planned.values())
    if as_json:
        studies = [_as_json(name, found) for name, found in planned.items()]
        write_json({"studies": studies, "left_out": campaign.left_out, "counts": asdict(counts)})
        return
    _print_table(planned)
    print_left_out(campaign)
    write_line(describe_counts(counts))


def print_left_out(campaign: Planned) -> None:
    """Print which combinations are left out and why."""
    for name, reason in campaign.left_out.items():
        write_line(f"left out: {name}: {reason}")


def describe_counts(counts: Counts) -> str:
    """Return the counts of a campaign in one line."""
    return (
        f"{counts.n_total} calculations: {counts.n_stored} stored, {counts.n_claimed} being made for others, "
        f"{counts.n_shared} shared inside the campaign, {counts.n_new} new"
    )


def _print_table(planned: dict[str, list[PlannedCalculation]]) -> None:
    from qdip_dft.execution.progress import format_duration

    headings = ("study", "calculations", "stored", "largest", "time")
    rows = [
        (name, str(len(found)), str(sum(c.is_stored for c in found)), f"{max(c.n_atoms for c in found)} atoms",
         format_duration(sum(c.estimated_s for c in found)))
        for name, found in planned.items()
    ]  # fmt: skip
    write_table(headings, rows, numbers=headings[1:])


def _as_json(name: str, found: list[PlannedCalculation]) -> dict[str, object]:
    return {
        "study": name,
        "n_calculations": len(found),
        "n_stored": sum(calculation.is_stored for calculation in found),
        "estimated_s": sum(calculation.estimated_s for calculation in found),
    }
