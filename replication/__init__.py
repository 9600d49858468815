"""The replicated paper: corpora, tokens, the diffusion language model, its training and its ablations.

This package imports from none of the others. Training and sampling need only torch, numpy and safetensors; functions
that read or write music import their libraries when they are called.
"""
