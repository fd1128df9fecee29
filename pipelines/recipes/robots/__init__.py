"""Recipes of the Genie Envisioner track: from recorded episodes to a served policy."""
