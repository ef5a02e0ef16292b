"""A task in, a record out, without a workflow manager."""
