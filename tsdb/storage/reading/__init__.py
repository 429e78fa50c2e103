"""Reading: one view over the head, late samples and blocks, for queries and label lookups."""
