"""What a process shows of itself: logs, traces, probes, liveness."""
