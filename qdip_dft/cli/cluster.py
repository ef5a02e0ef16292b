"""`qdip init-cluster | submit | queue | pause | resume | cancel | rerun | reconcile`: studies on a cluster."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.cli.campaigns import describe_counts, print_left_out
from qdip_dft.cli.options import AsJson, Retry
from qdip_dft.cli.output import console, write_json, write_line
from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdip_dft.cli.managers import Action
    from qdip_dft.cluster.database import Manager
    from qdip_dft.cluster.folder import ClusterFolder
    from qdip_dft.cluster.resources import Scheduler
    from qdip_dft.cluster.submission import SubmitSummary

Cluster = Annotated[
    Path,
    typer.Option("--cluster", envvar="QDIP_CLUSTER", help="Cluster folder.", show_default="./qdip-cluster"),
]
SubmittedStudy = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a submitted study.")]
ManagerName = Annotated[
    str, typer.Option("--manager", envvar="QDIP_MANAGER", help="Who carries it out: fireworks or jobflow-remote.")
]
Term = Annotated[str | None, typer.Option("--term", help="Only this term: bulk, strain, surface, binding or advance.")]

DEFAULT_CLUSTER = Path("qdip-cluster")
PASSWORD_VARIABLE = "QDIP_MONGODB_PASSWORD"


def init_cluster(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the configuration.")],
    uri: Annotated[str, typer.Option("--uri", prompt="MongoDB address", help="mongodb://HOST:PORT without password.")],
    user: Annotated[str, typer.Option("--user", prompt="MongoDB user", help="Who may read and write the database.")],
    database: Annotated[str, typer.Option("--database", help="Name of the group's database.")] = "qdip",
    authentication_database: Annotated[
        str | None, typer.Option("--authentication-database", help="Where MongoDB keeps the user; none: --database.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help=f"File with the password, else ${PASSWORD_VARIABLE}.")
    ] = None,
    scheduler: Annotated[str, typer.Option("--scheduler", help="SLURM, PBS or SGE.")] = "SLURM",
    partition: Annotated[str, typer.Option("--partition", help="Partition or queue; none: the default one.")] = "",
    account: Annotated[str, typer.Option("--account", help="Account that pays; none: the default one.")] = "",
    pre_rocket: Annotated[str, typer.Option("--before", help="Shell command that prepares a job.")] = "",
    packed_nodes: Annotated[int, typer.Option("--packed-nodes", help="Nodes of one allocation of class mlip.")] = 1,
    packed_ranks: Annotated[
        int, typer.Option("--packed-ranks", help="Jobs that run in it at once; 0: a batch job each.")
    ] = 4,
) -> None:
    """Write a cluster folder: FireWorks' and jobflow's configuration with absolute paths, and test the database.

    The password is asked for, or taken from a file or from QDIP_MONGODB_PASSWORD; it is kept in files of mode 600.

    Example: qdip init-cluster ~/cluster --uri mongodb://example.org --user me
    """
    from qdip_dft.cluster.folder import ClusterSettings, write_cluster_folder

    _require_no_password(uri)
    settings = ClusterSettings(
        mongodb_uri=uri,
        database=database,
        user=user,
        password=_read_password(password_file),
        authentication_database=authentication_database or database,
        scheduler=_find_scheduler(scheduler),
        partition=partition,
        account=account,
        pre_rocket=pre_rocket,
        packed_nodes=packed_nodes,
        packed_ranks=packed_ranks,
    )
    written = write_cluster_folder(folder, settings, try_out=_prepare_database)
    for line in (
        f"Written: {written.path}",
        f"export QDIP_CLUSTER={written.path}",
        f"Look through {written.path}/resources.yaml and */my_qadapter.yaml, then: qdip doctor --cluster DIR",
    ):
        write_line(line)


def _find_scheduler(name: str) -> Scheduler:
    from qdip_dft.cluster.resources import Scheduler

    if name.upper() in list(Scheduler):
        return Scheduler(name.upper())
    raise ResultsError(
        f"there is no batch system {name!r}",
        limit=f"known are {', '.join(Scheduler)}",
        why="batch scripts could not be written",
        remedy="choose one with --scheduler",
    )


def _prepare_database(folder: ClusterFolder) -> None:
    from qdip_dft.cluster.database import ClusterDatabase

    with folder.open_launchpad() as launchpad:
        ClusterDatabase(launchpad.db).prepare()


def submit(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Studies or campaigns: files, or names in workflows/.")
    ],
    cluster: Cluster = DEFAULT_CLUSTER,
    manager: ManagerName = "fireworks",
    priority: Annotated[int, typer.Option("--priority", help="Higher ones run first.")] = 0,
    resources: Annotated[
        Path | None, typer.Option("--resources", help="Resources of these studies instead of resources.yaml.")
    ] = None,
    is_retry: Retry = False,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be submitted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit studies to the group's queue; what anybody has calculated or is calculating is not submitted again.

    Example: qdip submit pbs-fapbi3 --cluster ~/qdip-cluster --dry-run
    """
    from qdip_dft.cli.managers import open_queue
    from qdip_dft.cluster.resources import read_resources
    from qdip_dft.cluster.submission import count_together, submit_through
    from qdip_dft.planning.campaign import plan_all

    folder = _folder(cluster)
    chosen = folder.read_resources() if resources is None else read_resources(resources)
    found = plan_all(studies)
    chosen_manager = _manager(manager)
    with open_queue(folder, chosen_manager) as queue:
        options: dict[str, Any] = {"priority": priority, "is_retry": is_retry, "is_dry_run": is_dry_run}
        counts = count_together(queue.database, found.plans) if len(found.plans) > 1 else None
        summaries = [submit_through(queue, plan, resources=chosen, **options) for plan in found.plans]
    if as_json:
        studies_as_json = [asdict(summary) for summary in summaries]
        write_json(studies_as_json if counts is None else {"studies": studies_as_json, "counts": asdict(counts)})
        return
    if counts is not None:
        write_line(describe_counts(counts))
    print_left_out(found)
    for summary in summaries:
        write_line(_describe(summary, chosen_manager))


