"""The finished services of the city: one file is one service, and none of them knows the course."""
