"""Flow control: what a limit is, which permits a call takes, when a rate gives the next one. No SQL here."""
