"""What moves a job: acceptance, claim, outcome, cancel, replay."""
