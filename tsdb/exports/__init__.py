"""Writers of formats: samples of a selection to files."""
