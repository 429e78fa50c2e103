"""The head: the newest samples of every series, their sealed chunks in files of two hours, and their index."""
