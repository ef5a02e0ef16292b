"""Studies on a cluster: FireWorks' queue in the group's MongoDB, every calculation once for the whole group."""
