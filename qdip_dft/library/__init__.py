"""The crystal library: finds, reads and checks crystals, and finds the ready-made studies."""
