"""MNIST as the tutorials of others train it, each with its own defaults."""
