"""Commands that serve until they are stopped: the console, the metrics, the whole platform on one machine."""
