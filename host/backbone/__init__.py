"""The Backbone over the host's MODEL, CLIP and VAE: adapters in a shadow of its network, its noise and conditioning."""
