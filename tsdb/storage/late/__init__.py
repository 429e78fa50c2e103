"""Late samples: those that are older than their series' newest or than the head, until they become blocks."""
