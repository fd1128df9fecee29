"""The checks: small functions over the arrays of one episode, each yielding findings of catalogued reasons."""
