"""Recipes of R-Zero on models from outside, with the paper's settings."""
