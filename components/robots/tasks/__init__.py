"""The tasks: what lies on the table, what is asked, when physics calls it done, and how an expert does it."""