def queue(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="A submitted study; none: all.")] = None,
    cluster: Cluster = DEFAULT_CLUSTER,
    term: Term = None,
    as_json: AsJson = False,
) -> None:
    """Show the progress of submitted studies: calculations by term and state, and why batch jobs wait.

    standby: another study calculates it. Raw FireWorks: lpad -l DIR/my_launchpad.yaml get_wflows.

    Example: qdip queue pbs-fapbi3 --term strain
    """
    from qdip_dft.cli.managers import list_all_statuses

    statuses = list_all_statuses(_folder(cluster), study=study, term=term)
    if as_json:
        write_json([{**asdict(status), "totals": status.totals} for status in statuses])
        return
    for status in statuses:
        console().print(f"{status.study} ({status.submitted_by}): {status.state}", markup=False)
        for each, states in sorted(status.counts.items()):
            words = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            console().print(f"  {each:<8} {words}", markup=False)
        for line in status.left:
            words = f"  left: {line}; more memory or space (resources.yaml), then qdip rerun {status.study}"
            write_line(words)
    for line in _list_waiting(_folder(cluster)):
        console().print(line, markup=False)


def _list_waiting(folder: ClusterFolder) -> Iterator[str]:
    """Yield why batch jobs wait, or what could say it: the batch system may be elsewhere."""
    from qdip_dft.cluster.resources import Scheduler
    from qdip_dft.cluster.scheduler import LIST_WAITING, list_waiting_jobs

    scheduler = folder.read_resources().scheduler
    try:
        waiting = list_waiting_jobs(scheduler)
    except ResultsError as error:
        yield f"why batch jobs wait is not known here: {error.what}"
        return
    if scheduler is not Scheduler.SLURM:
        yield f"why a batch job of {scheduler} waits: {LIST_WAITING[scheduler]} (read here for Slurm only)"
    for job in waiting:
        yield f"batch job {job.number} ({job.name}) waits: {job.reason}"


def pause(study: SubmittedStudy, cluster: Cluster = DEFAULT_CLUSTER, term: Term = None) -> None:
    """Keep what has not started of a study from starting, until qdip resume.

    Example: qdip pause pbs-fapbi3 --term binding
    """
    from qdip_dft.cli.managers import Action

    _act(cluster, Action.PAUSE, study, term)


def resume(study: SubmittedStudy, cluster: Cluster = DEFAULT_CLUSTER, term: Term = None) -> None:
    """Let a paused study go on.

    Example: qdip resume pbs-fapbi3
    """
    from qdip_dft.cli.managers import Action

    _act(cluster, Action.RESUME, study, term)


def cancel(study: SubmittedStudy, cluster: Cluster = DEFAULT_CLUSTER, term: Term = None) -> None:
    """Give up what has not started of a study; results are kept, and what other studies wait for goes on for them.

    Example: qdip cancel pbs-fapbi3
    """
    from qdip_dft.cli.managers import Action

    _act(cluster, Action.CANCEL, study, term)


def rerun(
    study: SubmittedStudy,
    cluster: Cluster = DEFAULT_CLUSTER,
    _: Annotated[bool, typer.Option("--failed", help="What was lost, failed or did not converge; the default.")] = True,
    term: Term = None,
) -> None:
    """Start again what was lost; in a study that has its result also what failed or did not converge, as a new attempt.

    With --term only what was lost of that term.

    Example: qdip rerun pbs-fapbi3 --failed
    """
    from qdip_dft.cli.managers import Action

    _act(cluster, Action.RERUN, study, term)


