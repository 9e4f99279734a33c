"""Scripts that make figures: recorded runs, the overview in the README, static images."""
