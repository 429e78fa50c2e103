"""Late samples: those that came out of order, or are older than the head."""
