"""The same data and the same questions for Insights and for its peers, on one machine."""
