"""What the runner calls at each point of a run; a hook, or a few of one kind, in each file."""
