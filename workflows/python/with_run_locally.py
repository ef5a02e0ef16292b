"""A study as a plain jobflow flow, here with jobflow's own manager: python with_run_locally.py STUDY."""

import sys

from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from qdip_dft import StabilizationMaker

flow, store = StabilizationMaker.from_study(sys.argv[1]).make(), JobStore(MemoryStore())
run_locally(flow, store=store, log=False, ensure_success=True)
answer = store.get_output(flow.jobs[-1].uuid, which="last")["stabilization"]
print(answer["total_ev_per_fu"], "eV/f.u.:", answer["sentence"])
