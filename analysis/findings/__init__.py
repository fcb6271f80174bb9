"""Tables from tables: what a study shows, before it is drawn or put into words."""
