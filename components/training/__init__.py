"""The one training loop: torchrun + DeepSpeed, exact resume; and how it is launched."""
