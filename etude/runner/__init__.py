"""Many trials: the plan, tuning, scheduling and executors."""
