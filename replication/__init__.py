"""The paper: corpora, tokens, the diffusion language model, its training and its ablations.

Nothing in this package imports from `baselines`, `eval` or `reports`. Fitting and sampling need only torch, numpy and
safetensors; the readers of music import their libraries when they are called.
"""
