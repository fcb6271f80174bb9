"""Results: tables and study.json, and the loggers that are told of them."""
