"""Named games, and make_game."""
