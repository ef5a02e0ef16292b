"""Crystals that no file holds: molecules in their cages, layered and mixed hosts, sheets of graphene."""
