"""Makers that only compose jobs."""
