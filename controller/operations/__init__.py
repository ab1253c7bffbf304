"""What can be done with the controller, one noun a file.

Rules upheld here:
- An operation is one transaction: the change, what follows from it, and its audit row.
- Time and the actor are arguments. Nothing here publishes, sleeps or touches a file.
- What comes back is frozen values, never rows: they may cross threads and be encoded as they are.
- A user's mistake is raised as NotFound, Conflict or Invalid, with what to do.
"""
