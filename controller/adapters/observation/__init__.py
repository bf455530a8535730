"""From metrics and node objects to what the planner sees, with the age of every value and no value made up."""
