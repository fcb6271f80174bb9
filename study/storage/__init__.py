"""Where a study lives, and the files of its checkpoints."""
