"""Attack local runs in every way that was found to hurt, and see whether anything stored goes wrong.

    python benchmarks/attack_drill.py [--events 1000] [--minutes 40] [--seed 1] [--json FILE]

A study of the toy potential runs again and again in forked processes, on one core.  Meanwhile it is killed, stopped and
interrupted, its folder is moved or removed, its log deleted, its disk full, its engine fails; the bytes of finished
results and of checkpoints are changed, and links are laid where it writes.  After each event four things are counted:

* lost: calculations that were in the results file before the event and are not after it (a removed folder loses all,
  which the run must say);
* wrong: a total that is shown and is not that of the undisturbed study;
* tracebacks: a command that ends with one;
* false success: exit code 0 without the right answer.

All four must stay zero.  Everything is drawn from the seed; when the processes are interrupted depends on the clock.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "tests" / "data" / "toy-study.yaml"
DRILL = os.getpid()
FAULTS = ("lost", "wrong", "tracebacks", "false success")
SAME_EV_PER_FU = 1e-9

SHARES = {
    "bytes of the results file": 60,
    "bytes of a checkpoint": 14,
    "links": 12,
    "kill -9": 4,
    "SIGTERM, SIGINT": 2,
    "SIGSTOP, then killed": 1,
    "folder moved, removed, log deleted": 2,
    "full disk": 1,
    "engine: no memory": 1,
    "engine: not finite": 1,
    "engine: error": 1,
    "engine: disk fails": 1,
}
"""Events of each kind among a hundred."""


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Drill:
    """The counts of a drill.

    Parameters
    ----------
    chance
        What decides everything.
    place
        A folder for everything.
    """

    chance: random.Random
    place: Path
    events: Counter[str] = field(default_factory=Counter)
    found: dict[str, Counter[str]] = field(default_factory=dict)
    expected: float = 0.0
    answer: Any = None
    sound: bytes = b""

    def count(self, kind: str, fault: str, what: str) -> None:
        """Note something that must not be."""
        self.found.setdefault(kind, Counter())[fault] += 1
        sys.stderr.write(f"{fault} after {kind}: {what[-600:]}\n")

    def judge(self, kind: str, outcome: Outcome, results: Path) -> None:
        """Hold a command against what it may say."""
        if "Traceback" in outcome.err or "Traceback" in outcome.out or outcome.code not in {0, 1, 2, 3, -9, -15}:
            self.count(kind, "tracebacks", f"exit {outcome.code}: {outcome.err}")
        if (
            outcome.code == 0
            and (total := find_total(results)) is not None
            and abs(total - self.expected) > SAME_EV_PER_FU
        ):
            self.count(kind, "wrong", f"{total} instead of {self.expected}")
        if outcome.code == 0 and find_total(results) is None:
            self.count(kind, "false success", outcome.out)


def main() -> None:
    """Print one row per kind of event."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1000, help="number of events")
    parser.add_argument("--minutes", type=float, default=40.0, help="no event begins later")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the counts")
    given = parser.parse_args()
    end_s = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory(prefix="qdip-attack-") as folder:
        os.chdir(folder)
        drill = Drill(random.Random(given.seed), Path(folder))
        prepare(drill)
        kinds = list_kinds(drill.chance, given.events)
        for kind in kinds:
            if time.monotonic() > end_s:
                break
            EVENTS[kind](drill, kind)
            drill.events[kind] += 1
        report(drill, given)


def list_kinds(chance: random.Random, n_events: int) -> list[str]:
    """Draw the kinds of all events; each as often as its share says."""
    whole = [kind for kind, share in SHARES.items() for _ in range(round(n_events * share / sum(SHARES.values())))]
    chance.shuffle(whole)
    return whole


def report(drill: Drill, given: argparse.Namespace) -> None:
    """Print the table, and leave with 1 if anything is not zero."""
    sys.stdout.write(f"{'event':38}{'number':>8}" + "".join(f"{fault:>15}" for fault in FAULTS) + "\n")
    for kind in SHARES:
        counts = drill.found.get(kind, Counter())
        sys.stdout.write(
            f"{kind:38}{drill.events[kind]:>8}" + "".join(f"{counts[fault]:>15}" for fault in FAULTS) + "\n"
        )
    n_bad = sum(sum(counts.values()) for counts in drill.found.values())
    sys.stdout.write(f"{sum(drill.events.values())} events, {n_bad} findings, seed {given.seed}\n")
    if given.json:
        rows = {kind: {"number": drill.events[kind], **drill.found.get(kind, {})} for kind in SHARES}
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    sys.exit(1 if n_bad else 0)


