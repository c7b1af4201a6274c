"""The worker's gate: deliveries in, claims, outcomes."""
