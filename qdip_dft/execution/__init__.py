"""Where calculations run and where their documents are kept."""
