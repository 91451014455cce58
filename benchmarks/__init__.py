"""What the registry costs, as ratios to a baseline in the same run: ``make bench``."""
