"""The tasks that come with the project."""
