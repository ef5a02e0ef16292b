"""PbS(111)-FAPbI3 through the Python API: the same study as ``qdip run pbs-fapbi3``."""

from pathlib import Path

from qdip_dft.execution.local import run_study
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study

study = read_study("pbs-fapbi3")
summary = run_study(plan_study(study), results=Path("qdip-results"))
for document in summary.documents:
    for result in document.candidates:
        print(result.candidate.label, result.total_ev_per_fu, "eV/f.u.")
    print(document.stabilization.sentence)
