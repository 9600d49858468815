"""The paper's model and its ablations."""
