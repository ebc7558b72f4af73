"""What a base model is: its family, the Backbone through which it is trained and sampled, its noise."""
