"""The GPU lane and the card behind it: who gets it, what it holds, how it is, and that its memory comes back."""
