"""Tokenizer, packing, attention, model, optimizer, training, sampling, export: the room with torch."""
