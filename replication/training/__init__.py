"""The contracts of models, scales and budgets, and the training loop."""
