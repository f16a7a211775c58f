"""What a split keeps to beside shares: parts that are given, groups, copies of a photo."""
