"""GPAW."""
