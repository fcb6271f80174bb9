"""The pages: sections, the verdict in words, and HTML."""
