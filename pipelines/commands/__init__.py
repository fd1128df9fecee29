"""The verbs of `orrery`, one module per noun. Importing them imports no engine: work is imported where it is done."""
