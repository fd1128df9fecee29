"""The DAGs, their recipes, the runners and the `orrery` command."""
