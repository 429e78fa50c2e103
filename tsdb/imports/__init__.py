"""Readers of formats: generators of batches of history."""
