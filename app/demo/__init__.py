"""The demonstration: a load of real jobs, the receiver of their webhooks, and the board that shows them."""
