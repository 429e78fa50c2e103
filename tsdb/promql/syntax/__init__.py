"""Text to tree and back: grammar.lark is the file to read first; parser.py, printer.py and tree.py are the ways in."""
