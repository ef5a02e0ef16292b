"""The same in one's own LaunchPad and store: python with_fireworks.py STUDY, then rlaunch rapidfire."""

import sys

from fireworks import LaunchPad
from jobflow.managers.fireworks import flow_to_workflow

from qdip_dft import StabilizationMaker

flow = StabilizationMaker.from_study(sys.argv[1]).make()
LaunchPad.auto_load().add_wf(flow_to_workflow(flow))
print("the answer will be the output of job", flow.jobs[-1].uuid)
