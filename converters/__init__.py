"""Source formats: each yields volumes; the plan turns volumes into bricks; any executor runs the plan."""
