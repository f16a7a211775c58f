"""What a study is asked. Imports errors and tl_core alone."""
