"""The order of a study: parse, prepare, search, confirm, report."""
