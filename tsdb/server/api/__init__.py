"""The endpoints: routes.py has all of them in one table, the others a module for each kind."""
