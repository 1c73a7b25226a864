"""The Agent2Agent protocol: the cards of published agents."""
