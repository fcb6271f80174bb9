"""The place that a study lives in, and the files of its checkpoints."""
