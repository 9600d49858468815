"""The paper's model, its parts and its ablations."""
