"""Numbers from arrays: intervals, tests, power, and the best of draws."""
