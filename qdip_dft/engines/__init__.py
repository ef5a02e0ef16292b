"""Engines: one contract, several codes.  Only `qdip_dft.engines.registry` is needed to get one."""
