"""What is seen of a process from outside: logs, traces, probes, liveness."""
