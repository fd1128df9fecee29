"""GE-Act: three training phases on top of GE-Base, and closed-loop evaluation (paper, Sec. 3)."""
