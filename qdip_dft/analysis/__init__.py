"""Pure analysis: the four terms, phase identity, geometric checks; no files, no engines."""
