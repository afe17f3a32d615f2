"""Views: other shapes of the same game, for frameworks that want them."""
