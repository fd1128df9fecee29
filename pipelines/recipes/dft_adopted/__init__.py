"""Recipes of DFT on models and data from outside: the paper's five models, with its settings."""
