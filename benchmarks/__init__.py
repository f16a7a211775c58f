"""What is claimed about speed and scale, each measured by a command."""
