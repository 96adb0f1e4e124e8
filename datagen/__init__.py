"""Articles in, question-answer records out. No torch."""
