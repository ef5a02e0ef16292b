"""qdip_dft: which perovskite phase does a quantum dot stabilize, by how much, and why."""

__version__ = "0.1.0"
