"""What came out: result tables and study.json, and who else is told."""
