"""Where rooms meet: the only code that knows more than one of gpt, datagen, judge. One file in kinds/ is one kind."""
