"""What can be wrong before training. Imports cluster, records, search and tracking."""
