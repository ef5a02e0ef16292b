"""Frozen records: what is read from a file, stored, or passed between the layers."""
