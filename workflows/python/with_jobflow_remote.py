"""The same in one's own project of jobflow-remote: python with_jobflow_remote.py STUDY WORKER, then jf runner start."""

import sys

from jobflow_remote import submit_flow

from qdip_dft import StabilizationMaker

flow = StabilizationMaker.from_study(sys.argv[1]).make()
submit_flow(flow, worker=sys.argv[2])
print("the answer will be the output of job", flow.jobs[-1].uuid)
