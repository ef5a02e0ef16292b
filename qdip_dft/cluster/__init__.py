"""Running on a cluster: claims, the queue and submission, whatever manager carries the jobs."""
