"""Recipes of the DFT track: losses of fine-tuning side by side."""
