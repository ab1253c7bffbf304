"""The controller: registry, rollouts, broker session, HTTP API and the `wherry` command."""
