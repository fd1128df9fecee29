"""Recipes of the R-Zero track: a challenger and a solver that teach each other."""
