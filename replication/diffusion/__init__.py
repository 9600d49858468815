"""The parts of diffusion that need no network: noise schedules, samplers, rounding, selection."""
