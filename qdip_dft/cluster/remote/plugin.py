"""`jf qdip`: studies in a user's own project of jobflow-remote, by the command line that the user knows.

Raw flows: what jobflow-remote does itself, its queue, workers and states, is not done again.
"""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Studies of qdip_dft: submit one to this project, read its answers.")


@app.command()
def submit(
    study: Annotated[str, typer.Argument(help="A ready-made study or a study file.")],
    worker: Annotated[str, typer.Option("--worker", "-w", help="The worker of this project that runs its jobs.")],
) -> None:
    """Submit a study as a plain flow; its last job holds the answer (eV per formula unit)."""
    from jobflow_remote import submit_flow

    from qdip_dft.planning.stabilization import StabilizationMaker

    flow = StabilizationMaker.from_study(study).make()
    submit_flow(flow, worker=worker)
    typer.echo(f"{len(flow.jobs)} jobs; the answer will be the output of job {flow.jobs[-1].uuid}")


@app.command()
def answers() -> None:
    """Print the answers in this project's JobStore (eV per formula unit; negative: the black phase is favoured)."""
    from jobflow_remote import get_jobstore

    store = get_jobstore()
    store.connect()
    try:
        for found in store.query({"output.stabilization": {"$exists": True}}, {"output.stabilization": 1, "uuid": 1}):
            answer = found["output"]["stabilization"]
            typer.echo(f"{found['uuid']}: {answer['total_ev_per_fu']} eV/f.u.: {answer['sentence']}")
    finally:
        store.close()


def setup_jf_plugin() -> None:
    """Add the commands to ``jf``; jobflow-remote calls it."""
    from jobflow_remote.cli.jf import app as jf

    jf.add_typer(app, name="qdip")
