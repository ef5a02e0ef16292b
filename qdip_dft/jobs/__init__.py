"""One serialisable step each."""
