"""GE-Base: training frames, the codec, and the two pretraining stages (paper, Sec. 2.3)."""
