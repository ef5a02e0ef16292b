"""Finished calculations that a person ran: what a folder of a code holds, in the words of its settings.

A reader turns the files of one code into a `FinishedRun`: where it started and ended, what the code says there, and
every setting by name, parted into the physics that the energy depends on and the numerics that it does not.  The same
names describe what the engine itself would run, so that two calculations can be compared by meaning instead of bytes.
A keyword that a reader does not know counts as physics: it is then a difference with a name.
"""
