"""What may stand at the cursor of an unfinished query, and searches among names: ranked, from the index."""
