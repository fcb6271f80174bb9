"""What was asked: the options of a study."""
