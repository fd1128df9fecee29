"""What an episode, a dataset version, a stage's output and a policy bundle *are*: typed models, limits, reason codes.

Nothing here imports another part of Orrery, torch or a network client: every image can read every contract.
"""
