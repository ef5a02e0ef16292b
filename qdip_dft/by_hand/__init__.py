"""Inputs written for a run by hand, and finished runs read back."""
