"""What a model is, its budget, and the training loop."""
