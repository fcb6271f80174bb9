"""The options of a study."""
