"""Service discovery: where targets come from, a module for each mechanism."""
