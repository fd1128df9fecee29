"""The networks of Genie Envisioner (arXiv 2508.05635): GE-Base, GE-Act, their codecs and text encoders. Pure torch.

Shapes, everywhere: B batch, V views, C latent channels, F latent frames (memory first, then future), H x W latent grid,
A action steps, D action width, T text tokens, L = V*F*H*W video tokens.
"""
