"""Nodes by which others, or other machines, get what was made here."""
