"""Evaluation: metrics, statistics, distances, scores, results, claims and tracking."""
