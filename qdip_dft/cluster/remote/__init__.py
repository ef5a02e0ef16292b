"""Studies on a cluster through jobflow-remote: one runner talks to the database, compute nodes need none."""
