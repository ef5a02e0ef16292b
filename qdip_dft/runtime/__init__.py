"""What a run needs that may be stopped at any time: a deadline and a journal."""
