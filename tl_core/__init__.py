"""Transfer-learning trials in plain PyTorch: data, backbones, heads and one training function."""
