"""What every request passes through: connections, TLS, passwords, dispatch, bodies, answers."""
