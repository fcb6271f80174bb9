"""Numbers from arrays: intervals, distances, and the best of draws."""
