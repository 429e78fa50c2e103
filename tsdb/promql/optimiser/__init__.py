"""Rules by which a plan does less than its text says, each in a file of its own. Results are the same without them."""
