"""A world in virtual time: users, a cloud, GPUs that heat up, and the ports that a policy acts through.

Its physics differ on purpose from the model that plans, so that the planner is never tested against its own
assumptions.
"""
