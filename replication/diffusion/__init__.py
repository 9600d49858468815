"""The diffusion process without a network: schedules, samplers, rounding, selection."""
