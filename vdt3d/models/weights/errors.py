"""Error of weights that cannot be read or do not fit."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or does not fit what it is loaded into."""
