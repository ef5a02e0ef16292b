"""One relaxation for all codes."""
