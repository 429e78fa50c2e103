"""Commands of the command line that stand alone: a module each, imported when the command runs."""
