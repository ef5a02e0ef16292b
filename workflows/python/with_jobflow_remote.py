"""The same in one's own project of jobflow-remote: python with_jobflow_remote.py STUDY WORKER, then jf runner start."""

import sys

from jobflow_remote import submit_flow

from qdip_dft.planning.plan import make_study_flow

flow = make_study_flow(sys.argv[1])
submit_flow(flow, worker=sys.argv[2])
print("the answer will be the output of job", flow.jobs[-1].uuid)
