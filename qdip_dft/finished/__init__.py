"""Finished calculations of codes: read from their folders, compared with a step of a study, judged."""
