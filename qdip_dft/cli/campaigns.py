"""What the commands say about the studies of a campaign together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.cli.output import console, write_json
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
    console().print(describe_counts(counts), markup=False, soft_wrap=True)


def print_left_out(campaign: Planned) -> None:
    """Print which combinations are left out and why."""
    for name, reason in campaign.left_out.items():
        console().print(f"left out: {name}: {reason}", markup=False, soft_wrap=True)


def describe_counts(counts: Counts) -> str:
    """Return the counts of a campaign in one line."""
    return (
        f"{counts.n_total} calculations: {counts.n_stored} stored, {counts.n_claimed} being made for others, "
        f"{counts.n_shared} shared inside the campaign, {counts.n_new} new"
    )


def _print_table(planned: dict[str, list[PlannedCalculation]]) -> None:
    from rich import box
    from rich.table import Table

    from qdip_dft.execution.progress import format_duration

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("study", no_wrap=True)
    for heading in ("calculations", "stored", "largest", "time"):
        table.add_column(heading, justify="right")
    for name, found in planned.items():
        n_stored = sum(c.is_stored for c in found)
        largest = f"{max(c.n_atoms for c in found)} atoms"
        table.add_row(name, str(len(found)), str(n_stored), largest, format_duration(sum(c.estimated_s for c in found)))
    console().print(table)


def _as_json(name: str, found: list[PlannedCalculation]) -> dict[str, object]:
    return {
        "study": name,
        "n_calculations": len(found),
        "n_stored": sum(calculation.is_stored for calculation in found),
        "estimated_s": sum(calculation.estimated_s for calculation in found),
    }
