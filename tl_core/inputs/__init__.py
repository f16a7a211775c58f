"""What a network, or heads alone, learns from: views of images, features, activations."""
