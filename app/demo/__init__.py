"""The demonstration: real jobs, a receiver for their webhooks, and a live table of their states."""
