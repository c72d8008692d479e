"""What happens in an environment: its state, logs, events, jobs and dead letters."""
