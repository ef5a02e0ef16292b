"""Pure construction of structures: ions, slabs, matching, strain, interfaces; no files, no engines."""
