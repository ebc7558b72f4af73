"""How a view is asked of an edit model, which sees the character and needs no words for her."""
