"""What learns in one stage of a trial: one whole net, or stacked heads on features."""
