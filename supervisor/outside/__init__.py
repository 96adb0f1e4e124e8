"""How the house is, for those outside it: notices to a person, numbers to a program that asks."""