def runner(
    cluster: Cluster = DEFAULT_CLUSTER,
    interval: Annotated[float, typer.Option("--interval", min=1, help="Seconds between two rounds.")] = 10,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="End after so many rounds.")] = None,
) -> None:
    """Feed the batch system with what was submitted to jobflow-remote, and go on with its studies.

    The only process that needs the database; run it where the batch system can be called, for example in tmux.  It may
    be killed and started again at any time.

    Example: qdip runner --cluster ~/qdip-cluster
    """
    from qdip_dft.cluster.remote.runner import run_runner

    run_runner(_folder(cluster), interval_s=interval, n_rounds=rounds)


def reconcile(
    cluster: Cluster = DEFAULT_CLUSTER,
    watch: Annotated[float | None, typer.Option("--watch", help="Repeat every so many seconds.")] = None,
    silence: Annotated[
        float, typer.Option("--silence", help="A run without sign of life for so many s is lost.")
    ] = 240,
    grace: Annotated[float, typer.Option("--grace", help="Leave states alone that are younger than this, in s.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Mend what kills, cancelled batch jobs and outages have left in the queue; may be repeated at any time.

    Run it on a machine that sees the batch system and the outbox, best every few minutes.

    Example: qdip reconcile --cluster ~/qdip-cluster --watch 120
    """
    folder = _folder(cluster)
    while True:
        repairs = _reconcile_once(folder, silence_s=silence, grace_s=grace)
        if as_json:
            write_json(repairs)
        else:
            words = ", ".join(f"{count} {repair}" for repair, count in repairs.items()) or "nothing to mend"
            console().print(words, markup=False)
        if watch is None:
            return
        time.sleep(watch)


def _reconcile_once(folder: ClusterFolder, *, silence_s: float, grace_s: float) -> dict[str, int]:
    from qdip_dft.cluster.fireworks.outbox import Outbox
    from qdip_dft.cluster.fireworks.reconcile import Reconciler
    from qdip_dft.cluster.scheduler import explain_end, list_live_jobs

    scheduler = folder.read_resources().scheduler
    live_jobs = list_live_jobs(scheduler)
    options: dict[str, Any] = {"silence_s": silence_s, "grace_s": grace_s, "cluster": folder.read_mark()}
    options["explain_end"] = partial(explain_end, scheduler)
    with folder.open_launchpad() as launchpad:
        return Reconciler(launchpad, Outbox(folder.outbox), live_jobs, **options).run()


def _folder(path: Path) -> ClusterFolder:
    from qdip_dft.cluster.folder import ClusterFolder

    return ClusterFolder(path.absolute())


def _act(cluster: Path, action: Action, study: str, term: str | None) -> None:
    from qdip_dft.cli.managers import act_on_study

    count = act_on_study(_folder(cluster), action, study, term=term)
    console().print(f"{count} jobs {action}", markup=False)


def _manager(name: str) -> Manager:
    from qdip_dft.cluster.database import Manager

    if name in list(Manager):
        return Manager(name)
    raise ResultsError(
        f"there is no manager {name!r}",
        limit=f"known are {', '.join(Manager)}",
        why="somebody must carry the jobs out",
        remedy="choose one with --manager or QDIP_MANAGER; docs/cluster.md compares them",
    )


def _describe(summary: SubmitSummary, manager: Manager) -> str:
    is_fireworks = manager.value == "fireworks"
    counts = f"{summary.n_stored} calculations stored, {summary.n_fireworks} {'fireworks' if is_fireworks else 'jobs'}"
    if summary.classes:
        classes = [f"{count} {name}" for name, count in summary.classes.items()]
        counts += f" ({', '.join([*classes, '1 to go on'] if is_fireworks else classes)})"
    if summary.n_shared:
        counts += f", {summary.n_shared} of them made by other studies"
    if summary.n_later:
        counts += f", {summary.n_later} follow from their results"
    return f"{summary.study}: {counts}" + (f"; {summary.note}" if summary.note else "")


def _read_password(password_file: Path | None) -> str:
    if password_file is not None:
        try:
            return password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise _no_password(password_file) from None
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    answer: Any = typer.prompt("MongoDB password", hide_input=True)
    return str(answer)


def _no_password(file: Path) -> ResultsError:
    return ResultsError(
        f"the password cannot be read from {file}",
        limit="--password-file names a text file that holds the password and nothing else",
        why="the database would refuse, and nothing was written",
        remedy=f"correct the path, or set {PASSWORD_VARIABLE}",
    )


def _require_no_password(uri: str) -> None:
    if "@" not in uri.partition("://")[2]:
        return
    raise ResultsError(
        "the address holds a user or password",
        limit="mongodb://HOST:PORT/?options",
        why="other users of this machine can read command lines, and the shell keeps them",
        remedy=f"give --user, and the password by {PASSWORD_VARIABLE}, --password-file or when asked",
    )