def prepare(drill: Drill) -> None:
    """Run the study undisturbed; what it says is the truth from now on."""
    results = drill.place / "sound"
    outcome = run(results)
    assert outcome.code == 0, outcome.err
    total = find_total(results)
    assert total is not None
    drill.expected, drill.answer = total, show(results).out
    with closing(sqlite3.connect(results / "qdip.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    drill.sound = (results / "qdip.sqlite").read_bytes()


def call(*arguments: object) -> Outcome:
    """Carry out a command in this process."""
    from contextlib import redirect_stderr, redirect_stdout
    from unittest.mock import patch

    from qdip_dft.cli import main as qdip

    out, err, code = StringIO(), StringIO(), 0
    with patch.object(sys, "argv", ["qdip", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            qdip()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        except BaseException as error:  # noqa: BLE001 (a traceback is what is looked for)
            import traceback

            err.write("".join(traceback.format_exception(error)))
    if os.getpid() == DRILL:  # a command ends deaf to Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return Outcome(code, out.getvalue(), err.getvalue())


def show(results: Path) -> Outcome:
    """Show the stored result as JSON."""
    return call("report", "toy-study", "--json", "--results", results)


def run(results: Path, *, retry: bool = False, spoil: Callable[[], None] = lambda: None) -> Outcome:
    """Run the study to its end in a process of its own."""
    return wait_for(*fork(results, retry=retry, spoil=spoil))


def fork(results: Path, *, retry: bool = False, spoil: Callable[[], None] = lambda: None) -> tuple[int, Path]:
    """Start the study in a forked process; everything is imported already."""
    import qdip_dft.engines.testing
    import qdip_dft.execution.local
    import qdip_dft.report.files  # noqa: F401

    log = results.with_name(f"{results.name}.log")
    process = os.fork()
    if process:
        return process, log
    code = 70
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a drill in the background of a shell ignores it
    with suppress(BaseException), log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        spoil()
        options = ["--retry"] if retry else []
        outcome = call("run", STUDY, "--quiet", "--workers", 1, "--results", results, *options)
        file.write(outcome.out + outcome.err)
        code = outcome.code
    os._exit(code)


def wait_for(process: int, log: Path) -> Outcome:
    """Wait for a forked run."""
    _, status = os.waitpid(process, 0)
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return Outcome(os.waitstatus_to_exitcode(status), "", said)


def list_stored(results: Path) -> set[str]:
    """Return the ids of the stored calculations, as another process sees them."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{results}/qdip.sqlite?mode=ro", uri=True)) as found:
        return {row[0] for row in found.execute("SELECT doc ->> '$.uuid' FROM calculations")}
    return set()


def find_total(results: Path) -> float | None:
    """Return the total of the stored result."""
    with suppress(sqlite3.Error, TypeError), closing(sqlite3.connect(results / "qdip.sqlite")) as found:
        (text,) = found.execute("SELECT doc FROM stabilizations").fetchone()
        return float(json.loads(text)["stabilization"]["total_ev_per_fu"])
    return None


def interrupt(drill: Drill, kind: str, meddle: Callable[[int, Path], Path]) -> None:
    """Meddle with a run once something is stored, finish it, and look whether everything is still there.

    The folder is kept for the next event of the kind until its study is finished: a restart goes on.
    """
    results = drill.place / f"run-{kind.split(maxsplit=1)[0].strip(':,')}"
    process, log = fork(results)
    end_s = time.monotonic() + drill.chance.uniform(0.2, 6.0)
    while time.monotonic() < end_s and os.waitpid(process, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    before = list_stored(results)
    place = results
    with suppress(ProcessLookupError, FileNotFoundError):
        place = meddle(process, results)
    with suppress(ChildProcessError):
        drill.judge(kind, wait_for(process, log), place)
    if place.exists() and (missing := before - list_stored(place)):
        drill.count(kind, "lost", f"{len(missing)} of {len(before)}")
    if place != results and place.exists():
        shutil.rmtree(results, ignore_errors=True)
        place.rename(results)
    if find_total(results) is not None or drill.chance.random() < 0.3:
        drill.judge(kind, run(results), results)
        shutil.rmtree(results, ignore_errors=True)


def kill(drill: Drill, kind: str) -> None:
    """Kill a run."""

    def meddle(process: int, results: Path) -> Path:
        os.kill(process, signal.SIGKILL)
        return results

    interrupt(drill, kind, meddle)


def stop(drill: Drill, kind: str) -> None:
    """Ask a run to end."""

    def meddle(process: int, results: Path) -> Path:
        os.kill(process, drill.chance.choice((signal.SIGTERM, signal.SIGINT)))
        return results

    interrupt(drill, kind, meddle)


def freeze(drill: Drill, kind: str) -> None:
    """Stop a run, start a second one beside it, and kill the first."""

    def meddle(process: int, results: Path) -> Path:
        os.kill(process, signal.SIGSTOP)
        second = run(results.with_name("run-second"), spoil=lambda: None) if drill.chance.random() < 0.1 else None
        if second is not None:
            shutil.rmtree(results.with_name("run-second"), ignore_errors=True)
        os.kill(process, signal.SIGKILL)
        return results

    interrupt(drill, kind, meddle)


def remove(drill: Drill, kind: str) -> None:
    """Take a folder, or its log, from under a run."""
    way = drill.chance.choice(("moved", "removed", "log"))

    def meddle(_: int, results: Path) -> Path:
        if not list_stored(results):
            return results  # nothing is there yet: the run would begin after it
        if way == "removed":
            shutil.rmtree(results, ignore_errors=True)
            return results.with_name("gone")
        if way == "moved":
            moved = results.with_name("moved")
            shutil.rmtree(moved, ignore_errors=True)
            results.rename(moved)
            return moved
        for suffix in ("-wal", "-shm"):
            (results / f"qdip.sqlite{suffix}").unlink()
        return results

    interrupt(drill, kind, meddle)


def spoil_run(drill: Drill, kind: str, spoil: Callable[[], None]) -> None:
    """Run with a fault, then without it."""
    results = drill.place / "spoilt"
    outcome = run(results, spoil=spoil)
    drill.judge(kind, outcome, results)
    before = list_stored(results)
    again = run(results, retry=True)
    drill.judge(kind, again, results)
    if again.code != 0:
        drill.count(kind, "false success", f"the run does not end: {again.err}")
    if missing := before - list_stored(results):
        drill.count(kind, "lost", f"{len(missing)} of {len(before)}")
    shutil.rmtree(results, ignore_errors=True)


def fill_disk(drill: Drill, kind: str) -> None:
    """Let no file grow beyond some size, as on a full disk."""
    size = drill.chance.randrange(20_000, 400_000)
    spoil_run(drill, kind, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


def break_engine(make: Callable[[], Exception] | None) -> Callable[[Drill, str], None]:
    """Return the event of an engine that raises, or answers with NaN, at one of its evaluations."""

    def attack(drill: Drill, kind: str) -> None:
        at = drill.chance.randrange(1, 500)

        def spoil() -> None:
            from dataclasses import replace

            from qdip_dft.engines.testing import TestingEngine

            load, n_done = TestingEngine.load_potential, [0]

            def load_spoilt(engine: Any) -> Any:
                potential = load(engine)

                def evaluate(arrangement: Any) -> Any:
                    n_done[0] += 1
                    if n_done[0] == at and make is not None:
                        raise make()
                    evaluation = potential(arrangement)
                    return replace(evaluation, energy_ev=float("nan")) if n_done[0] == at else evaluation

                return evaluate

            TestingEngine.load_potential = load_spoilt  # type: ignore[method-assign]

        spoil_run(drill, kind, spoil)

    return attack


def corrupt(content: bytes, chance: random.Random) -> bytes:
    """Return bytes of which some are flipped, lost, overwritten or cut off."""
    damaged = bytearray(content)
    way = chance.choice(("bits", "bits", "bits", "page", "text", "header", "cut"))
    if way == "bits":
        for _ in range(chance.choice((1, 1, 3, 30))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    elif way in {"page", "text"}:
        size = min(4096 if way == "page" else 40, len(damaged) // 2)
        start = chance.randrange(len(damaged) - size)
        damaged[start : start + size] = chance.choice((bytes(size), chance.randbytes(size), b"9" * size, b'"' * size))
    elif way == "header":
        for _ in range(3):
            damaged[chance.randrange(min(100, len(damaged)))] = chance.randrange(256)
    else:
        del damaged[chance.randrange(len(damaged)) :]
    return bytes(damaged)


def damage_results(drill: Drill, kind: str) -> None:
    """Change bytes of a finished results file, show it, repair it, show it again."""
    results = drill.place / "damaged"
    results.mkdir()
    (results / "qdip.sqlite").write_bytes(corrupt(drill.sound, drill.chance))
    for command in (("report", "toy-study", "--json"), drill.chance.choice((("query",), ("status",)))):
        outcome = call(*command, "--results", results)
        judge_shown(drill, kind, command, outcome)
    repaired = call("db", "repair", results)
    judge_shown(drill, kind, ("repair",), repaired)
    if repaired.code == 0 and "0 findings" not in (checked := call("db", "check", results, "--quick")).out:
        drill.count(kind, "wrong", f"not sound after its repair: {checked.out}{checked.err}")
    shutil.rmtree(results)


def judge_shown(drill: Drill, kind: str, command: tuple[str, ...], outcome: Outcome) -> None:
    """Hold what a reading command says against the truth."""
    if "Traceback" in outcome.err:
        drill.count(kind, "tracebacks", outcome.err)
    if command[0] == "report" and outcome.code == 0 and outcome.out != drill.answer:
        drill.count(kind, "wrong", outcome.out)


def damage_checkpoint(drill: Drill, kind: str) -> None:
    """Change bytes of a checkpoint: every entry that is read must be one that was written."""
    from qdip_dft.runtime.journal import append_entry, read_entries

    path = drill.place / "entries.jsonl"
    path.unlink(missing_ok=True)
    entries = [[number, drill.chance.random(), "x" * drill.chance.randrange(60)] for number in range(12)]
    for entry in entries:
        append_entry(path, entry)
    path.write_bytes(corrupt(path.read_bytes(), drill.chance))
    try:
        wrong = [entry for entry in read_entries(path) if entry not in entries]
    except Exception as error:  # noqa: BLE001 (a traceback is what is looked for)
        drill.count(kind, "tracebacks", repr(error))
    else:
        if wrong:
            drill.count(kind, "wrong", str(wrong))


def lay_links(drill: Drill, kind: str) -> None:
    """Lay a link of a predictable name to a file that must keep its content, and let the package write there."""
    from qdip_dft.errors import QdipError
    from qdip_dft.runtime.journal import append_entry
    from qdip_dft.runtime.unlinked import replace_text
    from qdip_dft.storage.results_folder import ResultsFolder

    results = drill.place / "linked"
    results.mkdir()
    victim = drill.place / "victim"
    victim.write_text("precious", encoding="utf-8")
    way = drill.chance.choice(("lock", "hard lock", "journal", "notes", "partial"))
    name = {"lock": "run.lock", "hard lock": "run.lock", "journal": "entries.jsonl", "notes": "run.json"}.get(way)
    path = results / (name or f"run.{os.getpid()}.partial")
    os.link(victim, path) if way == "hard lock" else path.symlink_to(victim)
    try:
        if "lock" in way:
            with ResultsFolder(results).lock_for_run():
                pass
        elif way == "journal":
            append_entry(path, [1])
        else:
            replace_text(results / "run.json", "{}")
    except QdipError:
        pass
    except Exception as error:  # noqa: BLE001 (a traceback is what is looked for)
        drill.count(kind, "tracebacks", repr(error))
    if victim.read_text(encoding="utf-8") != "precious":
        drill.count(kind, "lost", f"the file behind a link ({way})")
    shutil.rmtree(results)


def make_memory_error() -> Exception:
    """What torch says of a full graphics processor."""
    return RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def make_disk_error() -> Exception:
    """A disk that fails."""
    return OSError(errno.EIO, os.strerror(errno.EIO))


def make_error() -> Exception:
    """Anything else."""
    return RuntimeError("the engine failed for no reason")


EVENTS: dict[str, Callable[[Drill, str], None]] = {
    "bytes of the results file": damage_results,
    "bytes of a checkpoint": damage_checkpoint,
    "links": lay_links,
    "kill -9": kill,
    "SIGTERM, SIGINT": stop,
    "SIGSTOP, then killed": freeze,
    "folder moved, removed, log deleted": remove,
    "full disk": fill_disk,
    "engine: no memory": break_engine(make_memory_error),
    "engine: not finite": break_engine(None),
    "engine: error": break_engine(make_error),
    "engine: disk fails": break_engine(make_disk_error),
}


if __name__ == "__main__":
    main()
