"""What the figures show: recorded runs, the overview of the README, still pictures."""
