"""What jobctl draws on a terminal."""
