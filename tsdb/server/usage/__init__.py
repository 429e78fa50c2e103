"""Which metrics are queried, when and by whom: kept over restarts, so that what nobody asks for can be dropped."""
